"""The argument parser of all commands, with errors of one line."""

from __future__ import annotations

import argparse
import re
from typing import Any, NoReturn

from search_spaces.errors import MnasError, unknown_name


class Parser(argparse.ArgumentParser):
    """An argument parser that raises `MnasError`: one line, with the nearest choice and the command for help."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        # Before Python 3.14, argparse mistakes -7e-2 for an option.
        self._negative_number_matcher = re.compile(r"-(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$", re.IGNORECASE)

    def error(self, message: str) -> NoReturn:
        # Reworded like all unknown names; argparse says "invalid choice: 'serch' (choose from ...)".
        unknown = re.match(r"argument (\S+): invalid choice: '(.*?)' \(choose from (.*)\)$", message)
        if unknown:
            kind, name, known = unknown.groups()
            message = str(unknown_name(kind.lstrip("-"), name, [word.strip(" '") for word in known.split(",")]))
        raise MnasError(f"{' '.join(message.split())} (see {self.prog} --help)")
