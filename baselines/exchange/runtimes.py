"""Export of networks to ONNX and ``torch.export``. Each file is checked against the network before it is kept."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from baselines.exchange.onnx_files import session_of
from baselines.files import write_new
from search_spaces.errors import MnasError, not_installed

if TYPE_CHECKING:
    from torch import Tensor, nn

    from baselines.exchange.signature import Signature

# Runtimes to export for, and the ending of the file.
RUNTIMES = {"onnx": "onnx", "torch": "pt2"}
# Largest difference between the logits of an exported network and the network's own, relative to the largest logit.
TOLERANCE = 1e-5


def export_onnx(network: nn.Module, resolution: int, file: Path, signature: Signature | None = None) -> float:
    """Write a network as ONNX, with input ``images`` (any batch, 3, resolution, resolution) and output ``logits``.

    Args:
        network: network to export.
        resolution: side of its images in pixels.
        file: file to write.
        signature: what a trained classifier needs to be used, for the metadata; None for a network without classes.

    Returns:
        The largest difference between onnxruntime's logits and the network's, relative to the largest logit.

    Raises:
        MnasError: onnx, onnxscript or onnxruntime is not installed; the file already exists, does not end in .onnx,
            cannot be written, or would need a second file (for weights of more than 1.5 GB); or the difference is
            above `TOLERANCE`. No file is left then.
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
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
        program.model.metadata_props.update(signature.entries() if signature else {})
        program.save(target)

    def run(images: Tensor, target: Path) -> Any:
        return session_of(str(target), target).run(["logits"], {"images": images.numpy()})[0]

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
    difference = 0.0

    def write_checked(target: Path) -> None:
        nonlocal difference
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            write(torch.randn(2, 3, resolution, resolution, generator=generator), target)
            # Another batch size than in the trace.
            images = torch.randn(3, 3, resolution, resolution, generator=generator)
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
