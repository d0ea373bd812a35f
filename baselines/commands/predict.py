"""`mnas predict`: the classes of images without labels."""

from __future__ import annotations

import argparse
from pathlib import Path

from baselines.commands.options import add_forms
from baselines.files import check_new, write_new
from baselines.views import predictions as view
from baselines.views.terminal import pointer, print_json, progress_bar, show, write_csv
from search_spaces import MnasError


def register(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.description = (
        "Classify images without labels with a trained network, by one view of each, as an evaluation does. The exit "
        "status is 2 if some of them cannot be read; the others are classified."
    )
    parser.add_argument(
        "network", metavar="FOLDER", type=Path, help="folder of a training, or an ONNX file exported from one"
    )
    parser.add_argument(
        "--images",
        metavar="PATH",
        type=Path,
        nargs="+",
        required=True,
        help="image files, and folders, in which images are found at any depth",
    )
    add_forms(parser, "image", to_file=True)


def run(arguments: argparse.Namespace) -> None:
    """Classify images."""
    from baselines.training.classify import predict

    into = arguments.csv if isinstance(arguments.csv, Path) else None
    if into:
        check_new(into, field="csv")
    with progress_bar(None, "images") as advance:
        found = predict(arguments.network, arguments.images, advance)
    if arguments.json:
        print_json({"from": str(arguments.network), **view.data(found)})
    elif into:
        write_new(into, lambda file: view.write(found, file), field="csv")
        show(pointer("Written:", str(into)))
    elif arguments.csv:
        write_csv(*view.rows(found))
    else:
        show(*view.text(found))
    if found.unreadable:
        raise MnasError(view.unreadable_text(found))
