"""Classifiers in ONNX files, read and run by onnxruntime. A file may come from anybody; nothing in one is executed."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from baselines.exchange.signature import Signature, read_signature
from search_spaces.errors import MnasError, not_installed, one_line, reason_of
from search_spaces.serialization import read_bytes

if TYPE_CHECKING:
    from torch import Tensor

SUFFIX = ".onnx"
# A file in the format of protocol buffers is no larger.
MAX_BYTES = 2**31
_FATAL = 4


def import_onnxruntime(module: str = "onnxruntime") -> Any:
    """Import and return onnxruntime or a module of it, which would otherwise report to its maker over the network.

    Raises:
        MnasError: it is not installed.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        return importlib.import_module(module)
    except ImportError:
        raise not_installed("onnx", "onnxruntime", "onnx") from None


def session_of(content: bytes | str, file: object, threads: int | None = None) -> Any:
    """A session of onnxruntime on the CPU.

    Args:
        content: the file's content, or its path.
        file: the file's path, for messages.
        threads: number of threads; by default as many as torch has.

    Raises:
        MnasError: onnxruntime is not installed, or cannot read the file.
    """
    import torch

    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _FATAL  # its log would print names from the file
    options.intra_op_num_threads, options.inter_op_num_threads = threads or torch.get_num_threads(), 1
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # many kinds, none of which is public
        raise MnasError(
            f"{file}: not a network that onnxruntime can run ({reason_of(error, 200)}); export it"
        ) from None


def open_onnx(file: Path) -> tuple[Signature, Callable[[Tensor], Tensor]]:
    """A classifier in an ONNX file: its signature, and a function from inputs (N, channels, side, side) to logits.

    Raises:
        MnasError: the file cannot be read, is not a classifier of images, or lacks a signature.
    """
    session = session_of(read_bytes(file, MAX_BYTES, "ONNX file"), file)
    signature = read_signature(session.get_modelmeta().custom_metadata_map, file)
    inputs, outputs = session.get_inputs(), session.get_outputs()
    shape = (signature.channels, signature.side, signature.side)
    if len(inputs) != 1 or inputs[0].type != "tensor(float)" or not _fits(inputs[0].shape, (None, *shape)):
        raise MnasError(
            f"{file}: its inputs are {_listed(inputs)}, expected one of floats, N x {_by(shape)}; export it again"
        )
    count = len(signature.classes)
    if len(outputs) != 1 or not _fits(outputs[0].shape, (None, count)):
        raise MnasError(f"{file}: its outputs are {_listed(outputs)}, expected one, N x {count}; export it again")

    def logits(images: Tensor) -> Tensor:
        import torch

        try:
            (found,) = session.run(None, {inputs[0].name: images.cpu().contiguous().numpy()})
        except Exception as error:
            raise MnasError(f"{file}: onnxruntime cannot run it ({reason_of(error, 200)}); export it again") from None
        if found.shape != (len(images), count):
            raise MnasError(f"{file}: {len(images)} images give {_by(found.shape)} outputs; export it again")
        return torch.from_numpy(found).float()

    return signature, logits


def _fits(found: list[int | str | None], expected: tuple[int | None, ...]) -> bool:
    """Whether a shape is the expected one; any size may be open, and one that is expected to be None must be."""
    pairs = zip(found, expected, strict=False)
    return len(found) == len(expected) and all(not isinstance(one, int) or one == other for one, other in pairs)


def _by(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def _listed(values: list[Any]) -> str:
    """Inputs or outputs of a network, for a message."""
    shown = ", ".join(f"{value.name} ({value.type} of {value.shape})" for value in values[:3])
    return one_line(shown, 120) if values else "none"
