"""`mnas report`: a search, or a study that has a report, as text, as data, or as a page."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path
from typing import Any

from baselines.commands.options import add_json, add_page, add_run
from baselines.files import check_new
from baselines.views.terminal import pointer, print_json, show
from nas.journal import Journal
from nas.record import KNOWN
from nas.runs import kind_of
from nas.views import report as view
from search_spaces import MnasError

# Studies by the file that tells such a study, in order of precedence: the module whose ``read_result`` reads the
# folder, and that of its views, with ``data``, ``text`` and ``page``. They are named, since `nas` imports nothing from
# `scaling`.
STUDIES = {
    "scaling-search.json": ("scaling.studies.search_result", "scaling.views.coefficient_search"),
    "ablation.json": ("scaling.studies.ablation", "scaling.views.ablation"),
    "family.json": ("scaling.studies.family_training", "scaling.views.trained_family"),
    "comparison.json": ("nas.studies.trained_comparison", "nas.views.trained_comparison"),
}
FOLDER = "folder of a search, a trained comparison, an ablation, a trained family or a search for coefficients"


def register(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.description = (
        "Report a search: what was asked, what was found and how certain it is, what each choice is worth, and how to "
        "reproduce it; or a trained comparison, an ablation, a trained family or a search for coefficients. Nothing is "
        "trained, and a search may still be running."
    )
    add_run(parser, FOLDER)
    add_page(parser, "figures")
    add_json(parser)


def run(arguments: argparse.Namespace) -> None:
    """Report a search."""
    if arguments.html:
        check_new(arguments.html, field="html")
    shown, found = _read(arguments.folder, allow_code=arguments.allow_code)
    if arguments.html:
        shown.page(found).write(arguments.html)
    if arguments.json:
        print_json(shown.data(found))
    elif arguments.html:
        show(pointer("Written:", str(arguments.html)))
    else:
        show(*shown.text(found))


def _read(folder: Path, *, allow_code: bool) -> tuple[Any, Any]:
    """The module that shows what a folder holds, and what it shows. Raises `MnasError` if that has no report."""
    for file, (reader, views) in STUDIES.items():
        if (folder / file).is_file():
            return importlib.import_module(views), importlib.import_module(reader).read_result(folder)
    if (kind := kind_of(folder)) != "search":
        if kind is None:
            raise MnasError(f"run: {folder} holds no run; expected the {FOLDER}")
        reader = next(reader for known, reader in KNOWN.values() if known == kind)
        raise MnasError(f"run: {folder} holds a {kind}, which has no report; use {reader} with it")
    with Journal.open(folder, allow_code=allow_code) as journal:
        return view, view.report(journal)
