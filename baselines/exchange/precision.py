"""ONNX files in half precision or in integers of eight bits, by onnxruntime's own tools."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from baselines.exchange.onnx_files import import_onnxruntime
from search_spaces.architecture import check_int, check_name
from search_spaces.errors import MnasError, reason_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PRECISIONS = ("fp32", "fp16", "int8")
# The first version of operators that torch's exporter writes; it leaves files as they are if asked for an earlier one.
FIRST_OPSET = 18
# The last one that it writes (torch.onnx's ONNX_MAX_OPSET).
LAST_OPSET = 23
# Images in a batch of calibration.
_BATCH = 32


@dataclass(frozen=True)
class OnnxOptions:
    """How a network is written as ONNX.

    Attributes:
        dynamic_size: images of any size, not only of the network's side.
        opset: version of ONNX's operators, from 18 (default: that of torch's exporter).
        precision: number format of weights and computation.
    """

    dynamic_size: bool = False
    opset: int | None = None
    precision: str = "fp32"

    def __post_init__(self) -> None:
        check_name("precision", self.precision, PRECISIONS)
        if self.opset is not None:
            check_int("opset", self.opset, FIRST_OPSET, LAST_OPSET)


def convert(file: Path, precision: str, images: NDArray[np.float32] | None) -> None:
    """Rewrite an ONNX file of single precision in another one; inputs and outputs stay in single precision.

    Integers of eight bits are quantised statically: weights for each channel on its own (to seven bits), feature
    maps between the least and the largest value that the images give.

    Args:
        file: file to rewrite.
        precision: one of `PRECISIONS`.
        images: inputs to calibrate int8 with, of shape (N, 3, side, side).

    Raises:
        MnasError: onnxruntime's tool cannot convert the file, or there are no images for int8.
    """
    if precision == "fp32":
        return
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _to_half(file) if precision == "fp16" else _to_int8(file, images)
    except MnasError:
        raise
    except Exception as error:  # their tools raise many kinds
        raise MnasError(
            f"precision: onnxruntime cannot convert this network to {precision} ({reason_of(error, 200)}); use fp32"
        ) from None


def add_metadata(file: Path, entries: Mapping[str, str]) -> None:
    """Add entries to the metadata of an ONNX file."""
    import onnx

    model = onnx.load(file)
    for name, value in entries.items():
        model.metadata_props.add(key=name, value=value)
    onnx.save(model, file)


def _to_half(file: Path) -> None:
    import onnx

    float16 = import_onnxruntime("onnxruntime.transformers.float16")
    onnx.save(float16.convert_float_to_float16(onnx.load(file), keep_io_types=True), file)


def _to_int8(file: Path, images: NDArray[np.float32] | None) -> None:
    quantization = import_onnxruntime("onnxruntime.quantization")
    if images is None or not len(images):
        raise MnasError("calibrate: int8 needs images; use --calibrate DATA, or export the folder of a training")
    batches = iter([images[start : start + _BATCH] for start in range(0, len(images), _BATCH)])

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc, name-defined]
        def get_next(self) -> dict[str, Any] | None:
            batch = next(batches, None)
            return None if batch is None else {"images": batch}

    partial = file.with_name(f"{file.name}.partial")
    level = logging.root.level
    logging.root.setLevel(logging.ERROR)  # it recommends a step of preparation that changes nothing here
    try:
        quantization.quantize_static(
            str(file),
            str(partial),
            Reader(),
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            # With weights of eight bits, sums of two products overflow in silence on many processors (LOG.md, "int8").
            reduce_range=True,
        )
    finally:
        logging.root.setLevel(level)
    os.replace(partial, file)
