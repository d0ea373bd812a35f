"""CIFAR's Python archives, and pickles that are none of them."""

from __future__ import annotations

import builtins
import io
import os
import pickle
import struct
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from baselines.training.data.sources import load_data
from search_spaces import MnasError
from tests.baselines.training.data.test_sources import contents

NAMES = [f"c{number}" for number in range(10)]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def batch(count: int, seed: int, key: str = "labels", classes: int = 10) -> dict[str, Any]:
    data = np.random.default_rng(seed).integers(0, 256, (count, 3072), dtype=np.uint8)
    return {"batch_label": "batch", key: [place % classes for place in range(count)], "data": data, "filenames": []}


def cifar_10(root: Path, protocol: int, *, old_keys: bool = False, core: str = "") -> dict[str, dict[str, Any]]:
    root.mkdir(parents=True)
    files = {f"data_batch_{number}": batch(20, number) for number in range(1, 6)} | {"test_batch": batch(10, 0)}
    for name, value in {**files, "batches.meta": {"label_names": NAMES, "num_vis": 3072}}.items():
        stored: Any = {key.encode(): each for key, each in value.items()} if old_keys else value
        raw = pickle.dumps(stored, protocol)
        if core:  # the name of numpy's module in the other major version; of the same length in protocols 0 to 3
            assert protocol < 4
            for found in (b"numpy._core.", b"numpy.core."):
                raw = raw.replace(b"c" + found, b"c" + core.encode())
        (root / name).write_bytes(raw)
    return files


def as_images(data: np.ndarray) -> list[bytes]:
    return [np.ascontiguousarray(row.reshape(3, 32, 32).transpose(1, 2, 0)).tobytes() for row in data]


@pytest.mark.parametrize("core", ["", "numpy.core.", "numpy._core."])
@pytest.mark.parametrize("old_keys", [True, False])
@pytest.mark.parametrize("protocol", [0, 2, 3])
def test_cifar_10(tmp_path: Path, protocol: int, *, old_keys: bool, core: str) -> None:
    files = cifar_10(tmp_path / "cifar-10-batches-py", protocol, old_keys=old_keys, core=core)
    data = load_data(str(tmp_path / "cifar-10-batches-py"))
    assert data.classes == tuple(NAMES)
    assert contents(data.test) == as_images(files["test_batch"]["data"])
    assert data.test.labels.tolist() == list(range(10))
    train = [image for name, value in files.items() if name != "test_batch" for image in as_images(value["data"])]
    assert sorted(contents(data.train) + contents(data.val)) == sorted(train)
    assert load_data(str(tmp_path)).fingerprint == data.fingerprint


