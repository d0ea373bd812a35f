"""Images are read once, and from then on only to be trained on."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from baselines.training.data.decoding import decode
from baselines.training.data.mirrors import mirrored_classes
from baselines.training.data.sources import load_data
from tests.baselines.training.images import COLOURS, write_folders
from tests.processes import environment

# Prints how often each image file was opened by loading a source.
COUNT = """
import json, sys
from collections import Counter
opened = Counter()
def watch(event, arguments):
    if event == "open" and str(arguments[0]).endswith((".png", ".jpg")) and "r" in str(arguments[1] or "r"):
        opened[str(arguments[0])] += 1
from baselines.training.data.sources import load_data
sys.addaudithook(watch)
data = load_data(sys.argv[1])
print(json.dumps([opened, len(data.train) + len(data.val) + len(data.test), data.side]))
"""


def opens(source: Path, cache: Path) -> tuple[dict[str, int], int, int | None]:
    """How often each file is opened, how many images there are, and their side if they are one array."""
    variables = {**environment(), "XDG_CACHE_HOME": str(cache)}
    command = [sys.executable, "-c", COUNT, str(source)]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=True)
    counts, images, side = json.loads(done.stdout)
    return counts, images, side


def small(root: Path) -> Path:
    return write_folders(root, 30, side=24)


def large(root: Path) -> Path:
    return write_folders(root, 8, side=200)


def a_large_one_among_small(root: Path) -> Path:
    Image.new("RGB", (300, 300)).save(write_folders(root, 30, side=24) / "red" / "zz.png")
    return root


def photographs(root: Path) -> Path:
    for place, (label, colour) in enumerate(COLOURS.items()):
        (root / label).mkdir(parents=True)
        for number in range(8):
            Image.new("RGB", (320, 240 + 8 * place + number), colour).save(root / label / f"{number}.jpg")
    return root


def a_damaged_one(root: Path) -> Path:
    (write_folders(root, 30, side=24) / "red" / "003.png").write_bytes(b"no image")
    return root


def a_table(root: Path) -> Path:
    files = sorted(write_folders(root, 30, side=24).glob("*/*.png"))
    rows = [f"{file.relative_to(root)},{file.parent.name}\n" for file in files]
    (root / "t.csv").write_text("file,label\n" + "".join(rows))
    return root / "t.csv"


@pytest.mark.parametrize("make", [small, large, a_large_one_among_small, photographs, a_damaged_one, a_table])
def test_each_file_is_opened_once(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    source = make(tmp_path / "images")
    files = {str(file) for file in (tmp_path / "images").rglob("*.[jp][pn]g")}
    first, count, side = opens(source, tmp_path / "cache")
    assert first == dict.fromkeys(files, 1)
    assert opens(source, tmp_path / "cache") == ({}, count, side)
    assert side == (24 if make in (small, a_damaged_one, a_table) else None)


def test_what_is_added_or_changed_is_read_again(tmp_path: Path) -> None:
    source = small(tmp_path / "images")
    _, count, _ = opens(source, tmp_path / "cache")
    Image.new("RGB", (24, 24)).save(source / "red" / "new.png")
    found, more, _ = opens(source, tmp_path / "cache")
    assert more == count + 1
    assert set(found.values()) == {1}


def test_a_photograph_is_decoded_small_for_a_look_at_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mean colours of a JPEG that is decoded at a fraction of its sides are those of the whole image."""
    rng = np.random.default_rng(0)
    blocks = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    Image.fromarray(blocks).resize((1600, 1200), Image.Resampling.BICUBIC).save(tmp_path / "photo.jpg")
    whole, part = decode(tmp_path / "photo.jpg"), decode(tmp_path / "photo.jpg", least=64)
    assert whole.shape == (1200, 1600, 3)
    assert part.shape == (150, 200, 3)
    assert np.abs(whole.reshape(150, 8, 200, 8, 3).mean((1, 3)) - part).mean() < 3
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name, turned in (("left", False), ("right", True), ("none", None)):
        (tmp_path / "set" / name).mkdir(parents=True)
        for number in range(20):
            picture = np.full((240, 320, 3), rng.integers(0, 30), dtype=np.uint8)
            if turned is not None:
                picture[:, 160:] = 200
            Image.fromarray(picture[:, ::-1] if turned else picture).save(tmp_path / "set" / name / f"{number}.jpg")
    data = load_data(str(tmp_path / "set"))
    assert mirrored_classes(data.train, 3) == [(0, 2)]
