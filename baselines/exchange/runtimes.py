"""Export of networks to ONNX and ``torch.export``. Each file is checked against the network before it is kept."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from baselines.files import write_new
from search_spaces.architecture import RGB
from search_spaces.errors import MnasError, not_installed

if TYPE_CHECKING:
    from torch import Tensor, nn

# Largest difference between the logits of an exported network and the network's own, relative to the largest logit.
TOLERANCE = 1e-5


def export_onnx(network: nn.Module, resolution: int, file: Path) -> float:
    """Write a network as ONNX, with input ``images`` (any batch, channels, side, side) and output ``logits``.

    Returns:
        The largest difference between onnxruntime's logits and the network's, relative to the largest logit.

    Raises:
        MnasError: onnx, onnxscript or onnxruntime is not installed; the file already exists, does not end in .onnx,
            cannot be written, or would need a second file (for weights of more than 1.5 GB); or the difference is
            above `TOLERANCE`. No file is left then.
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise not_installed("onnx", str(error.name), "onnx") from None

    def write(images: Tensor, target: Path) -> None:
        import torch

        # It warns about torchvision's operators, which no network here uses.
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        program = torch.onnx.export(
            network,
            (images,),
            input_names=["images"],
            output_names=["logits"],
            dynamo=True,
            dynamic_shapes=_any_batch(),
            verbose=False,
        )
        assert program is not None
        program.save(target)

    def run(images: Tensor, target: Path) -> Any:
        session = onnxruntime.InferenceSession(str(target), providers=["CPUExecutionProvider"])
        return session.run(["logits"], {"images": images.numpy()})[0]

    return _export(network, resolution, file, ".onnx", write, run)


def export_program(network: nn.Module, resolution: int, file: Path) -> float:
    """Write a network with ``torch.export.save``, as a .pt2 for any batch size. Returns and raises as `export_onnx`."""

    def write(images: Tensor, target: Path) -> None:
        import torch

        # Through a buffer: on a full disk, torch's own writer kills the process.
        buffer = io.BytesIO()
        torch.export.save(torch.export.export(network, (images,), dynamic_shapes=_any_batch()), buffer)
        target.write_bytes(buffer.getvalue())

    def run(images: Tensor, target: Path) -> Any:
        import torch

        return torch.export.load(target).module()(images)

    return _export(network, resolution, file, ".pt2", write, run)


def in_channels_of(network: nn.Module) -> int:
    """Channels of a network's images; networks of other projects take RGB."""
    from search_spaces.network import Network

    return network.architecture.in_channels if isinstance(network, Network) else RGB


def _any_batch() -> tuple[dict[int, Any]]:
    import torch

    return ({0: torch.export.Dim("batch", min=1, max=4096)},)


def _export(
    network: nn.Module,
    resolution: int,
    file: Path,
    suffix: str,
    write: Callable[[Tensor, Path], None],
    run: Callable[[Tensor, Path], Any],
) -> float:
    import torch

    if file.suffix != suffix:
        raise MnasError(f"out: {file}: expected a file that ends in {suffix}, such as {file.name}{suffix}")
    network = network.eval()
    shape = in_channels_of(network), resolution, resolution
    difference = 0.0

    def write_checked(target: Path) -> None:
        nonlocal difference
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            write(torch.randn(2, *shape, generator=generator), target)
            # Another batch size than in the trace.
            images = torch.randn(3, *shape, generator=generator)
            expected, found = network(images), torch.as_tensor(run(images, target))
        largest = float((found - expected).abs().max())
        difference = largest and largest / float(expected.abs().max())
        if not difference <= TOLERANCE:
            raise MnasError(
                f"{file}: the exported logits differ from the network's by {difference:.1e} of the largest, expected "
                f"{TOLERANCE:.0e} or less; nothing was written"
            )

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporters warn about their own internals
        write_new(file, write_checked)
    return difference
