"""Fit the hardware predictors of the package, and check them.

    python -m nas.predictors.fit_hardware --train train.csv --valid valid.csv --out FILE.npz

They are fitted on the train split of Accel-NASBench (`nas.predictors.accel_nasbench`) alone; the valid split gives the
figures in the file's note. `nas.predictors.hardware` describes the model. First the stages' times are fitted by
non-negative least squares of the relative error, then the perceptrons on the residuals of log time.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import nnls
from scipy.stats import kendalltau

from nas.predictors.accel_nasbench import fit_parser, read_measurements
from nas.predictors.fit_imagenet import fit_perceptrons
from nas.predictors.hardware import COLUMNS, SPACE, TimeModel, perceptron_features
from search_spaces import MnasError, StageSpace, load_stage_space
from search_spaces.space import Indices

Floats = NDArray[np.float64]

ABOUT = {
    "predicts": "throughput (images/s) and latency (ms) as Accel-NASBench measured them",
    "space": SPACE,
    "data": "Accel-NASBench, train split, github.com/afzalxo/Accel-NASBench, Apache-2.0",
    "fitted_by": "nas/predictors/fit_hardware.py",
}
FOLDS = 5
MEMBERS, HIDDEN, EPOCHS = 4, 16, 150
# Noise level for `fit_perceptrons`, in standard deviations of the residuals. Its Huber loss counts residuals beyond 1.7
# times this level linearly, since some measurements are far off.
NOISE = 0.1
RIDGE = 1e-3


def fit(space: StageSpace, indices: Indices, log_times: Floats) -> TimeModel:
    """Fit the model of one device to the logs of measured times."""
    codes = space.stage_codes(indices)
    one_hot = [np.eye(size)[codes[:, stage]] for stage, size in enumerate(space.stage_sizes)]
    design = np.concatenate([np.ones((len(indices), 1)), *one_hot], axis=1)
    relative = design / np.exp(log_times)[:, None]
    ridge = RIDGE * np.eye(design.shape[1])
    target = np.concatenate([np.ones(len(design)), np.zeros(len(ridge))])
    times, _ = nnls(np.concatenate([relative, ridge]), target, maxiter=100 * design.shape[1])
    sums = np.log(design @ times)
    centre, spread = float(sums.mean()), float(sums.std())
    residuals = log_times - sums
    unit = float(residuals.std())
    features = perceptron_features(space, indices, (sums - centre) / spread)
    weights = fit_perceptrons(
        torch.tensor(features, dtype=torch.float32),
        torch.tensor(residuals / unit, dtype=torch.float32),
        torch.full((len(residuals),), NOISE),
        members=MEMBERS,
        hidden=HIDDEN,
        epochs=EPOCHS,
    )
    arrays = {name: weight.numpy().astype(np.float64) for name, weight in weights.items()}
    return TimeModel(times, arrays, centre, spread, unit)


def relative_std(space: StageSpace, indices: Indices, log_times: Floats) -> float:
    """Return the root mean square of the relative error on left-out rows, by cross-validation over `FOLDS` folds."""
    folds = np.random.default_rng(0).permutation(len(indices)) % FOLDS
    squares = 0.0
    for fold in range(FOLDS):
        model = fit(space, indices[folds != fold], log_times[folds != fold])
        squares += float(((model.log_times(space, indices[folds == fold]) - log_times[folds == fold]) ** 2).sum())
    return float(np.sqrt(squares / len(indices)))


def quality(log_times: Floats, predicted: Floats, std: float) -> dict[str, float]:
    """Return Kendall tau, mean and largest relative error, R² of log time, and standard deviation of the z-scores."""
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
    parser = fit_parser("Fit the predictors of throughput and latency.")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    space = load_stage_space(SPACE)
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
