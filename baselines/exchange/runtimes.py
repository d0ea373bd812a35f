"""Export of networks to ONNX and ``torch.export``. Each file is checked against the network before it is kept."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from baselines.exchange.onnx_files import import_onnxruntime, session_of
from baselines.exchange.precision import OnnxOptions, add_metadata, convert
from baselines.files import write_new
from search_spaces.architecture import MAX_RESOLUTION, RGB
from search_spaces.errors import MnasError, not_installed

if TYPE_CHECKING:
    from torch import Tensor, nn

    from baselines.exchange.signature import Signature

# Runtimes to export for, and the ending of the file.
RUNTIMES = {"onnx": "onnx", "torch": "pt2"}
# Largest difference between the logits of an exported network and the network's own, relative to the largest logit.
TOLERANCE = 1e-5
# The same once the file is converted to another precision: half precision has eleven bits. Integers of eight bits are
# judged by the accuracy; a difference as large as the largest logit itself would mean that the file is another network.
CONVERTED = {"fp16": 2e-2, "int8": 1.0}
# Smallest side of images that a file for any size takes.
LEAST_SIDE = 32
# Pixels that are added to a network's side as height and width of the images that trace it, and that check the file.
FIXED, DYNAMIC = ((0, 0), (0, 0)), ((0, 8), (13, 6))
FP32 = OnnxOptions()


def export_onnx(
    network: nn.Module,
    resolution: int,
    file: Path,
    signature: Signature | None = None,
    options: OnnxOptions = FP32,
    images: Tensor | None = None,
    measure: Callable[[Callable[[Tensor], Tensor]], Mapping[str, str]] = lambda run: {},
) -> float:
    """Write a network as ONNX, with input ``images`` (any batch, channels, side, side) and output ``logits``.

    Args:
        network: network to export.
        resolution: side of its images in pixels.
        file: file to write.
        signature: what a trained classifier needs to be used, for the metadata; None for a network without classes.
        options: sizes, operators and precision.
        images: inputs to calibrate int8 with, of shape (N, channels, resolution, resolution).
        measure: function from the converted network to further entries of the metadata; not called for fp32.

    Returns:
        The largest difference between onnxruntime's logits and the network's, relative to the largest logit; for int8,
        on the images.

    Raises:
        MnasError: onnx, onnxscript or onnxruntime is not installed; the file already exists, does not end in .onnx,
            cannot be written, or would need a second file (for weights of more than 1.5 GB); the network cannot be
            converted; or the difference is above `TOLERANCE`, or, once converted, `CONVERTED`. No file is left then.
    """
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise not_installed("onnx", str(error.name), "onnx") from None
    import_onnxruntime()

    def write(inputs: Tensor, target: Path) -> None:
        program = _onnx_program(network, inputs, options)
        program.model.metadata_props.update(signature.entries() if signature else {})
        program.save(target)

    def run(inputs: Tensor, target: Path) -> Tensor:
        return _logits(session_of(str(target), target), inputs)

    def finish(target: Path, inputs: Tensor) -> float | None:
        if options.precision == "fp32":
            return None
        convert(target, options.precision, None if images is None else images.numpy())
        if options.precision == "int8" and images is not None:
            inputs = images  # it holds for feature maps as images give them
        converted = partial(_logits, session_of(str(target), target))
        found = _difference(network, converted, inputs)
        _check(found, CONVERTED[options.precision], file)
        add_metadata(target, {"precision": options.precision, **measure(converted)})
        return found

    sizes = DYNAMIC if options.dynamic_size else FIXED
    return _export(network, resolution, file, ".onnx", write, run, sizes, finish)


def _logits(session: Any, inputs: Tensor) -> Tensor:
    import torch

    return torch.from_numpy(session.run(["logits"], {"images": inputs.contiguous().numpy()})[0])


def _onnx_program(network: nn.Module, inputs: Tensor, options: OnnxOptions) -> Any:
    """The network as torch's exporter writes it, traced with some inputs."""
    import torch

    # It warns about torchvision's operators, which no network here uses.
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    program = torch.onnx.export(
        network,
        (inputs,),
        input_names=["images"],
        output_names=["logits"],
        dynamo=True,
        dynamic_shapes=_any_batch(any_size=options.dynamic_size),
        opset_version=options.opset,
        verbose=False,
    )
    assert program is not None
    version = program.model.opset_imports[""]
    if options.opset is not None and version != options.opset:
        raise MnasError(f"opset: the network is written with version {version}, not {options.opset}; use {version}")
    return program


