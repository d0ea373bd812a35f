"""Images from every kind of source, and the parts that are held out."""

from __future__ import annotations

import errno
import gzip
import io
import os
import shutil
import struct
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from baselines.owner import lock
from baselines.training.batches import batches_of
from baselines.training.data import decoding
from baselines.training.data.decoding import decode
from baselines.training.data.images import SIZES, cache_folder
from baselines.training.data.sources import ImageData, load_data, load_for_evaluation, stratified
from search_spaces import MnasError
from tests.baselines.training.images import COLOURS, pixels, write_folders
from tests.processes import environment


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def contents(part: object) -> list[bytes]:
    return [np.asarray(part.images[index]).tobytes() for index in range(len(part))]  # type: ignore[attr-defined,arg-type]


def test_one_folder_is_split_by_class_into_disjoint_parts(tmp_path: Path) -> None:
    data = load_data(str(write_folders(tmp_path / "images", count=30)))
    assert data.classes == tuple(COLOURS)
    for part, each in ((data.train, 24), (data.val, 3), (data.test, 3)):
        assert np.bincount(part.labels).tolist() == [each] * 3
    seen = [set(contents(part)) for part in (data.train, data.val, data.test)]
    assert sum(map(len, seen)) == len(set.union(*seen)) == 90
    assert data.side == 16
    assert data.train.side == 16


def test_the_seed_decides_what_is_held_out(tmp_path: Path) -> None:
    root = str(write_folders(tmp_path / "images", count=30))
    first, again, other = (load_data(root, seed) for seed in (0, 0, 1))
    assert contents(first.val) == contents(again.val) != contents(other.val)
    assert contents(first.test) == contents(
        other.test
    )  # so that trainings with several seeds are evaluated on the same images
    assert first.fingerprint == again.fingerprint == other.fingerprint


def test_existing_parts_are_kept(tmp_path: Path) -> None:
    for seed, part in enumerate(("train", "val", "test")):
        write_folders(tmp_path / "images" / part, count=10 - seed, seed=seed)
    data = load_data(str(tmp_path / "images"))
    assert [len(part) for part in (data.train, data.val, data.test)] == [30, 27, 24]


def test_a_missing_val_part_is_held_out_of_train_and_not_of_test(tmp_path: Path) -> None:
    write_folders(tmp_path / "images" / "train", count=20)
    write_folders(tmp_path / "images" / "test", count=5, seed=1)
    data = load_data(str(tmp_path / "images"))
    assert [len(part) for part in (data.train, data.val, data.test)] == [54, 6, 15]


def test_different_images_have_different_fingerprints(tmp_path: Path) -> None:
    first = load_data(str(write_folders(tmp_path / "a")))
    other = load_data(str(write_folders(tmp_path / "b", seed=1)))
    copy = load_data(str(write_folders(tmp_path / "c")))
    assert first.fingerprint == copy.fingerprint != other.fingerprint


def large_folders(root: Path, count: int = 6) -> Path:
    """Images that are too large to be packed."""
    return write_folders(root, count, side=140)


def changed_pixels(file: Path) -> None:
    """Change an image and neither its name, nor its size, nor its time."""
    state = file.stat()
    Image.fromarray(np.zeros((140, 140, 3), dtype=np.uint8)).save(file)
    spare = state.st_size - file.stat().st_size
    file.write_bytes(file.read_bytes() + bytes(max(0, spare)))
    os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert file.stat().st_size == state.st_size


def test_images_in_files_are_known_by_their_content(tmp_path: Path) -> None:
    first = load_data(str(large_folders(tmp_path / "a")))
    assert load_data(str(large_folders(tmp_path / "copy"))).fingerprint == first.fingerprint
    large_folders(tmp_path / "b")
    changed_pixels(tmp_path / "b" / "red" / "003.png")
    other = load_data(str(tmp_path / "b"))
    assert other.fingerprint != first.fingerprint
    assert not other.has(first.fingerprint)
    assert other.has(first.former)  # by which earlier versions knew them: names and sizes


