"""Folders of images as people have them: parts, classes, and what is left aside."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from baselines.training.data.folders import part_of, read_folders
from baselines.training.data.sources import load_data
from baselines.views.evaluation import data_lines
from search_spaces import MnasError


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def write(folder: Path, count: int = 12, seed: int = 0, suffix: str = ".png") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        rng = np.random.default_rng((seed, number, *folder.name.encode()))
        pixels = rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{seed}-{number}{suffix}")
    return folder


@pytest.mark.parametrize(
    ("name", "part"),
    [
        *((name, "train") for name in ("train", "Train", "TRAINING", "training_set", "seg_train", "train-images")),
        *((name, "train") for name in ("trainset", "train set", "Train_Data", "imgs.train", "TrainImages")),
        *((name, "val") for name in ("val", "valid", "Validation", "dev", "validation_set", "seg_val", "devset")),
        *((name, "test") for name in ("test", "Testing", "test_set", "seg_test", "TEST", "testset")),
        *((name, None) for name in ("trains", "cat", "train_station", "test tube", "protest", "devil", "value", "")),
        *((name, None) for name in ("train_test", "seg_pred", "images", "valley")),
    ],
)
def test_names_of_parts(name: str, part: str | None) -> None:
    assert part_of(name) == part


@pytest.mark.parametrize(
    ("names", "parts"),
    [
        (("Training", "Testing"), ("train", "test")),
        (("Train", "Test"), ("train", "test")),
        (("training_set", "test_set"), ("train", "test")),
        (("seg_train", "seg_test"), ("train", "test")),
        (("training", "validation"), ("train", "val")),
        (("train", "valid"), ("train", "val")),
        (("TRAIN", "DEV", "TEST"), ("train", "val", "test")),
    ],
)
def test_parts_under_other_names(tmp_path: Path, names: tuple[str, ...], parts: tuple[str, ...]) -> None:
    for seed, name in enumerate(names):
        for label in ("cat", "dog"):
            write(tmp_path / "set" / name / label, 12 - seed, seed)
    found = load_data(str(tmp_path / "set"))
    assert found.classes == ("cat", "dog")
    sizes = {part: 2 * (12 - seed) for seed, part in enumerate(parts)}
    if "val" not in sizes:
        sizes |= {"train": sizes["train"] - 2, "val": 2}
    assert {part: len(getattr(found, part)) for part in ("train", "val", "test")} == {"val": 0, "test": 0} | sizes


@pytest.mark.parametrize("name", ["train", "val", "Test", "valid"])
def test_a_class_may_have_the_name_of_a_part(tmp_path: Path, name: str) -> None:
    for label in (name, "plane", "boat"):
        write(tmp_path / label)
    assert read_folders(tmp_path).classes == tuple(sorted((name, "plane", "boat")))
    for part in ("train", "test"):
        for label in (name, "plane"):
            write(tmp_path / "parts" / part / label)
    assert read_folders(tmp_path / "parts").classes == tuple(sorted((name, "plane")))


def test_a_folder_around_the_parts_is_entered(tmp_path: Path) -> None:
    for part in ("Train", "Test"):
        for label in ("cat", "dog"):
            write(tmp_path / "archive" / "dataset" / part / label)
    (tmp_path / "archive" / "__MACOSX").mkdir()
    assert set(read_folders(tmp_path / "archive").roots) == {"train", "test"}


@pytest.mark.parametrize("names", [("foo", "bar"), ("fold1", "fold2", "fold3"), ("2019", "2020")])
def test_what_holds_the_same_folders_is_no_class(tmp_path: Path, names: tuple[str, ...]) -> None:
    for name in names:
        for label in ("cat", "dog"):
            write(tmp_path / name / label)
    with pytest.raises(
        MnasError, match=r"hold the same folders \(cat, dog\), so these look like the classes; name the"
    ):
        read_folders(tmp_path)


def test_folders_inside_classes_may_have_one_name(tmp_path: Path) -> None:
    for label in ("cat", "dog"):
        write(tmp_path / label / "images")
    assert {part: len(files) for part, files in read_folders(tmp_path).files.items()} == {"split": 24}


def test_two_folders_of_one_part_are_refused(tmp_path: Path) -> None:
    for name in ("Train", "training_set", "test"):
        write(tmp_path / name / "cat")
        write(tmp_path / name / "dog")
    with pytest.raises(MnasError, match="has Train and training_set, which are one part by their names; keep one"):
        read_folders(tmp_path)


def test_a_part_beside_classes_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "train" / "steam")
    write(tmp_path / "train" / "electric")
    write(tmp_path / "plane")
    with pytest.raises(MnasError, match="the folder train, which looks like a part, beside plane, which look"):
        read_folders(tmp_path)


def test_folders_beside_parts_are_left_aside_with_a_word(tmp_path: Path) -> None:
    for seed, name in enumerate(("seg_train", "seg_test")):
        write(tmp_path / name / "cat", seed=seed)
        write(tmp_path / name / "dog", seed=seed)
    write(tmp_path / "seg_pred", 7)
    found = load_data(str(tmp_path))
    assert found.aside == ("7 files in seg_pred, which is no part",)
    assert data_lines(found) == [
        "Images: 22 to train (11 a class), 2 for validation, 24 to test; 2 classes: cat, dog.",
        "Left aside: 7 files in seg_pred, which is no part.",
    ]


@pytest.mark.parametrize("name", [".ipynb_checkpoints", "@eaDir", "__MACOSX", ".thumbnails", "$RECYCLE.BIN"])
def test_copies_that_programs_make_are_left_aside(tmp_path: Path, name: str) -> None:
    for label in ("a", "b"):
        write(tmp_path / "set" / label)
        shutil.copytree(tmp_path / "set" / label, tmp_path / "set" / label / name)
    shutil.copytree(tmp_path / "set" / "a", tmp_path / "set" / name / "a")
    found = load_data(str(tmp_path / "set"))
    assert len(found.train) + len(found.val) + len(found.test) == 24
    assert found.aside == (f"{2 * 12 + 24} files in {name}",)


def test_links_to_folders_are_followed_and_end(tmp_path: Path) -> None:
    write(tmp_path / "store", 30, seed=1)
    for label in ("a", "b"):
        write(tmp_path / "set" / label)
    (tmp_path / "set" / "a" / "more").symlink_to(tmp_path / "store")
    (tmp_path / "set" / "b" / "up").symlink_to(tmp_path / "set" / "b")
    (tmp_path / "set" / "b" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "set" / "c").symlink_to(tmp_path / "store")
    found = read_folders(tmp_path / "set")
    assert [sum(label == which for _, label in found.files["split"]) for which in range(3)] == [42, 12, 30]
    assert found.aside == ("1 file linked to nothing",)


@pytest.mark.parametrize("suffix", [".jfif", ".jpe", ".webp", ".avif", ".jp2", ".JPG", ".bmp", ".pbm"])
def test_every_usual_kind_is_read(tmp_path: Path, suffix: str) -> None:
    for label in ("a", "b"):
        folder = write(tmp_path / "set" / label)
        kind = {".jfif": "JPEG", ".jpe": "JPEG", ".jp2": "JPEG2000", ".pbm": "PPM"}.get(suffix)
        Image.fromarray(np.zeros((8, 8, 3), dtype=np.uint8)).save(folder / f"other{suffix}", format=kind)
    found = load_data(str(tmp_path / "set"))
    assert len(found.train) + len(found.val) + len(found.test) == 26
    assert (found.skipped, found.aside) == ((), ())


def test_what_is_no_image_is_counted_by_kind(tmp_path: Path) -> None:
    for label in ("a", "b"):
        folder = write(tmp_path / label)
        (folder / "notes.txt").write_text("")
        (folder / "photo.HEIC").write_bytes(b"")
        (folder / "LICENSE").write_text("")
    (tmp_path / "a" / ".hidden.png").write_bytes(b"")
    write(tmp_path, 3, seed=2)
    found = read_folders(tmp_path)
    assert set(found.aside) == {
        "2 files of the kind .txt",
        "2 files of the kind .heic, which is not decoded; convert them to JPEG or PNG",
        "2 files without a suffix",
        "1 file with hidden names",
        f"3 files beside the folders of {tmp_path.name}",
    }


def test_a_folder_without_images_says_what_it_holds(tmp_path: Path) -> None:
    for label in ("a", "b"):
        (tmp_path / label).mkdir()
        for number in range(3):
            (tmp_path / label / f"{number}.heic").write_bytes(b"")
        (tmp_path / label / "x.txt").write_bytes(b"")
    with pytest.raises(MnasError, match=r"has no images \(it holds 8 files: 6 of \.heic, 2 of \.txt\); use a folder"):
        read_folders(tmp_path)


@pytest.mark.parametrize("side", [8, 140])
def test_names_that_are_no_utf8(tmp_path: Path, side: int) -> None:
    for label in (b"a", b"caf\xe9"):
        folder = os.fsencode(tmp_path / "set") + b"/" + label
        os.makedirs(folder)
        for number in range(12):
            with open(folder + b"/\xff%d.png" % number, "wb") as stream:
                Image.fromarray(np.full((side, side, 3), number + label[0], dtype=np.uint8)).save(stream, "PNG")
    found = load_data(str(tmp_path / "set"))
    assert len(found.classes) == 2
    assert len(found.train) + len(found.val) + len(found.test) == 24
    assert load_data(str(tmp_path / "set")).fingerprint == found.fingerprint
    assert data_lines(found)[0].startswith("Images: 20 to train (10 a class)")
