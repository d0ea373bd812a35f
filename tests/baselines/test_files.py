"""Folders that were received from others: links, devices and pipes in them change and read nothing elsewhere."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from baselines.files import replace_file, write_new_text
from baselines.owner import lock
from nas.__main__ import main
from search_spaces import MnasError
from search_spaces.serialization import read_bytes, read_text
from tests.baselines.training.images import write_folders

SEARCH = ("search", "--controller", "random", "--trials")
TRAIN = ("train", "efficientnet_b0", "--data", "images", "--width", "0.1", "--resolution", "16", "--recipe", "proxy")


def test_a_file_is_replaced_and_no_link_is_followed(tmp_path: Path) -> None:
    victim, file = tmp_path / "victim", tmp_path / "folder" / "a.csv"
    victim.write_text("precious")
    file.parent.mkdir()
    for name in ("a.csv", "a.new", "a.csv.new", ".a.csv.0123456789abcdef"):
        (file.parent / name).symlink_to(victim)
    replace_file(file, lambda stream: stream.write(b"new"))
    assert (file.read_text(), file.is_symlink(), victim.read_text()) == ("new", False, "precious")
    assert sorted(path.name for path in file.parent.iterdir()) == ["a.csv", "a.csv.new", "a.new"]


def test_a_failed_write_leaves_the_earlier_file(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    replace_file(file, lambda stream: stream.write(b"old"))

    def fail(stream: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        replace_file(file, fail)
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]
    assert file.read_text() == "old"


def test_a_new_file_takes_away_what_a_killed_process_began(tmp_path: Path) -> None:
    for name in (".mnas-killed", ".mnas-owned"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.csv").write_text("half")
    owner = lock(tmp_path / ".mnas-owned")
    assert owner is not None
    write_new_text(tmp_path / "a.csv", "whole")
    os.close(owner)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".mnas-owned", "a.csv"]
    write_new_text(tmp_path / "b.csv", "whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "b.csv"]


def pipe(file: Path) -> None:
    os.mkfifo(file)


def device(file: Path) -> None:
    file.symlink_to("/dev/zero")


def folder(file: Path) -> None:
    file.mkdir()


@pytest.mark.parametrize("make", [pipe, device])
def test_what_is_not_a_file_is_not_read(make: Callable[[Path], None], tmp_path: Path) -> None:
    make(tmp_path / "spec.yaml")
    for read in (lambda file: read_bytes(file, 100, "spec"), read_text):
        with pytest.raises(MnasError, match=r"spec\.yaml: not a file but a device or a pipe; check the path"):
            read(tmp_path / "spec.yaml")


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A training that can be resumed, with a file of its reader's beside it."""
    pytest.importorskip("lightning_fabric", reason="lightning-fabric is not installed; pip install 'mnas[train]'")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    write_folders(tmp_path / "images")
    assert main([*TRAIN, "--epochs", "1", "--batch", "8", "--out", "whole"]) == 0
    (tmp_path / "whole" / "weights.safetensors").unlink()
    (tmp_path / "victim").write_text("precious")
    return tmp_path / "whole"


def test_links_in_a_received_training(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    received, victim, elsewhere = Path("received"), Path("victim").absolute(), Path("elsewhere").absolute()
    elsewhere.mkdir()
    for name in ("history.new", "checkpoint.new", "training.json.new", "history.csv.new", "checkpoint.pt.new"):
        shutil.rmtree(received, ignore_errors=True)
        shutil.copytree(trained, received)
        (received / name).symlink_to(victim)
        assert main(["train", "--resume", "received", "--learning-rate", "0.01"]) == 0, name
        assert victim.read_text() == "precious", name
    for name in ("history.csv", "weights.safetensors", "checkpoint.pt"):
        shutil.rmtree(received)
        shutil.copytree(trained, received)
        (received / name).unlink(missing_ok=True)
        (received / name).symlink_to(victim)
        main(["train", "--resume", "received"])  # refused where the link had to be read
        assert victim.read_text() == "precious", name
    shutil.rmtree(received)
    shutil.copytree(trained, received)
    shutil.rmtree(received / "tensorboard")
    (received / "tensorboard").symlink_to(elsewhere)
    capsys.readouterr()
    assert main(["train", "--resume", "received"]) == 0
    assert "TensorBoard files cannot be written" in capsys.readouterr().err
    assert list(elsewhere.iterdir()) == []


@pytest.mark.parametrize("make", [pipe, device, folder])
@pytest.mark.parametrize("name", ["training.json", "spec.yaml", "weights.safetensors"])
def test_what_is_not_a_file_in_a_received_training(
    name: str, make: Callable[[Path], None], trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (trained / name).unlink(missing_ok=True)
    make(trained / name)
    capsys.readouterr()
    assert main(["evaluate", "whole"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("end", ["", "-wal", "-shm", "-journal"])
def test_links_in_a_received_run(
    end: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([*SEARCH, "3", "--out", "run"]) == 0
    file = Path(f"run/journal.sqlite{end}")
    victim = file.rename("victim") if file.exists() else Path("victim")
    victim.touch()
    content = victim.read_bytes()
    file.symlink_to(victim.absolute())
    capsys.readouterr()
    assert main(["search", "--resume", "run", "--trials", "6"]) == 2
    message = capsys.readouterr().err
    assert "is a link, which may point anywhere" in message
    assert message.count("\n") == 1
    assert victim.read_bytes() == content