def test_a_part_that_shares_images_with_train_says_so(tmp_path: Path) -> None:
    for side in (16, 140):
        root = tmp_path / str(side)
        for part, seed in (("train", 0), ("test", 1)):
            write_folders(root / part, count=8, side=side, seed=seed)
        for number in (1, 2):
            shutil.copy(root / "train" / "red" / f"00{number}.png", root / "test" / "red" / f"x{number}.png")
        data = load_data(str(root))
        which = "one of red" if side == 16 else f"{root}/test/red/x1.png"
        assert data.repeated == (f"2 of 26 images of test are also in train, such as {which}",)
    assert load_data(str(write_folders(tmp_path / "other"))).repeated == ()


def test_images_of_several_sizes_are_read_from_their_files(tmp_path: Path) -> None:
    root = write_folders(tmp_path / "images")
    Image.fromarray(pixels("red", 1, 40)[0]).save(root / "red" / "large.png")
    data = load_data(str(root))
    assert data.side is None
    assert data.train.side is None
    sides = {data.train.images[index].shape for index in range(len(data.train))}
    assert sides <= {(16, 16, 3), (40, 40, 3)}
    assert data.sides == (16, 16, 40)
    assert load_data(str(write_folders(tmp_path / "equal"))).sides == (16, 16, 16)


def test_files_that_cannot_be_read_are_named_and_left_out(tmp_path: Path) -> None:
    root = write_folders(tmp_path / "images")
    (root / "red" / "000.png").write_bytes(b"no image")
    (root / "blue" / "001.png").write_bytes((root / "blue" / "002.png").read_bytes()[:60])
    for _ in range(2):  # packed, then read from the cache
        data = load_data(str(root))
        assert sorted(Path(name).name for name in data.skipped) == ["000.png", "001.png"]
        assert len(data.train) + len(data.val) + len(data.test) == 58


def test_names_of_files_that_cannot_be_read_are_their_paths(tmp_path: Path) -> None:
    root = write_folders(tmp_path / "images")
    (root / "red" / "000.png").write_bytes(b"no image")
    assert [Path(name) for name in load_data(str(root)).skipped] == [root / "red" / "000.png"]


def test_only_images_are_decoded(tmp_path: Path) -> None:
    """A file is what its content says: Pillow's decoder of PostScript would start a program."""
    root = write_folders(tmp_path / "images")
    Image.fromarray(pixels("red", 1, 16)[0]).save(root / "red" / "000.png", format="EPS")
    (root / "red" / "001.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 16 16\n%%EOF\n")
    Image.fromarray(pixels("red", 1, 16)[0]).save(root / "red" / "002.png", format="TGA")
    Image.fromarray(pixels("red", 1, 16)[0]).save(root / "red" / "003.png", format="JPEG")
    data = load_data(str(root))
    assert sorted(Path(name).name for name in data.skipped) == ["000.png", "001.png", "002.png"]


def test_a_small_file_with_many_pixels_is_not_decoded(tmp_path: Path) -> None:
    root = write_folders(tmp_path / "images")
    Image.new("1", (12_000, 12_000)).save(root / "red" / "000.png")
    assert (root / "red" / "000.png").stat().st_size < 100_000
    data = load_data(str(root))
    assert [Path(name).name for name in data.skipped] == ["000.png"]
    with pytest.raises(OSError, match=r"000\.png cannot be read \(144 megapixels; at most 67 are decoded\)"):
        decode(root / "red" / "000.png")


def test_a_large_jpeg_is_decoded_at_a_fraction_of_its_sides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gradient = np.broadcast_to(np.arange(256, dtype=np.uint8)[:, None, None], (256, 128, 3))
    Image.fromarray(np.ascontiguousarray(gradient)).save(tmp_path / "photo.jpg", quality=95)
    whole = decode(tmp_path / "photo.jpg")
    monkeypatch.setattr(decoding, "MAX_PIXELS", 64 * 128)
    small = decode(tmp_path / "photo.jpg")
    assert (whole.shape, small.shape) == ((256, 128, 3), (128, 64, 3))
    assert np.abs(small[:, 0, 0] - whole[::2, 0, 0].astype(int)).max() <= 3


@pytest.mark.parametrize(("side", "kind"), [(16, "png"), (200, "jpg"), (200, "png")])
def test_truncated_images_are_found_before_training(tmp_path: Path, side: int, kind: str) -> None:
    root = tmp_path / "images"
    for label in COLOURS:
        (root / label).mkdir(parents=True)
        for number, image in enumerate(pixels(label, 10, side)):
            Image.fromarray(image).save(root / label / f"{number}.{kind}")
    cut = root / "red" / f"3.{kind}"
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    for _ in range(2):
        data = load_data(str(root))
        assert data.skipped == (str(cut),)
        assert all(len(contents(part)) == len(part) for part in (data.train, data.val, data.test))


