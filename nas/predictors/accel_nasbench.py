"""Read the measurements of Accel-NASBench (github.com/afzalxo/Accel-NASBench, Apache-2.0).

Its authors trained 4612 networks of the ``efficientnet`` space on ImageNet under a shortened schedule. The files are
not part of this project; they are needed only to fit the predictors again and to check them.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from search_spaces import Genotype, MnasError, StageSpace
from search_spaces.space import Indices

SE_RATIO = 0.25


def genotype_of(row: dict[str, str]) -> Genotype:
    """Return the genotype of a row, from its columns ``block{0..6}_{e,k,l,se}``."""
    genotype: Genotype = {}
    for block in range(7):
        expand, kernel, layers, squeeze = (int(row[f"block{block}_{column}"]) for column in ("e", "k", "l", "se"))
        stage = f"stage{block + 1}"
        genotype[f"{stage}_kernel_size"] = kernel
        genotype[f"{stage}_expand_ratio"] = expand
        genotype[f"{stage}_se_ratio"] = SE_RATIO * squeeze
        genotype[f"{stage}_num_layers"] = layers
    return genotype


def read_measurements(file: Path, space: StageSpace, column: str = "val_top1") -> tuple[Indices, NDArray[np.float64]]:
    """Return indices and measured values of all rows of a file that have a value.

    Args:
        file: CSV file of the benchmark.
        space: space in which the indices are given.
        column: column of the values; top-1 accuracy in percent by default.

    Raises:
        MnasError: the file cannot be read or is not a file of the benchmark.
    """
    try:
        with file.open(newline="") as stream:
            rows = [row for row in csv.DictReader(stream) if row[column]]
        genotypes = [genotype_of(row) for row in rows]
        return space.indices(genotypes), np.array([float(row[column]) for row in rows])
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise MnasError(f"{file}: not a readable file of Accel-NASBench ({error}); give its train.csv") from None


def fit_parser(description: str) -> argparse.ArgumentParser:
    """Parser of a script that fits a predictor: ``train`` and ``valid``, files of the benchmark, and ``out``."""
    parser = argparse.ArgumentParser(description=description)
    for name in ("train", "valid", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    return parser