def export_program(network: nn.Module, resolution: int, file: Path) -> float:
    """Write a network with ``torch.export.save``, as a .pt2 for any batch size. Returns and raises as `export_onnx`."""

    def write(images: Tensor, target: Path) -> None:
        import torch

        # Through a buffer: on a full disk, torch's own writer kills the process.
        buffer = io.BytesIO()
        torch.export.save(torch.export.export(network, (images,), dynamic_shapes=_any_batch()), buffer)
        target.write_bytes(buffer.getvalue())

    def run(images: Tensor, target: Path) -> Tensor:
        import torch

        found: Tensor = torch.export.load(target).module()(images)
        return found

    return _export(network, resolution, file, ".pt2", write, run)


def in_channels_of(network: nn.Module) -> int:
    """Channels of a network's images; networks of other projects take RGB."""
    from search_spaces.network import Network

    return network.architecture.in_channels if isinstance(network, Network) else RGB


def _any_batch(*, any_size: bool = False) -> tuple[dict[int, Any]]:
    import torch

    sizes: dict[int, Any] = {0: torch.export.Dim("batch", min=1, max=4096)}
    if any_size:
        # Larger than any network's total stride; smaller images would have no pixel left.
        sides = (torch.export.Dim(name, min=LEAST_SIDE, max=MAX_RESOLUTION) for name in ("height", "width"))
        sizes |= dict(zip((2, 3), sides, strict=True))
    return (sizes,)


def _export(
    network: nn.Module,
    resolution: int,
    file: Path,
    suffix: str,
    write: Callable[[Tensor, Path], None],
    run: Callable[[Tensor, Path], Tensor],
    sizes: Sequence[tuple[int, int]] = FIXED,
    finish: Callable[[Path, Tensor], float | None] = lambda target, inputs: None,
) -> float:
    """Write a file by a trace with inputs of one size, and check it with others.

    Args:
        network, resolution, file: as for `export_onnx`.
        suffix: what the file's name must end in.
        write: function that writes the network, traced with some inputs.
        run: function that runs the file.
        sizes: pixels that are added to the resolution as height and width of the two inputs.
        finish: function that completes the file, given the inputs to check with; returns the difference if it changed.
    """
    import torch

    if file.suffix != suffix:
        raise MnasError(f"out: {file}: expected a file that ends in {suffix}, such as {file.name}{suffix}")
    network = network.eval()
    channels = in_channels_of(network)
    difference = 0.0

    def write_checked(target: Path) -> None:
        nonlocal difference
        generator = torch.Generator().manual_seed(0)
        # Another batch size than in the trace.
        traced, images = (
            torch.randn(count, channels, resolution + down, resolution + across, generator=generator)
            for count, (down, across) in zip((2, 3), sizes, strict=True)
        )
        with torch.no_grad():
            write(traced, target)
            difference = _difference(network, lambda inputs: run(inputs, target), images)
            _check(difference, TOLERANCE, file)
            changed = finish(target, images)
            difference = difference if changed is None else changed

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporters warn about their own internals
        write_new(file, write_checked)
    return difference


def _difference(network: nn.Module, run: Callable[[Tensor], Tensor], inputs: Tensor) -> float:
    """Largest difference between a file's logits and the network's, relative to the largest logit."""
    expected, found = network(inputs), run(inputs)
    largest = float((found - expected).abs().max())
    return largest and largest / float(expected.abs().max())


def _check(difference: float, tolerance: float, file: Path) -> None:
    if not difference <= tolerance:
        raise MnasError(
            f"{file}: the exported logits differ from the network's by {difference:.1e} of the largest, expected "
            f"{tolerance:.0e} or less; nothing was written"
        )