def test_adding_a_class_shifts_the_labels_of_all_parts(tmp_path: Path) -> None:
    """The images of val are read from the cache; their classes have other numbers now."""
    for part in ("train", "val"):
        write_folders(tmp_path / part, count=5)
    assert np.bincount(load_data(str(tmp_path)).val.labels).tolist() == [5, 5, 5]
    (tmp_path / "train" / "aqua").mkdir()
    for number, image in enumerate(pixels("blue", 5, 16)):
        Image.fromarray(image).save(tmp_path / "train" / "aqua" / f"{number}.png")
    data = load_data(str(tmp_path))
    assert data.classes[0] == "aqua"
    assert np.bincount(data.val.labels).tolist() == [0, 5, 5, 5]


def test_a_single_image_of_another_size_is_used(tmp_path: Path) -> None:
    root = write_folders(tmp_path / "images", count=100, side=4)
    Image.fromarray(pixels("red", 1, 6)[0]).save(root / "red" / "000.png")
    data = load_data(str(root))
    assert (data.side, data.skipped) == (None, ())
    assert len(data.train) + len(data.val) + len(data.test) == 300


def test_sixteen_bits_of_grey_become_eight(tmp_path: Path) -> None:
    ramp = (np.arange(256, dtype=np.uint16) * 257).reshape(16, 16)
    Image.fromarray(ramp).save(tmp_path / "ramp.png")
    assert (decode(tmp_path / "ramp.png") == np.arange(256).reshape(16, 16, 1)).all()


RAMP = np.linspace(0, 1, 256).reshape(16, 16)
GREY = np.arange(256).reshape(16, 16, 1)


@pytest.mark.parametrize(
    ("name", "pixels"),
    [
        ("u16.png", (RAMP * 65535).astype(np.uint16)),
        ("u16.tif", (RAMP * 65535).astype(np.uint16)),
        ("u12in16.png", (RAMP * 4095).astype(np.uint16)),
        ("u12in16.tif", (RAMP * 4095).astype(np.uint16)),
        ("u8in32.tif", (RAMP * 255).astype(np.int32)),
        ("u16in32.tif", (RAMP * 65535).astype(np.int32)),
        ("u31.tif", (RAMP * (2**31 - 1)).astype(np.int32)),
        ("unit.tif", RAMP.astype(np.float32)),
        ("float255.tif", (RAMP * 255).astype(np.float32)),
        ("float4095.tif", (RAMP * 4095).astype(np.float32)),
    ],
)
def test_deep_pixels_keep_their_brightness(tmp_path: Path, name: str, pixels: Any) -> None:
    Image.fromarray(pixels).save(tmp_path / name)
    white = 127 if name == "u31.tif" else 255  # half of what 32 bits hold
    assert np.abs(decode(tmp_path / name).astype(float) - GREY * white / 255).max() <= 1


@pytest.mark.parametrize("most", [65535, 4095, 1000])
def test_deep_pixels_of_netpbm_say_what_is_white(tmp_path: Path, most: int) -> None:
    values = np.rint(RAMP * most).astype(">u2")
    (tmp_path / "deep.pgm").write_bytes(b"P5 16 16 %d\n" % most + values.tobytes())
    assert np.abs(decode(tmp_path / "deep.pgm").astype(float) - GREY).max() <= 1
    (tmp_path / "dark.pgm").write_bytes(b"P5 16 16 65535\n" + np.rint(RAMP * 200).astype(">u2").tobytes())
    assert decode(tmp_path / "dark.pgm").max() <= 1


@pytest.mark.parametrize("values", [[-1.0, 1.0], [0.0, 1e6], [np.nan, 1.0], [0.0, np.inf]])
def test_values_that_are_no_pixels_are_named(tmp_path: Path, values: list[float]) -> None:
    Image.fromarray(np.array([values], dtype=np.float32)).save(tmp_path / "odd.tif")
    with pytest.raises(OSError, match=r"odd\.tif cannot be read \(its values are from .*, and what is white"):
        decode(tmp_path / "odd.tif")


