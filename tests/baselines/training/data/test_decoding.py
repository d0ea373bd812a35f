"""What Pillow warns of while images are read: said once for each kind, however many images there are."""

from __future__ import annotations

import io
import struct
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from baselines.training.batches import FileBatches
from baselines.training.data import decoding
from baselines.training.data.decoding import decode
from baselines.training.data.sources import load_data


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(decoding, "_SAID", set())


def picture(number: int, side: int = 24) -> Image.Image:
    return Image.fromarray(np.random.default_rng(number).integers(0, 256, (side, side, 3), dtype=np.uint8))


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def directory(*entries: tuple[int, int, int, int], more: int = 0) -> bytes:
    """A directory of TIFF with entries (tag, type, count, value), which claims that there are more."""
    packed = b"".join(struct.pack("<HHLL", *entry) for entry in entries)
    end = b"" if more else bytes(4)  # no other directory follows
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries) + more) + packed + end


def multi_picture(number: int) -> bytes:
    """A JPEG whose marker of several pictures is damaged."""
    content = encoded(picture(number), "JPEG")
    marker = b"MPF\0" + directory((0xB000, 4, 1, number))
    return content[:2] + b"\xff\xe2" + struct.pack(">H", len(marker) + 2) + marker + content[2:]


def animated(number: int) -> bytes:
    """A PNG that says it has 0 frames."""
    content = encoded(picture(number), "PNG")
    import zlib

    body = b"acTL" + struct.pack(">II", 0, number)
    return content[:33] + struct.pack(">I", 8) + body + struct.pack(">I", zlib.crc32(body)) + content[33:]


# How to make images of a kind, with other numbers in each, and what is said of the first.
KINDS: dict[str, tuple[str, Callable[[int], bytes], str]] = {
    "EXIF that ends early": (
        "jpg",
        lambda number: encoded(picture(number), "JPEG", exif=b"Exif\0\0" + directory((0x0112, 3, 1, 1), more=1)),
        "Corrupt EXIF data. Expecting to read 12 bytes",
    ),
    "EXIF beyond the file": (
        "jpg",
        lambda number: encoded(
            picture(number), "JPEG", exif=b"Exif\0\0" + directory((0x0100 + number, 2, 900 + number, 4000))
        ),
        "Tag data larger than file. Skipping tag",
    ),
    "palette with transparency": (
        "png",
        lambda number: encoded(picture(number).quantize(32), "PNG", transparency=bytes([number] * 8)),
        "Palette images with Transparency expressed in bytes",
    ),
    "animated PNG": ("png", animated, "Invalid APNG"),
    "several pictures": ("jpg", multi_picture, "malformed MPO"),
}


def written(root: Path, kind: str, count: int = 12) -> Path:
    ending, make, _ = KINDS[kind]
    for name in ("ant", "bee"):
        (root / name).mkdir(parents=True)
        for number in range(count):
            (root / name / f"{number}.{ending}").write_bytes(make(number))
    return root


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_of_warning_is_said_once(tmp_path: Path, kind: str, capfd: pytest.CaptureFixture[str]) -> None:
    """With an image's name, although the numbers differ and warnings are errors in these tests."""
    data = load_data(str(written(tmp_path / "images", kind)))
    assert len(data.train) + len(data.val) + len(data.test) == 24
    assert data.skipped == ()
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith(f"data: {tmp_path / 'images'}")
    assert KINDS[kind][2] in line
    load_data(str(written(tmp_path / "others", kind)))
    assert capfd.readouterr().err == ""


def test_kinds_are_told_apart(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for place, kind in enumerate(KINDS):
        written(tmp_path / str(place), kind, 3)
        load_data(str(tmp_path / str(place)))
    assert len(capfd.readouterr().err.splitlines()) == len(KINDS)


def test_readers_say_nothing_again(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Each epoch starts them anew."""
    root = written(tmp_path / "images", "EXIF that ends early")
    Image.new("RGB", (300, 200)).save(root / "ant" / "large.jpg")  # so that images are read from their files
    data = load_data(str(root))
    assert len(capfd.readouterr().err.splitlines()) == 1
    for epoch in range(2):
        batches = FileBatches(data.train, 32, torch.device("cpu"), None, 0)
        read = list(batches.read([np.arange(8), np.arange(8, 16)], epoch))
        assert [len(labels) for _, labels in read] == [8, 8]
    assert capfd.readouterr().err == ""


def test_warnings_of_others_are_shown_as_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []
    monkeypatch.setattr(warnings, "showwarning", lambda message, *_, **__: shown.append(str(message)))
    warnings.simplefilter("always", UserWarning)
    for number in range(2):
        (tmp_path / f"{number}.jpg").write_bytes(KINDS["EXIF beyond the file"][1](number))
    decode(tmp_path / "0.jpg")
    warnings.warn("of others", UserWarning, stacklevel=1)
    with Image.open(tmp_path / "1.jpg") as image:
        image.getexif()
    assert shown == ["of others", "Tag data larger than file. Skipping tag 257"]


def test_a_warning_that_is_said_has_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "\x1b[31mname\n.jpg"
    file.write_bytes(KINDS["EXIF that ends early"][1](0))
    decode(file)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.isprintable()
