"""Throughput and latency on hardware, predicted for members of the ``efficientnet`` space.

`nas.predictors.fit_hardware` fits the models on measurements of Accel-NASBench (github.com/afzalxo/Accel-NASBench,
Apache-2.0), so batch sizes and precisions are those of that benchmark. The time of an image is the sum of its stages'
times (a table), multiplied by a correction from a few small perceptrons, since stages overlap and accelerators
saturate. σ is the relative error on networks that were left out of the fit, one number per device.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search_spaces import StageSpace, load_stage_space
from search_spaces.space import Indices

Floats = NDArray[np.float64]

MODEL_FILE = Path(__file__).with_name("hardware.npz")
SPACE = "efficientnet"
# Columns of the measurements, by our names; throughput in images/s, latency in ms.
COLUMNS = {
    "a100-throughput": "throughput_a100_img_s",
    "rtx3090-throughput": "throughput_3090_img_s",
    "tpuv2-throughput": "throughput_tpuv2_img_s",
    "tpuv3-throughput": "throughput_tpuv3_img_s",
    "zcu102-throughput": "throughput_zcu102_img_s",
    "vck190-throughput": "throughput_vck190_img_s",
    "zcu102-latency": "latency_zcu102_ms",
    "vck190-latency": "latency_vck190_ms",
}


@dataclass(frozen=True)
class TimeModel:
    """The model of one device.

    Attributes:
        stage_times: first the time that all networks share, then the time of each option of each stage, concatenated.
            In s per image for throughput, in ms per run for latency.
        weights: weights of the perceptrons, ``weight0``, ``bias0``, …, of shape (members, in, out).
        centre, spread: mean and standard deviation of the log of the summed times, which standardise it for the
            perceptrons.
        unit: log time that corresponds to an output of 1 of the perceptrons.
    """

    stage_times: Floats
    weights: dict[str, Floats]
    centre: float
    spread: float
    unit: float

    def log_times(self, space: StageSpace, indices: Indices) -> Floats:
        """Return the log of the time of each row, of shape (count,)."""
        columns = space.stage_codes(indices) + 1 + np.cumsum([0, *space.stage_sizes[:-1]])
        sums = np.log(self.stage_times[0] + self.stage_times[columns].sum(axis=1))
        hidden = perceptron_features(space, indices, (sums - self.centre) / self.spread)
        weights = self.weights
        linear = hidden @ weights["skip"]
        for layer in (0, 1):
            hidden = hidden @ weights[f"weight{layer}"] + weights[f"bias{layer}"]
            hidden = hidden / (1 + np.exp(-hidden))
        output = hidden @ weights["weight2"] + weights["bias2"] + linear
        result: Floats = sums + self.unit * output[..., 0].mean(axis=0)
        return result


def perceptron_features(space: StageSpace, indices: Indices, standardised_sums: Floats) -> Floats:
    """Return the perceptrons' inputs: centred steps of each row and its summed time, of shape (count, steps + 1)."""
    return np.concatenate([2 * space.steps(indices) - 1, standardised_sums[:, None]], axis=1)


class HardwarePredictor:
    """Predicts one throughput or latency.

    Args:
        name: name of the cost, a key of `COLUMNS`.
        model: fitted model of the device.
        std: relative σ of the predictions.
    """

    def __init__(self, name: str, model: TimeModel, std: float) -> None:
        self.name = name
        self._model = model
        self.std = std
        self._space = load_stage_space(SPACE)

    def predict(self, indices: Indices) -> Floats:
        """Return images/s or ms for rows of the ``efficientnet`` space, of shape (count,)."""
        log_times = self._model.log_times(self._space, indices)
        result: Floats = np.exp(log_times if self.name.endswith("latency") else -log_times)
        return result


class HardwarePredictors:
    """The models in the file that is part of the package, by name."""

    @cached_property
    def _arrays(self) -> dict[str, NDArray[Any]]:
        with np.load(MODEL_FILE, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}

    @cached_property
    def about(self) -> dict[str, Any]:
        """The note in the model file: its data, their licence, and figures of each model on the valid split."""
        note: dict[str, Any] = json.loads(str(self._arrays["about"]))
        return note

    def __getitem__(self, name: str) -> HardwarePredictor:
        own = {key.split("/")[1]: array for key, array in self._arrays.items() if key.startswith(f"{name}/")}
        centre, spread, unit = own.pop("scales").tolist()
        times = own.pop("stage_times").astype(np.float64)
        weights = {key: array.astype(np.float64) for key, array in own.items()}
        return HardwarePredictor(
            name, TimeModel(times, weights, centre, spread, unit), self.about["models"][name]["std"]
        )


@cache
def hardware_predictor(name: str) -> HardwarePredictor:
    """Return the predictor of that name, loaded once."""
    return _PREDICTORS[name]


_PREDICTORS = HardwarePredictors()