def test_packed_images_stay_in_their_file(tmp_path: Path) -> None:
    """Held-out parts are rows of the memory-mapped array, not copies."""
    data = load_data(str(write_folders(tmp_path / "images")))
    arrays = {id(part.source[0]) for part in (data.train, data.val, data.test)}
    assert len(arrays) == 1
    assert isinstance(data.train.source[0], np.memmap)


def test_images_to_evaluate(tmp_path: Path) -> None:
    """The images of the training are divided as before, wherever they are; others keep their parts, or all are test."""
    trained = load_data(str(write_folders(tmp_path / "images", count=20)), seed=3)

    def judged(source: Path, part: str = "test") -> ImageData:
        return load_for_evaluation(str(source), trained.classes, trained.fingerprint, 3, part)

    copy = judged(write_folders(tmp_path / "copy", count=20))
    assert [contents(part) for part in (copy.val, copy.test)] == [
        contents(part) for part in (trained.val, trained.test)
    ]
    whole = judged(write_folders(tmp_path / "whole", count=4, seed=1))
    assert np.bincount(whole.test.labels).tolist() == [4, 4, 4]
    assert (len(whole.train), len(whole.val)) == (0, 0)
    parts = tmp_path / "parts"
    write_folders(parts / "test", count=3)
    (parts / "test" / "blue").rename(tmp_path / "blue")  # a class may be missing
    assert judged(parts).test.labels.tolist() == [1, 1, 1, 2, 2, 2]
    (tmp_path / "blue").rename(parts / "test" / "violet")
    with pytest.raises(MnasError, match=r"class 'violet' of .* is not a class of the training"):
        judged(parts)
    with pytest.raises(MnasError, match=r"has no val images \(only test\)"):
        judged(parts, "val")


