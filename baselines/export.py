"""Networks for other runtimes: ONNX and ``torch.export``, checked against the network before the file is kept."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from baselines.files import write_new
from search_spaces.errors import MnasError

if TYPE_CHECKING:
    from torch import Tensor, nn

# How far an exported network's logits may be from the network's own, relative to the largest of them.
TOLERANCE = 1e-5


def export_onnx(network: nn.Module, resolution: int, file: Path) -> float:
    """Write a network as ONNX: input ``images`` (batch, 3, resolution, resolution) of any batch, output ``logits``.

    Returns:
        The largest difference of onnxruntime's logits from the network's, relative to the largest logit.

    Raises:
        MnasError: onnx, onnxscript or onnxruntime is missing, the file is there already, has another ending or cannot
            be written, or would need a second file (weights of more than 1.5 GB), or the difference is above
            `TOLERANCE`; no file is left then.
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise MnasError(f"onnx: {error.name} is not installed; pip install 'mnas[onnx]'") from None

    def write(images: Tensor, target: Path) -> None:
        import torch

        # It warns of operators of torchvision's, which no network here has.
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
    """Write a network with ``torch.export.save``, with any batch size. Returns and raises as `export_onnx` does."""

    def write(images: Tensor, target: Path) -> None:
        import torch

        # By way of memory: on a full disk, torch's own writer ends the process.
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
        raise MnasError(f"out: {file} does not end in {suffix}; name it {file.name}{suffix}")
    network = network.eval()
    difference = 0.0

    def write_checked(target: Path) -> None:
        nonlocal difference
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            write(torch.randn(2, 3, resolution, resolution, generator=generator), target)
            # Another batch size than the one that was traced.
            images = torch.randn(3, 3, resolution, resolution, generator=generator)
            expected, found = network(images), torch.as_tensor(run(images, target))
        largest = float((found - expected).abs().max())
        difference = largest and largest / float(expected.abs().max())
        if not difference <= TOLERANCE:
            raise MnasError(f"{file}: its logits differ by {difference:.1e} from the network's, so it is not kept")

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporters, about their own insides
        write_new(file, write_checked)
    return difference
