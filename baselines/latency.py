"""Latency and memory of networks, measured side by side.

The default protocol is that of EfficientNet (arXiv 1905.11946, section 5.2 and Table 4): one core, batch 1, 20 runs.
Its warm-up, framework and precision are not published; here it is PyTorch in float32 after `Protocol.warmup` runs.

Networks are interleaved: each round runs every network once, in a rotating order, and ratios are taken within a round.
A machine that becomes slower therefore affects all networks alike.
"""

from __future__ import annotations

import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from baselines.memory import measured_peak
from baselines.text import Count
from search_spaces.architecture import check_int
from search_spaces.errors import MnasError, unknown_name

if TYPE_CHECKING:
    from torch import nn

RUNTIMES = ("eager", "onnxruntime")


@dataclass(frozen=True)
class Protocol:
    """Settings of a measurement.

    Attributes:
        runs: measured rounds.
        warmup: rounds before the measured ones.
        batch: images in a run.
        threads: processor threads.
        device: device to run on: cpu, cuda, cuda:1 …
        runtime: runtime of the networks.

    Raises:
        MnasError: a value breaks its rule.
    """

    runs: Count = 20
    warmup: int = 5
    batch: Count = 1
    threads: Count = 1
    device: str = "cpu"
    runtime: str = "eager"

    def __post_init__(self) -> None:
        check_int("runs", self.runs, 1, 100_000)
        check_int("warmup", self.warmup, 0, 100_000)
        check_int("batch", self.batch, 1, 65536)
        check_int("threads", self.threads, 1, 1024)
        if self.runtime not in RUNTIMES:
            raise unknown_name("runtime", self.runtime, RUNTIMES)
        if self.runtime == "onnxruntime" and self.device.split(":")[0] != "cpu":
            raise MnasError(
                f"device: {self.device!r} cannot be combined with onnxruntime, which runs on the CPU; remove --device"
            )


@dataclass(frozen=True)
class Subject:
    """A network to measure.

    Attributes:
        name: name of the network.
        network: module of the network.
        resolution: side of its images in pixels.
    """

    name: str
    network: nn.Module
    resolution: int


@dataclass(frozen=True)
class Timing:
    """Measurements of one network.

    Attributes:
        name: name of the network.
        seconds: time of each round, in order.
        ratios: time relative to the reference (the last subject), for each round.
        peak_bytes: peak memory of tensors in one run, without weights; None if the runtime does not report it.
    """

    name: str
    seconds: tuple[float, ...]
    ratios: tuple[float, ...]
    peak_bytes: int | None

    @property
    def median(self) -> float:
        """Median of the rounds, in seconds."""
        return statistics.median(self.seconds)

    def spread(self) -> tuple[float, float]:
        """First and third quartile of the rounds, in seconds."""
        return quartiles(self.seconds)


def quartiles(values: Sequence[float]) -> tuple[float, float]:
    """First and third quartile; both are the value itself if there is only one."""
    if len(values) < 2:
        return values[0], values[0]
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, high


def measure(
    subjects: Sequence[Subject], protocol: Protocol, on_round: Callable[[], None] = lambda: None
) -> list[Timing]:
    """Measure networks with random images, in evaluation mode, without gradients.

    Args:
        subjects: networks to measure; the last one is the reference of the ratios.
        protocol: settings of the measurement.
        on_round: function that is called after every round, including warm-up.

    Raises:
        MnasError: the device is not available, onnxruntime is not installed, or memory runs out.
    """
    import torch

    try:
        device = torch.device(protocol.device)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise MnasError(
            f"device: {protocol.device!r} is not available ({str(error).splitlines()[0]}); use cpu"
        ) from None
    if device.type not in ("cpu", "cuda"):
        raise MnasError(f"device: {protocol.device!r} is not supported; use cpu or cuda")
    try:
        return _measure(subjects, protocol, device, on_round)
    except (RuntimeError, MemoryError) as error:
        if isinstance(error, RuntimeError) and "alloc" not in str(error) and "out of memory" not in str(error):
            raise
        raise MnasError(f"batch: {protocol.batch} images do not fit into memory; use a smaller batch") from None


def _measure(
    subjects: Sequence[Subject], protocol: Protocol, device: Any, on_round: Callable[[], None]
) -> list[Timing]:
    import torch

    with tempfile.TemporaryDirectory() as folder, _threads(protocol.threads), torch.inference_mode():
        prepared = [_prepare(subject, protocol, device, Path(folder)) for subject in subjects]
        rounds: list[list[float]] = []
        for number in range(protocol.warmup + protocol.runs):
            first = number % len(prepared)
            seconds = [0.0] * len(prepared)
            for index in [*range(first, len(prepared)), *range(first)]:
                started = time.perf_counter()
                prepared[index]()
                _wait(device)
                seconds[index] = time.perf_counter() - started
            if number >= protocol.warmup:
                rounds.append(seconds)
            on_round()
        peaks = [_peak(run, protocol, device) for run in prepared]
    return [
        Timing(
            name=subject.name,
            seconds=tuple(seconds[index] for seconds in rounds),
            ratios=tuple(seconds[index] / seconds[-1] for seconds in rounds),
            peak_bytes=peaks[index],
        )
        for index, subject in enumerate(subjects)
    ]


def machine(protocol: Protocol) -> str:
    """The processor or GPU and the runtime of the measurements, as text."""
    import torch

    on_gpu = torch.device(protocol.device).type == "cuda"
    name = torch.cuda.get_device_name(torch.device(protocol.device)) if on_gpu else _processor()
    runtime = f"PyTorch {torch.__version__}"
    if protocol.runtime == "onnxruntime":
        from baselines.exchange.onnx_files import import_onnxruntime

        runtime = f"ONNX Runtime {import_onnxruntime().__version__}"
    return f"{name}, {runtime}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


@contextmanager
def _threads(count: int) -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _prepare(subject: Subject, protocol: Protocol, device: Any, folder: Path) -> Callable[[], Any]:
    """A function that runs a subject once."""
    import torch

    from baselines.exchange.runtimes import export_onnx, in_channels_of

    network = subject.network.eval()
    side = subject.resolution
    shape = protocol.batch, in_channels_of(network), side, side
    if protocol.runtime == "onnxruntime":
        from baselines.exchange.onnx_files import session_of

        file = folder / f"{len(list(folder.iterdir()))}.onnx"
        with torch.inference_mode(False):
            export_onnx(network, side, file)
        session = session_of(str(file), file, protocol.threads)
        pixels = torch.randn(shape).numpy()
        return lambda: session.run(None, {"images": pixels})
    network = network.to(device)
    images = torch.randn(shape, device=device)
    return lambda: network(images)


def _wait(device: Any) -> None:
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _peak(run: Callable[[], Any], protocol: Protocol, device: Any) -> int | None:
    """Peak bytes of tensors in one run, without weights and images."""
    if protocol.runtime != "eager":
        return None
    with measured_peak(device) as peak:
        run()
    return peak.bytes