def test_a_transient_fault_is_not_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A temporary error of the disk stops the command and skips no image; a damaged image is skipped."""
    root = write_folders(tmp_path / "images")
    read = Path.read_bytes

    def away(file: Path) -> bytes:
        if file.parent.name == "red":
            raise OSError(errno.EIO, "Input/output error")
        return read(file)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", away)
        with pytest.raises(MnasError, match=r"red.000.png cannot be read now .*; restore it or remove it"):
            load_data(str(root))
    assert load_data(str(root)).skipped == ()


@pytest.mark.parametrize("kind", ["png", "webp"])
@pytest.mark.parametrize("side", [16, 200])
def test_images_with_damaged_exif_data_are_left_out(tmp_path: Path, side: int, kind: str) -> None:
    """An image that is intact except for its EXIF data."""
    root = write_folders(tmp_path / "images", side=side)
    Image.fromarray(pixels("red", 1, side)[0]).save(root / "red" / f"a.{kind}", exif=b"Exif\0\0II*\0\xff\xff")
    data = load_data(str(root))
    for part in (data.train, data.val, data.test):
        assert len(contents(part)) == len(part)


def test_images_are_the_same_without_a_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = str(write_folders(tmp_path / "images"))
    kept = load_data(root)
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    said: list[str] = []
    anew = load_data(root, progress=said.append)
    assert contents(anew.train) == contents(kept.train)
    assert anew.fingerprint == kept.fingerprint
    (line,) = said
    assert "cannot be written (Not a directory), so images are checked every time" in line


def test_a_full_disk_of_the_cache_gives_a_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    with pytest.raises(
        MnasError, match=r"data: .*images cannot be written \(No space left on device\); free some space"
    ):
        load_data(str(write_folders(tmp_path / "images")))
    assert list(cache_folder().iterdir()) == []


@pytest.mark.parametrize("damage", ["no array", "short array", "no sizes"])
def test_a_damaged_cache_is_built_again(tmp_path: Path, damage: str) -> None:
    root = str(write_folders(tmp_path / "images"))
    before = load_data(root)
    images = contents(before.test)
    (place,) = cache_folder().iterdir()
    if damage == "short array":
        (place / "images.npy").write_bytes((place / "images.npy").read_bytes()[:1000])
    else:
        (place / ("images.npy" if damage == "no array" else SIZES)).unlink()
    again = load_data(root)
    assert again.fingerprint == before.fingerprint
    assert contents(again.test) == images
    assert [path.name for path in cache_folder().iterdir()] == [place.name]
    assert len(np.load(place / "images.npy")) == 60  # and kept


def test_what_a_killed_process_left_in_the_cache_is_removed(tmp_path: Path) -> None:
    folders = [cache_folder() / f"making-{name}" for name in ("killed", "owned")]
    for folder in folders:
        folder.mkdir(parents=True)
        (folder / "images.npy").write_bytes(b"half")
    owner = lock(folders[1])
    assert owner is not None
    load_data(str(write_folders(tmp_path / "images")))
    os.close(owner)
    assert [folder.exists() for folder in folders] == [False, True]


def test_readers_do_not_see_an_interrupt(tmp_path: Path) -> None:
    """Not even the first readers of a process, with which multiprocessing starts a helper that unblocks signals."""
    root = write_folders(tmp_path / "images", side=140)
    code = """if __name__ == "__main__":
        import multiprocessing, signal, sys
        import numpy as np, torch
        from pathlib import Path
        from baselines.training.batches import batches_of
        from baselines.training.data.sources import load_data
        part = load_data(sys.argv[1]).train
        read = batches_of(part, 32, torch.device("cpu"), None).read([np.arange(4)], 0)
        next(read)
        for child in multiprocessing.active_children():
            status = Path(f"/proc/{child.pid}/status").read_text()
            blocked = int(status.split("SigBlk:")[1].split()[0], 16)
            print(bool(blocked & 1 << signal.SIGINT - 1))"""
    script = tmp_path / "read.py"
    script.write_text(code)
    found = subprocess.run(
        [sys.executable, script, root], env=environment(), capture_output=True, text=True, check=True
    )
    assert set(found.stdout.split()) == {"True"}


def test_errors_name_an_image_that_disappeared(tmp_path: Path) -> None:
    part = load_data(str(write_folders(tmp_path / "images", side=140))).train
    images, rows = part.source
    Path(gone := images.name(int(rows[5]))).unlink()
    read = batches_of(part, 32, torch.device("cpu"), None).read([np.arange(len(part))], 0)
    with pytest.raises(MnasError, match=f"data: {gone} cannot be read .*, but could be read before") as caught:
        next(read)
    assert "\n" not in str(caught.value)


def idx(values: np.ndarray) -> bytes:
    return bytes((0, 0, 8, values.ndim)) + struct.pack(f">{values.ndim}I", *values.shape) + values.tobytes()


@pytest.mark.parametrize("packed", [True, False])
def test_idx_files(tmp_path: Path, *, packed: bool) -> None:
    rng = np.random.default_rng(0)
    for prefix, count in (("train", 50), ("t10k", 20)):
        images = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = np.arange(count, dtype=np.uint8) % 10
        for name, values in ((f"{prefix}-images-idx3-ubyte", images), (f"{prefix}-labels-idx1-ubyte", labels)):
            content = idx(values)
            (tmp_path / (f"{name}.gz" if packed else name)).write_bytes(gzip.compress(content) if packed else content)
    data = load_data(str(tmp_path))
    assert (len(data.train), len(data.val), len(data.test), data.side) == (40, 10, 20, 28)
    assert (data.test.images[3] == images[3][..., None]).all()
    assert data.test.labels.tolist() == labels.tolist()


def write_fashion(folder: Path) -> None:
    """Fifty training images and twenty test images in the files of MNIST."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True)
    for prefix, count in (("train", 50), ("t10k", 20)):
        (folder / f"{prefix}-images-idx3-ubyte").write_bytes(idx(rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)))
        (folder / f"{prefix}-labels-idx1-ubyte").write_bytes(idx(np.arange(count, dtype=np.uint8) % 10))


