"""Fit the hardware predictors that come with the package, and check them.

    python -m nas.costs.fit_hardware_predictor --train train.csv --valid valid.csv --out FILE.npz

Fitted on the train split of Accel-NASBench (`nas.evaluators.accel_nasbench`) alone; the valid split serves for the
figures that the file says of itself. See `nas.costs.hardware_predictor` for the model: first the stages' times, by
least squares of the relative error with no time below zero; then the perceptrons on what is left of the log.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import nnls
from scipy.stats import kendalltau

from nas.costs.hardware_predictor import COLUMNS, SPACE, TimeModel, perceptron_features
from nas.evaluators.accel_nasbench import read_measurements
from nas.evaluators.fit_imagenet_predictor import fit_perceptrons
from search_spaces import MnasError, SearchSpace, load_space
from search_spaces.space import Indices

Floats = NDArray[np.float64]

ABOUT = {
    "predicts": "throughput (images/s) and latency (ms) as Accel-NASBench measured them",
    "space": SPACE,
    "data": "Accel-NASBench, train split, github.com/afzalxo/Accel-NASBench, Apache-2.0",
    "fitted_by": "nas/costs/fit_hardware_predictor.py",
}
FOLDS = 5
MEMBERS, HIDDEN, EPOCHS = 4, 16, 150
# Beyond this many of their σ, residuals count linearly: some measurements are far off.
NOISE = 0.1
RIDGE = 1e-3


def fit(space: SearchSpace, indices: Indices, log_times: Floats) -> TimeModel:
    """The model of one device, from the logs of measured times."""
    codes = space.stage_codes(indices)
    one_hot = [np.eye(size)[codes[:, stage]] for stage, size in enumerate(space.stage_sizes)]
    design = np.concatenate([np.ones((len(indices), 1)), *one_hot], axis=1)
    relative = design / np.exp(log_times)[:, None]
    ridge = RIDGE * np.eye(design.shape[1])
    target = np.concatenate([np.ones(len(design)), np.zeros(len(ridge))])
    times, _ = nnls(np.concatenate([relative, ridge]), target, maxiter=100 * design.shape[1])
    sums = np.log(design @ times)
    centre, spread = float(sums.mean()), float(sums.std())
    left = log_times - sums
    unit = float(left.std())
    features = perceptron_features(space, indices, (sums - centre) / spread)
    weights = fit_perceptrons(
        torch.tensor(features, dtype=torch.float32),
        torch.tensor(left / unit, dtype=torch.float32),
        torch.full((len(left),), NOISE),
        members=MEMBERS,
        hidden=HIDDEN,
        epochs=EPOCHS,
    )
    arrays = {name: weight.numpy().astype(np.float64) for name, weight in weights.items()}
    return TimeModel(times, arrays, centre, spread, unit)


def relative_std(space: SearchSpace, indices: Indices, log_times: Floats) -> float:
    """Root mean square of the relative error on rows left out, over `FOLDS` parts."""
    part = np.random.default_rng(0).permutation(len(indices)) % FOLDS
    squares = 0.0
    for fold in range(FOLDS):
        model = fit(space, indices[part != fold], log_times[part != fold])
        squares += float(((model.log_times(space, indices[part == fold]) - log_times[part == fold]) ** 2).sum())
    return float(np.sqrt(squares / len(indices)))


def quality(log_times: Floats, predicted: Floats, std: float) -> dict[str, float]:
    """Kendall tau, mean and greatest relative error, R² of the log, and standard deviation of the z-scores."""
    residual = log_times - predicted
    explained = 1 - float((residual**2).sum() / ((log_times - log_times.mean()) ** 2).sum())
    relative = np.abs(np.expm1(residual))
    return {
        "kendall_tau": float(kendalltau(predicted, log_times)[0]),
        "mean_error": float(relative.mean()),
        "max_error": float(relative.max()),
        "r2": explained,
        "z_std": float((residual / std).std()),
    }


def main() -> None:
    """Fit, check and write."""
    parser = argparse.ArgumentParser(description="Fit the predictors of throughput and latency.")
    parser.add_argument("--train", type=Path, required=True)
    parser.add_argument("--valid", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    space = load_space(SPACE)
    arrays: dict[str, NDArray[Any]] = {}
    models: dict[str, Any] = {}
    for name, column in COLUMNS.items():
        try:
            train, valid = (read_measurements(file, space, column) for file in (arguments.train, arguments.valid))
        except MnasError as error:
            parser.exit(2, f"{parser.prog}: {error}\n")
        sign = 1 if name.endswith("latency") else -1
        model = fit(space, train[0], sign * np.log(train[1]))
        std = relative_std(space, train[0], sign * np.log(train[1]))
        figures = quality(sign * np.log(valid[1]), model.log_times(space, valid[0]), std)
        print(name, f"std {std:.4f}", ", ".join(f"{key} {value:.4f}" for key, value in figures.items()), flush=True)
        models[name] = {"std": round(std, 5), "valid": {key: round(value, 4) for key, value in figures.items()}}
        stored = {"stage_times": model.stage_times, **model.weights}
        arrays |= {f"{name}/{key}": array.astype(np.float32) for key, array in stored.items()}
        arrays[f"{name}/scales"] = np.array([model.centre, model.spread, model.unit])
    np.savez(arguments.out, allow_pickle=False, about=np.array(json.dumps({**ABOUT, "models": models})), **arrays)
    print(f"wrote {arguments.out} ({arguments.out.stat().st_size} bytes)")


if __name__ == "__main__":
    main()
