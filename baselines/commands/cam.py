"""`mnas cam`: class activation maps of trained networks."""

from __future__ import annotations

import argparse
from pathlib import Path

from baselines.files import check_new, write_new
from baselines.views.terminal import pointer, show
from search_spaces import MnasError


def register(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.description = (
        "Draw class activation maps: where in the same images each trained network sees a class, side by side, as in "
        "Figure 7 of the EfficientNet paper."
    )
    parser.add_argument("folders", metavar="FOLDER", type=Path, nargs="+", help="folders of trainings, one or more")
    parser.add_argument("--images", metavar="FILE", type=Path, nargs="+", required=True, help="image files")
    parser.add_argument("--method", default="cam", help="cam or grad-cam (default: cam)")
    parser.add_argument(
        "--class", dest="of_class", metavar="NAME", help="class to draw (default: the one that each network predicts)"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="picture to write, such as cam.png")


def run(arguments: argparse.Namespace) -> None:
    """Draw class activation maps."""
    from baselines.training.cam import Column, cam_grid
    from baselines.training.folder import trained_network
    from search_spaces.network import Network

    check_new(arguments.out)
    if arguments.out.suffix.lower() not in (".png", ".jpg", ".jpeg", ".webp"):
        raise MnasError(f"out: {arguments.out}: expected a file that ends in .png, .jpg or .webp")
    columns = []
    for folder in arguments.folders:
        trained, settings, network = trained_network(folder)
        if not isinstance(network, Network):
            raise MnasError(
                f"cam: {folder} holds a network of torchvision, whose last feature map is not known; remove it"
            )
        name = trained.name if len(arguments.folders) == 1 else folder.name
        columns.append(Column(name, network, settings.classes, settings.fit))
    grid = cam_grid(columns, arguments.images, arguments.method, arguments.of_class)
    write_new(arguments.out, grid.save)
    show(pointer("Written:", str(arguments.out)))
