"""Reading the measurements of Accel-NASBench (github.com/afzalxo/Accel-NASBench, Apache-2.0).

4612 networks of the ``efficientnet`` space that the benchmark's authors trained on ImageNet under a shortened schedule.
The files are not part of this project; they are needed to fit the predictor again and to check it.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from search_spaces import Genotype, MnasError, SearchSpace
from search_spaces.space import Indices

SE_RATIO = 0.25


def genotype_of(row: dict[str, str]) -> Genotype:
    """The genotype of a row: columns ``block{0..6}_{e,k,l,se}``."""
    genotype: Genotype = {}
    for block in range(7):
        expand, kernel, layers, squeeze = (int(row[f"block{block}_{column}"]) for column in ("e", "k", "l", "se"))
        stage = f"stage{block + 1}"
        genotype[f"{stage}_kernel_size"] = kernel
        genotype[f"{stage}_expand_ratio"] = expand
        genotype[f"{stage}_se_ratio"] = SE_RATIO * squeeze
        genotype[f"{stage}_num_layers"] = layers
    return genotype


def read_measurements(file: Path, space: SearchSpace, column: str = "val_top1") -> tuple[Indices, NDArray[np.float64]]:
    """Indices in ``space`` and what was measured, by default top-1 in percent, of every row of a file that has it.

    Raises:
        MnasError: the file cannot be read or is none of the benchmark's.
    """
    try:
        with file.open(newline="") as stream:
            rows = [row for row in csv.DictReader(stream) if row[column]]
        genotypes = [genotype_of(row) for row in rows]
        return space.indices(genotypes), np.array([float(row[column]) for row in rows])
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise MnasError(f"{file}: not a readable file of Accel-NASBench ({error}); give its train.csv") from None