@pytest.mark.parametrize("protocol", [4, 5])
def test_the_archive_and_later_protocols(tmp_path: Path, protocol: int) -> None:
    cifar_10(tmp_path / "cifar-10-batches-py", protocol)
    with tarfile.open(tmp_path / "cifar-10-python.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "cifar-10-batches-py", "cifar-10-batches-py")
    data = load_data(str(tmp_path / "cifar-10-python.tar.gz"))
    assert (len(data.train), len(data.val), len(data.test), data.side) == (90, 10, 10, 32)
    assert data.fingerprint == load_data(str(tmp_path / "cifar-10-batches-py")).fingerprint


def test_python_2_wrote_texts_of_bytes(tmp_path: Path) -> None:
    """The opcodes of the files as distributed, written out: Python 3 writes no BINSTRING."""
    files = cifar_10(tmp_path / "c", 2)
    for name, value in files.items():
        raw = value["data"].tobytes()
        labels = b"".join(b"K" + bytes([label]) for label in value["labels"])
        text = b"\x80\x02}q\x01(U\x06labelsq\x02](" + labels + b"eU\x04datacnumpy.core.multiarray\n_reconstruct\n"
        text += b"cnumpy\nndarray\nK\x00\x85U\x01b\x87Rq\x03(K\x01M" + struct.pack("<H", len(value["labels"]))
        text += b"M\x00\x0c\x86cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R"
        text += b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        text += b"\x89T" + struct.pack("<i", len(raw)) + raw + b"tbu."
        (tmp_path / "c" / name).write_bytes(text)
    data = load_data(str(tmp_path / "c"))
    assert contents(data.test) == as_images(files["test_batch"]["data"])


def test_cifar_100_has_the_fine_labels(tmp_path: Path) -> None:
    names = [f"f{number}" for number in range(100)]
    train, test = batch(300, 0, "fine_labels", 100), batch(100, 1, "fine_labels", 100)
    meta = {"fine_label_names": names, "coarse_label_names": ["x"] * 20}
    for name, value in (("train", train), ("test", test), ("meta", meta)):
        coarse = {"coarse_labels": [0] * 300} if name == "train" else {}
        (tmp_path / name).write_bytes(pickle.dumps({**value, **coarse}, 2))
    data = load_data(str(tmp_path))
    assert data.classes == tuple(names)
    assert data.test.labels.tolist() == list(range(100))
    assert contents(data.test) == as_images(test["data"])


class Calls:
    """Pickles as a call."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


def text_of(value: Any) -> bytes:
    return pickle.dumps(value, 2)


def hostile(marker: Path) -> dict[str, bytes]:
    touch = f"touch {marker}"
    nested = b"\x80\x04\x8c\x05numpy\x8c\x0cf2py.os.path\x93."
    return {
        "os.system": text_of(Calls(os.system, touch)),
        "eval": text_of({"data": Calls(builtins.eval, f"open({str(marker)!r}, 'w')")}),
        "exec": text_of([Calls(builtins.exec, f"open({str(marker)!r}, 'w')")]),
        "subprocess": text_of({"labels": Calls(subprocess.call, ["touch", str(marker)])}),
        "getattr": text_of(Calls(getattr, "text", "upper")),
        "numpy.load": text_of(Calls(np.load, "x.npy")),
        "zeros": text_of({"data": Calls(np.ones, 10**10)}),
        "open": text_of(Calls(io.open, str(marker), "w")),
        "nested name": nested,
        "dotted name": b"\x80\x04\x8c\x05numpy\x8c\x10ndarray.__init__\x93.",
        "INST": f"(S'{touch}'\nios\nsystem\n.".encode(),
        "OBJ": f"(cos\nsystem\nS'{touch}'\no.".encode(),
        "persistent": b"Px\n.",
        "extension": b"\x80\x02\x82\x01.",
        "huge bytes": b"\x80\x04\x8e" + struct.pack("<Q", 2**40) + b"abc.",
        "huge text": b"\x80\x02T" + struct.pack("<i", 2**31 - 1) + b"abc.",
        "huge memo": b"\x80\x02]r" + struct.pack("<I", 2**32 - 1) + b".",
        "huge frame": b"\x80\x04\x95" + struct.pack("<Q", 2**50) + b"N.",
        "huge array": text_of({"data": Calls(np.ndarray, (10**12,), np.dtype("u1"))}),
        "huge shape": b"\x80\x02}U\x04datacnumpy\nndarray\n)R(K\x01J\xff\xff\xff\x7fM\x00\x0c\x86"
        b"cnumpy\ndtype\nU\x02u1\x85R\x89U\x01atbs.",
        "set a function": b"\x80\x02cnumpy\nndarray\n}U\x09_functionK\x01sb.",
        "object type": b"\x80\x02}U\x04datacnumpy\ndtype\nU\x02O8\x85Rs.",
        "deep key": b"\x80\x02}N" + b"\x85" * 500_000 + b"Ns.",
        "cut off": text_of(batch(10, 0))[:5000],
        "no pickle": b"hello",
        "empty": b"",
        "no dictionary": text_of([1]),
        "no data": text_of({"labels": [1]}),
        "labels beyond": text_of(batch(10, 0, classes=10) | {"labels": [10] * 10}),
        "labels of text": text_of(batch(10, 0) | {"labels": ["a"] * 10}),
        "fewer labels": text_of(batch(10, 0) | {"labels": [1]}),
        "wrong shape": text_of(batch(10, 0) | {"data": np.zeros((10, 3000), np.uint8)}),
        "floats": text_of(batch(10, 0) | {"data": np.zeros((10, 3072))}),
    }


@pytest.mark.parametrize("kind", hostile(Path("marker")))
@pytest.mark.parametrize("name", ["data_batch_1", "batches.meta"])
def test_what_is_not_of_cifar_is_refused_in_one_line(tmp_path: Path, name: str, kind: str) -> None:
    folder, marker = tmp_path / "c", tmp_path / "marker"
    cifar_10(folder, 2)
    (folder / name).write_bytes(hostile(marker)[kind])
    with pytest.raises(MnasError, match=rf"^data: {folder / name}[: ].*again$") as error:
        load_data(str(folder))
    assert "\n" not in str(error.value)
    assert not marker.exists()


def test_a_huge_claim_takes_no_memory(tmp_path: Path) -> None:
    cifar_10(tmp_path / "c", 2)
    code = (
        "import resource, sys; from pathlib import Path\n"
        "from baselines.training.data.pickled import read_pickled_cifar\n"
        "resource.setrlimit(resource.RLIMIT_AS, (4 * 2**30,) * 2)\n"
        "try: read_pickled_cifar(Path(sys.argv[1]))\n"
        # Not ru_maxrss, which begins with that of the process that starts this one.
        "except ValueError as error: print(Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0])"
    )
    for kind in ("huge bytes", "huge text", "huge memo", "huge frame", "huge array", "huge shape", "deep key"):
        (tmp_path / "c" / "data_batch_1").write_bytes(hostile(tmp_path / "marker")[kind])
        found = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / "c")], capture_output=True, text=True, check=False
        )
        assert found.returncode == 0, (kind, found.stderr)
        assert int(found.stdout) < 2**20, kind  # KiB


@pytest.mark.parametrize("name", ["data_batch_3", "test_batch", "batches.meta"])
def test_a_missing_file(tmp_path: Path, name: str) -> None:
    cifar_10(tmp_path / "c", 2)
    (tmp_path / "c" / name).unlink()
    with pytest.raises(MnasError, match=f"{name} not found; expected CIFAR in Python form"):
        load_data(str(tmp_path / "c"))