@pytest.mark.parametrize(
    ("names", "labels", "classes"),
    [
        ("{part}-images-idx3-ubyte {part}-labels-idx1-ubyte", range(10), 10),
        ("{part}-images.idx3-ubyte {part}-labels.idx1-ubyte", range(10), 10),
        (
            "{part}-images-idx3-ubyte/{part}-images-idx3-ubyte {part}-labels-idx1-ubyte/{part}-labels-idx1-ubyte",
            [0, 1],
            2,
        ),
        ("emnist-letters-{part}-images-idx3-ubyte emnist-letters-{part}-labels-idx1-ubyte", range(1, 27), 26),
        ("{part}-images-idx3-ubyte {part}-labels-idx1-ubyte", (0, 3, 7), 3),
    ],
)
@pytest.mark.parametrize("test", ["t10k", "test"])
def test_idx_files_as_they_are_passed_around(tmp_path: Path, names: str, labels: Any, classes: int, test: str) -> None:
    rng = np.random.default_rng(0)
    for part in ("train", test):
        values = np.resize(np.array(list(labels), dtype=np.uint8), 10 * classes)
        contents = (rng.integers(0, 255, (len(values), 4, 4), dtype=np.uint8), values)
        for name, content in zip(names.format(part=part).split(), contents, strict=True):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_bytes(idx(content))
    data = load_data(str(tmp_path))
    assert data.classes == tuple(str(label) for label in labels)
    assert (len(data.train), len(data.val), len(data.test)) == (9 * classes, classes, 10 * classes)
    assert set(data.test.labels.tolist()) == set(range(classes))


def test_several_idx_sets_in_a_folder_are_refused(tmp_path: Path) -> None:
    for name in ("emnist-letters", "emnist-digits"):
        (tmp_path / f"{name}-train-images-idx3-ubyte").write_bytes(idx(np.zeros((5, 4, 4), dtype=np.uint8)))
    with pytest.raises(MnasError, match=r"holds several sets \(emnist-digits, emnist-letters\); put the files of one"):
        load_data(str(tmp_path))


@pytest.mark.usefixtures("torchvision")
def test_a_torchvision_data_set_equals_its_files(tmp_path: Path) -> None:
    files = cache_folder() / "torchvision" / "FashionMNIST" / "raw"
    write_fashion(files)
    ours, theirs = load_data(str(files)), load_data("torchvision:FashionMNIST")
    for part in ("train", "val", "test"):
        assert contents(getattr(ours, part)) == contents(getattr(theirs, part))
        assert (getattr(ours, part).labels == getattr(theirs, part).labels).all()
    assert theirs.classes[0] == "T-shirt/top"
    with pytest.raises(MnasError, match="unknown data set of torchvision 'mnist'; did you mean 'MNIST'"):
        load_data("torchvision:mnist")


@pytest.mark.parametrize("side", [16, 200])
def test_a_hugging_face_data_set(tmp_path: Path, side: int) -> None:
    """A folder of a data set; small images are packed, large ones are decoded on access."""
    datasets = pytest.importorskip("datasets", reason="datasets is not installed; pip install 'mnas[hf]'")
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (30, side, side, 3), dtype=np.uint8)
    labels = [0, 1, 2] * 10
    kinds = datasets.Features({"picture": datasets.Image(), "kind": datasets.ClassLabel(names=["a", "b", "c"])})
    for part, rows in (("train", slice(0, 24)), ("test", slice(24, 30))):
        values = {"picture": [Image.fromarray(image) for image in images[rows]], "kind": labels[rows]}
        (tmp_path / "set").mkdir(exist_ok=True)
        datasets.Dataset.from_dict(values, features=kinds).to_parquet(tmp_path / "set" / f"{part}.parquet")
    data = load_data(f"hf:{tmp_path / 'set'}")
    assert data.classes == ("a", "b", "c")
    assert (len(data.train), len(data.val), len(data.test)) == (21, 3, 6)
    assert data.train.side == (16 if side == 16 else None)
    assert (np.array([data.test.images[index] for index in range(6)]) == images[24:]).all()
    assert data.test.labels.tolist() == labels[24:]
    shutil.copytree(tmp_path / "set", tmp_path / "copy")
    assert load_data(f"hf:{tmp_path / 'copy'}").fingerprint == data.fingerprint
    images = images[::-1].copy()
    images[:, : side // 2] = 0
    for part, rows in (("train", slice(0, 24)), ("test", slice(24, 30))):
        values = {"picture": [Image.fromarray(image) for image in images[rows]], "kind": labels[rows]}
        datasets.Dataset.from_dict(values, features=kinds).to_parquet(tmp_path / "set" / f"{part}.parquet")
    assert load_data(f"hf:{tmp_path / 'set'}").fingerprint != data.fingerprint


def test_damaged_images_in_a_hugging_face_data_set_are_named_and_left_out(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets", reason="datasets is not installed; pip install 'mnas[hf]'")
    good = io.BytesIO()
    Image.fromarray(pixels("red", 1, 16)[0]).save(good, "PNG")
    rows = [{"bytes": b"no image" if index == 7 else good.getvalue(), "path": None} for index in range(20)]
    kinds = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])})
    table = datasets.Dataset.from_dict({"image": rows, "label": [0, 1] * 10}, features=kinds)
    table.to_parquet(tmp_path / "train.parquet")
    data = load_data(f"hf:{tmp_path}")
    assert len(data.train) + len(data.val) == 19
    (skipped,) = data.skipped
    assert skipped.startswith("image 7 of hf:")


