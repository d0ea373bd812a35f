"""Pipes, devices, links, sockets and enormous files in place of each file that a command reads: a clear line, soon."""

from __future__ import annotations

import os
import shutil
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

import pytest

from nas.__main__ import main
from tests.baselines.training.images import write_folders

SECONDS = 30


def pipe(path: Path) -> None:
    os.mkfifo(path)


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def full(path: Path) -> None:
    path.symlink_to("/dev/full")


def directory(path: Path) -> None:
    path.mkdir()


def dangling(path: Path) -> None:
    path.symlink_to("nowhere")


def loop(path: Path) -> None:
    path.symlink_to(path.name)


def endpoint(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path.name)  # a path of a socket is at most 108 bytes long


def enormous(path: Path) -> None:
    """A terabyte that takes no space."""
    with path.open("wb") as file:
        file.truncate(2**40)


def empty(path: Path) -> None:
    path.touch()


FORMS = (pipe, device, full, directory, dangling, loop, endpoint, enormous, empty)

# Commands that read one file, and its name.
FILES = {
    "show": ("show FILE", "spec.yaml"),
    "scale": ("scale FILE --preset b1 --name x", "spec.yaml"),
    "family": ("family FILE --presets b0..b1", "spec.yaml"),
    "compare": ("compare efficientnet_b0 FILE", "spec.yaml"),
    "latency": ("latency FILE", "spec.yaml"),
    "export": ("export FILE --format timm", "spec.yaml"),
    "import": ("import FILE --format timm --name x", "network.json"),
    "weights": ("export mnasnet_small --format onnx --weights FILE", "w.safetensors"),
    "checkpoint": ("export mnasnet_small --format onnx --weights FILE", "w.pth"),
    "table": ("search --evaluator table:FILE --trials 3 --out run", "table.csv"),
    "table in JSON": ("search --evaluator table:FILE --trials 3 --out run", "table.json"),
    "table with a space": ("spaces FILE", "own.csv"),
    "zip": ("train mnasnet_small --data FILE --plan", "images.zip"),
    "tar": ("train mnasnet_small --data FILE --plan", "images.tar.gz"),
    "list": ("train mnasnet_small --data FILE --plan", "images.csv"),
    "weights to start from": ("train mnasnet_small --data images --weights FILE --plan", "w.pth"),
    "run": ("trials FILE", "run"),
    "report": ("report FILE", "run"),
    "freeze": ("freeze FILE --name x", "run"),
    "evaluate": ("evaluate FILE", "training"),
    "predict": ("predict FILE --images .", "training"),
    "exported network": ("predict FILE --images .", "net.onnx"),
}
# Commands that read a folder, and files in it, which other files stand beside.
INSIDE = {
    "run": (("trials", "report", "front", "freeze --name x", "search --trials 9 --resume"), ("journal.sqlite",)),
    "training": (("evaluate", "cam", "train --resume"), ("training.json", "spec.yaml", "weights.safetensors")),
    "images": (("train mnasnet_small --plan --data",), ("red/000.png", "red")),
}
# With these, work that is left is done; a network is trained without them, for example.
NOT_NEEDED = {
    ("train --resume", "weights.safetensors"),
    ("train mnasnet_small --plan --data", "red/000.png"),
    ("train mnasnet_small --plan --data", "red"),
}


@pytest.fixture(autouse=True)
def place(workplace: Path) -> Iterator[Path]:
    """The current folder; whoever waits for a pipe is woken."""

    def wake(_number: int, _frame: FrameType | None) -> None:
        raise AssertionError(f"not done after {SECONDS} s")

    before = signal.signal(signal.SIGALRM, wake)
    signal.alarm(SECONDS)
    yield workplace
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run, images and a training on them."""
    pytest.importorskip("lightning_fabric", reason="lightning-fabric is not installed; pip install 'mnas[train]'")
    folder = tmp_path_factory.mktemp("whole")
    write_folders(folder / "images")
    options = ["--recipe", "proxy", "--epochs", "1", "--batch", "16", "--width", "0.25"]
    training = ["train", "mnasnet_small", "--data", str(folder / "images"), *options, "--out", str(folder / "training")]
    assert main(training) == 0
    assert main(["search", "--trials", "6", "--controller", "random", "--out", str(folder / "run")]) == 0
    return folder


def refused(capsys: pytest.CaptureFixture[str], arguments: list[str], *, needed: bool = True) -> str:
    """Run a command, which must say in one line what is wrong; without need of the file it may end well."""
    capsys.readouterr()
    status = main(arguments)
    shown = capsys.readouterr()
    if status == 0 and not needed:
        return ""
    assert status == 2, shown
    message = shown.err.splitlines()[-1]
    assert message.startswith("mnas: ")
    assert message.isprintable()
    assert len(message) < 1200
    assert "Traceback" not in shown.err
    return message


@pytest.mark.parametrize("make", FORMS)
@pytest.mark.parametrize("entrance", FILES)
def test_a_file_that_is_none(
    entrance: str, make: Callable[[Path], None], place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command, name = FILES[entrance]
    if "--data images" in command:
        write_folders(Path("images"))
    make(Path(name))
    before = {path for path in place.rglob("*") if ".cache" not in path.parts}
    refused(capsys, [word.replace("FILE", name) for word in command.split()])
    assert {path for path in place.rglob("*") if ".cache" not in path.parts} == before


@pytest.mark.parametrize("make", FORMS)
@pytest.mark.parametrize(
    ("folder", "command", "name"),
    [(folder, command, name) for folder, (commands, names) in INSIDE.items() for command in commands for name in names],
)
def test_a_file_in_a_folder_that_is_none(
    folder: str, command: str, name: str, make: Callable[[Path], None], whole: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(whole / folder, folder)
    if Path(folder, name).is_dir():
        shutil.rmtree(Path(folder, name))
    else:
        Path(folder, name).unlink()
    where = Path.cwd()
    os.chdir(Path(folder, name).parent)
    make(Path(Path(name).name))
    os.chdir(where)
    refused(capsys, [*command.split(), folder], needed=(command, name) not in NOT_NEEDED)


@pytest.mark.parametrize("make", FORMS)
@pytest.mark.parametrize(
    "command", ["export efficientnet_b0 --format timm --out", "trials run --csv", "report run --html", "search --out"]
)
def test_a_place_to_write_that_holds_something(
    command: str, make: Callable[[Path], None], whole: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is there stays, or is replaced as a whole; nothing is written through a link or into a device."""
    shutil.copytree(whole / "run", "run")
    make(Path("out"))
    kept = os.lstat("out").st_ino
    capsys.readouterr()
    status = main([*command.split(), "out", *(["--trials", "2"] if command.startswith("search") else [])])
    shown = capsys.readouterr().err
    assert status in (0, 2), shown
    assert not Path("nowhere").exists()
    if status == 2:
        assert os.lstat("out").st_ino == kept
        assert shown.splitlines()[-1].startswith("mnas: ")