def cifar_rows(count: int, labels_before: int, seed: int) -> bytes:
    rng = np.random.default_rng(seed)
    rows = rng.integers(0, 256, (count, labels_before + 3072), dtype=np.uint8)
    rows[:, 0] = np.arange(count) % 20
    rows[:, labels_before - 1] = np.arange(count) % (10 if labels_before == 1 else 100)
    return rows.tobytes()


@pytest.mark.parametrize("archived", [True, False])
def test_cifar_in_binary_format(tmp_path: Path, *, archived: bool) -> None:
    files = {f"data_batch_{number}.bin": cifar_rows(20, 1, number) for number in range(1, 6)}
    files |= {"test_batch.bin": cifar_rows(10, 1, 0), "batches.meta.txt": b"\n".join(b"c%d" % i for i in range(10))}
    source = tmp_path / "cifar-10-binary.tar.gz"
    if archived:
        with tarfile.open(source, "w:gz") as archive:
            for name, content in files.items():
                member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    else:
        source = tmp_path / "cifar"
        source.mkdir()
        for name, content in files.items():
            (source / name).write_bytes(content)
    data = load_data(str(source))
    assert (len(data.train), len(data.val), len(data.test), data.side) == (90, 10, 10, 32)
    assert data.classes == tuple(f"c{number}" for number in range(10))
    # The first 1024 bytes are red, row by row.
    row = np.frombuffer(files["test_batch.bin"], np.uint8)[1:3073]
    assert (data.test.images[0] == row.reshape(3, 32, 32).transpose(1, 2, 0)).all()


def test_cifar_100_has_the_fine_labels(tmp_path: Path) -> None:
    """The fine label is the second of the two bytes before an image; the first is the coarse label."""
    (tmp_path / "train.bin").write_bytes(cifar_rows(1000, 2, 0))
    (tmp_path / "test.bin").write_bytes(cifar_rows(50, 2, 1))
    data = load_data(str(tmp_path))
    assert data.test.labels.tolist() == list(range(50))
    assert np.bincount(np.concatenate([data.train.labels, data.val.labels])).tolist() == [10] * 100


def no_train(root: Path) -> None:
    write_folders(root / "val")


def one_class(root: Path) -> None:
    write_folders(root)
    for name in ("blue", "green"):
        (root / name).rename(root.parent / name)


def empty_class(root: Path) -> None:
    (write_folders(root) / "violet").mkdir()


def strange_class(root: Path) -> None:
    write_folders(root / "train")
    (write_folders(root / "val") / "red").rename(root / "val" / "violet")


def nothing(root: Path) -> None:
    root.mkdir()


def cut_short(root: Path) -> None:
    root.mkdir()
    (root / "train-images-idx3-ubyte").write_bytes(idx(np.zeros((5, 4, 4), dtype=np.uint8))[:-3])


def no_labels(root: Path) -> None:
    root.mkdir()
    (root / "train-images-idx3-ubyte").write_bytes(idx(np.zeros((5, 4, 4), dtype=np.uint8)))


def two_each(root: Path) -> None:
    write_folders(root, count=2)


def damaged_val(root: Path) -> None:
    write_folders(root / "train")
    write_folders(root / "val", count=1)
    for file in (root / "val").rglob("*.png"):
        file.write_bytes(b"no image")


def flipped_byte(root: Path) -> None:
    root.mkdir()
    content = bytearray(gzip.compress(idx(np.random.default_rng(0).integers(0, 256, (5, 28, 28), dtype=np.uint8))))
    content[15] ^= 0xFF
    (root / "train-images-idx3-ubyte.gz").write_bytes(content)


def no_pixels(root: Path) -> None:
    root.mkdir()
    (root / "train-images-idx3-ubyte").write_bytes(idx(np.zeros((5, 0, 0), dtype=np.uint8)))
    (root / "train-labels-idx1-ubyte").write_bytes(idx(np.arange(5, dtype=np.uint8)))


def huge_sides(root: Path) -> None:
    no_pixels(root)
    (root / "train-images-idx3-ubyte").write_bytes(b"\0\0\x08\x03" + b"\xff" * 12)


def no_images_of_huge_sides(root: Path) -> None:
    no_pixels(root)
    (root / "train-images-idx3-ubyte").write_bytes(b"\0\0\x08\x03" + b"\0" * 4 + b"\xff" * 8)


def much_else(root: Path) -> None:
    root.mkdir()
    for number in range(1, 6):
        (root / f"data_batch_{number}.bin").write_bytes(cifar_rows(20, 1, number))
    for number in range(5):  # without blocks on the disk
        (root / f"junk{number}.bin").touch()
        os.truncate(root / f"junk{number}.bin", 2**30)
    (root / "test_batch.bin").touch()
    os.truncate(root / "test_batch.bin", 2**31)


def half_a_batch(root: Path) -> None:
    root.mkdir()
    for number in range(1, 6):
        (root / f"data_batch_{number}.bin").write_bytes(b"\x00" * 3000)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (no_train, "has val but no train"),
        (one_class, "has only one class, 'red'"),
        (empty_class, "class 'violet' of .* has 0 images"),
        (strange_class, "class 'violet' is in .*val but not in .*train"),
        (nothing, "has no class folders"),
        (cut_short, r"has the shape \(5, 4, 4\) but 77 values"),
        (no_labels, "no file of train labels in IDX form"),
        (two_each, r"class 'blue' of .* has 2 images, expected 3 or more \(train, test, val\)"),
        (damaged_val, "val of .* has no readable images"),
        (flipped_byte, "train-images-idx3-ubyte.gz cannot be read"),
        (no_pixels, "has images of 0 x 0 px, expected sides of 1 to 4096"),
        (huge_sides, "has images of 4294967295 x 4294967295 px"),
        (no_images_of_huge_sides, "has images of 4294967295 x 4294967295 px"),
        (much_else, "test_batch.bin: larger than .* bytes, so it is not a part of CIFAR"),
        (half_a_batch, "has 3000 bytes, not a multiple of 3073"),
    ],
)
def test_data_that_cannot_be_used(tmp_path: Path, make: object, message: str) -> None:
    make(tmp_path / "images")  # type: ignore[operator]
    with pytest.raises(MnasError, match=message):
        load_data(str(tmp_path / "images"))


def test_an_archive_that_unpacks_to_too_much(tmp_path: Path) -> None:
    source = tmp_path / "cifar-10-binary.tar.gz"
    with tarfile.open(source, "w:gz", compresslevel=1) as archive:
        member = tarfile.TarInfo("junk.bin")
        member.size = 2**30 + 1
        archive.fileobj.write(member.tobuf())  # type: ignore[union-attr]
    with pytest.raises(MnasError, match="unpacks to more than 1073741824 bytes; unpack it yourself"):
        load_data(str(source))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("nowhere", "data: nowhere not found"),
        ("hf:cifar10", "datasets is not installed|cannot be loaded"),
        (__file__, "expected a folder, a zip or tar archive"),
    ],
)
def test_unknown_sources(source: str, message: str) -> None:
    with pytest.raises(MnasError, match=message):
        load_data(source)


def test_a_share_of_the_images_has_that_share_of_every_class() -> None:
    labels = np.repeat([0, 1, 2], (600, 300, 100))
    few, many = stratified(labels, 100), stratified(labels, 500)
    assert np.bincount(labels[few]).tolist() == pytest.approx([60, 30, 10], abs=1)
    assert np.bincount(labels[many]).tolist() == pytest.approx([300, 150, 50], abs=1)
    assert set(few) < set(many)
    assert stratified(labels, 5000).tolist() == list(range(1000))


def test_a_record_of_the_data(tmp_path: Path) -> None:
    data: ImageData = load_data(str(write_folders(tmp_path / "images")))
    about = data.about()
    assert (about["train"], about["val"], about["test"], about["classes"]) == (48, 6, 6, 3)
