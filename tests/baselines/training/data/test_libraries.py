"""Data sets of libraries, whatever their labels and parts are called."""

from __future__ import annotations

import bz2
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from baselines.training.data.images import cache_folder
from baselines.training.data.sources import load_data, load_for_evaluation
from baselines.views.evaluation import data_lines
from search_spaces import MnasError
from tests.baselines.training.data.test_sources import idx
from tests.baselines.training.images import write_folders


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def datasets() -> Any:
    return pytest.importorskip("datasets", reason="datasets is not installed; pip install 'mnas[hf]'")


def png(seed: int) -> bytes:
    stream = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def pictures(count: int, seed: int = 0) -> list[dict[str, Any]]:
    return [{"bytes": png(1000 * seed + number), "path": None} for number in range(count)]


LABELS: dict[str, tuple[list[Any], str, tuple[str, ...]]] = {
    "texts": (["wolf", "ant", "bee"] * 10, "string", ("ant", "bee", "wolf")),
    "whole numbers": ([10, 9, 2] * 10, "int64", ("2", "9", "10")),
    "few bits": ([1, 0, 1] * 10, "uint8", ("0", "1")),
    "two signs": ([-1, 1, 1] * 10, "int32", ("-1", "1")),
    "truth": ([True, False, False] * 10, "bool", ("False", "True")),
    "numbers as texts": (["10", "9", "2"] * 10, "string", ("2", "9", "10")),
    "unicode": (["é", "漢", "z"] * 10, "string", ("z", "é", "漢")),
    "none of some": (["a", None, "b"] * 10, "string", ("a", "b")),
}


@pytest.mark.parametrize("kind", LABELS)
@pytest.mark.parametrize("column", ["label", "Target", "class_name", "animal"])
def test_labels_of_any_kind(tmp_path: Path, datasets: Any, kind: str, column: str) -> None:
    labels, dtype, classes = LABELS[kind]
    features = datasets.Features({"image": datasets.Image(), column: datasets.Value(dtype)})
    table = datasets.Dataset.from_dict({"image": pictures(30), column: labels}, features=features)
    table.to_parquet(tmp_path / "set" / "train-00000-of-00001.parquet")
    data = load_data(f"hf:{tmp_path / 'set'}")
    assert data.classes == classes
    content = {np.asarray(Image.open(io.BytesIO(png(number)))).tobytes(): str(labels[number]) for number in range(30)}
    for part in (data.train, data.val):
        for row in range(len(part)):
            assert classes[part.labels[row]] == content[np.asarray(part.images[row]).tobytes()]
    missing = labels.count(None)
    assert len(data.train) + len(data.val) == 30 - missing
    assert data.aside == ((f"{missing} images of train without a label",) if missing else ())


def saved(root: Path, datasets: Any, parts: dict[str, list[Any]], names: list[str]) -> Path:
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=names)})
    tables = {
        part: datasets.Dataset.from_dict({"image": pictures(len(labels), seed), "label": labels}, features=features)
        for seed, (part, labels) in enumerate(parts.items())
    }
    datasets.DatasetDict(tables).save_to_disk(root)
    return root


@pytest.mark.parametrize(
    ("parts", "counts", "said"),
    [
        ({"train": 30}, (27, 3, 0), ""),
        ({"train": 30, "dev": 9, "test": 6}, (30, 9, 6), ""),
        ({"Training": 30, "Testing": 6}, (27, 3, 6), ""),
        ({"full": 30}, (24, 3, 3), "the only part, full, is divided"),
        ({"test": 30}, (24, 3, 3), "the only part, test, is divided"),
        ({"train": 30, "extra": 9}, (27, 3, 0), "the part extra, which is not train, val or test"),
        ({"train": 30, "validation": 9, "dev": 6}, (30, 9, 0), "the part dev, which is not train, val or test"),
    ],
)
def test_parts_of_any_name(
    tmp_path: Path, datasets: Any, parts: dict[str, int], counts: tuple[int, ...], said: str
) -> None:
    labels = {part: [0, 1, 2] * (count // 3) for part, count in parts.items()}
    data = load_data(f"hf:{saved(tmp_path / 'set', datasets, labels, list('abc'))}")
    assert (len(data.train), len(data.val), len(data.test)) == counts
    assert said in " ".join(data_lines(data))
    assert bool(data.notes or data.aside) == bool(said)


def test_one_missing_label_does_not_drop_a_part(tmp_path: Path, datasets: Any) -> None:
    labels = {"train": [0, 1] * 10, "validation": [0, 1, -1, 1] * 2, "test": [-1] * 8}
    data = load_data(f"hf:{saved(tmp_path / 'set', datasets, labels, ['a', 'b', 'never'])}")
    assert (len(data.train), len(data.val), len(data.test)) == (20, 6, 0)
    assert data.val.labels.tolist() == [0, 1, 1] * 2
    assert set(data.aside) == {
        "2 images of val without a label",
        "8 images of test without a label",
        "the class never, without images",
    }


OUTSIDE = {
    "one of -1": (-1, 1, "1 image of {} without a label"),
    "several of -1": (-1, 3, "3 images of {} without a label"),
    "none": (None, 2, "2 images of {} without a label"),
    "the number of classes": (3, 1, "1 image of {} with a label outside 0 to 2, such as 3"),
    "far above": (255, 2, "2 images of {} with a label outside 0 to 2, such as 255"),
    "far below": (-7, 1, "1 image of {} with a label outside 0 to 2, such as -7"),
}


@pytest.mark.parametrize("kind", OUTSIDE)
@pytest.mark.parametrize("part", ["train", "validation", "test"])
def test_labels_that_name_no_class_cost_their_own_images_alone(
    tmp_path: Path, datasets: Any, kind: str, part: str
) -> None:
    """The library writes no such label, but other programs do, under its own description of the columns."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    value, count, said = OUTSIDE[kind]
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b", "c"])})
    for seed, name in enumerate(("train", "validation", "test")):
        table = datasets.Dataset.from_dict({"image": pictures(12, seed), "label": [0, 1, 2] * 4}, features=features)
        file = tmp_path / "set" / f"{name}.parquet"
        table.to_parquet(file)
        if name == part:
            plain = pq.read_table(file)
            wrong = pa.array([value] * count + [0, 1, 2] * 3 + [0] * (3 - count), pa.int64())
            pq.write_table(plain.set_column(1, plain.schema.field("label"), wrong), file)
    data = load_data(f"hf:{tmp_path / 'set'}")
    assert data.classes == ("a", "b", "c")
    assert data.aside == (said.format({"validation": "val"}.get(part, part)),)
    counts = {"train": len(data.train), "validation": len(data.val), "test": len(data.test)}
    assert counts == {name: 12 - count * (name == part) for name in counts}


def write_usps(folder: Path, labels: dict[str, list[int]]) -> None:
    """Files of USPS, whose labels count from 1: a 0 is read as -1."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True)
    for name, values in labels.items():
        lines = [
            f"{label} " + " ".join(f"{i}:{v:.3f}" for i, v in enumerate(rng.uniform(-1, 1, 256))) for label in values
        ]
        (folder / name).write_bytes(bz2.compress("\n".join(lines).encode()))


@pytest.mark.usefixtures("torchvision")
@pytest.mark.parametrize("missing", [1, 4])
@pytest.mark.parametrize("part", ["train", "test"])
def test_images_of_torchvision_without_a_label(part: str, missing: int) -> None:
    labels = {"usps.bz2": [1, 2, 3] * 10, "usps.t.bz2": [1, 2, 3] * 5}
    labels[{"train": "usps.bz2", "test": "usps.t.bz2"}[part]] += [0] * missing
    write_usps(root("."), labels)
    data = load_data("torchvision:USPS")
    assert data.classes == ("0", "1", "2")
    assert (len(data.train) + len(data.val), len(data.test)) == (30, 15)
    assert data.aside == (f"{missing} image{'s' * (missing > 1)} of {part} without a label",)


@pytest.mark.usefixtures("torchvision")
@pytest.mark.parametrize("label", [10, 255])
@pytest.mark.parametrize("part", ["train", "test"])
def test_labels_of_torchvision_beyond_its_classes(part: str, label: int) -> None:
    raw = root("FashionMNIST/raw")
    raw.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name, count, prefix in (("train", 40, "train"), ("test", 20, "t10k")):
        labels = np.arange(count) % 10
        labels[0] = label if name == part else labels[0]
        images = rng.integers(0, 255, (count, 28, 28))
        (raw / f"{prefix}-images-idx3-ubyte").write_bytes(idx(images.astype(np.uint8)))
        (raw / f"{prefix}-labels-idx1-ubyte").write_bytes(idx(labels.astype(np.uint8)))
    data = load_data("torchvision:FashionMNIST")
    assert len(data.classes) == 10
    assert "Trouser" in data.classes
    assert len(data.train) + len(data.val) + len(data.test) == 59
    assert data.aside == (f"1 image of {part} with a label outside 0 to 9, such as {label}",)


def test_files_of_other_programs_hold_bytes(tmp_path: Path, datasets: Any) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    labels = [number % 3 for number in range(30)]
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    pq.write_table(
        pa.table({"picture": [one["bytes"] for one in pictures(30)], "y": labels}), tmp_path / "a" / "x.parquet"
    )
    pq.write_table(pa.table({"image": pictures(30), "category": labels}), tmp_path / "b" / "x.parquet")
    one, other = load_data(f"hf:{tmp_path / 'a'}"), load_data(f"hf:{tmp_path / 'b'}")
    assert one.classes == ("0", "1", "2")
    assert one.fingerprint == other.fingerprint


def test_which_of_several_columns_is_taken_is_said(tmp_path: Path, datasets: Any) -> None:
    features = {
        "img": datasets.Image(),
        **{f"{name}_label": datasets.ClassLabel(names=["x", "y"]) for name in ("fine", "coarse")},
    }
    values = {"img": pictures(20), "fine_label": [0, 1] * 10, "coarse_label": [0, 0, 1, 1] * 5}
    datasets.Dataset.from_dict(values, features=datasets.Features(features)).to_parquet(tmp_path / "t" / "x.parquet")
    assert load_data(f"hf:{tmp_path / 't'}").notes == (
        "classes are those of the column fine_label; also in the set: coarse_label",
    )


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"text": ["a", "b"] * 9, "label": [0, 1] * 9}, "has no column of images .only text, label"),
        ({"image": None, "score": [0.5, 1.5] * 9}, "has no column of one class for each image .only image, score"),
        ({"image": None, "label": [[0, 1], [1]] * 9}, "has no column of one class for each image .only image, label"),
        ({"image": None, "width": [8] * 18, "height": [8] * 18}, "has no column of one class for each image"),
        ({"image": None, "label": ["a", "b"] * 9, "class": ["x"] * 9 + ["y"] * 9}, "label and class, which divide"),
        ({"image": None, "caption": [f"text {number}" for number in range(18)]}, "has 1 image, expected 2 or more"),
    ],
)
def test_sets_that_cannot_be_used(tmp_path: Path, datasets: Any, columns: dict[str, Any], message: str) -> None:
    values = {name: pictures(18) if value is None else value for name, value in columns.items()}
    table = datasets.Dataset.from_dict(values)
    if "image" in values:
        table = table.cast_column("image", datasets.Image())
    table.to_parquet(tmp_path / "t" / "train.parquet")
    with pytest.raises(MnasError, match=message) as caught:
        load_data(f"hf:{tmp_path / 't'}")
    assert "\n" not in str(caught.value)


def test_a_set_with_parts_but_none_to_train_on(tmp_path: Path, datasets: Any) -> None:
    root = saved(tmp_path / "set", datasets, {"small": [0, 1] * 9, "large": [0, 1] * 9}, ["a", "b"])
    with pytest.raises(MnasError, match=r"has no part train \(only small, large\)"):
        load_data(f"hf:{root}")


# --- torchvision: sets whose files are in the cache already -----------------------------------------------------------


def root(name: str) -> Path:
    return cache_folder() / "torchvision" / name


@pytest.mark.usefixtures("torchvision")
@pytest.mark.parametrize(("name", "folder"), [("EuroSAT", "eurosat/2750"), ("Country211", "country211/{part}")])
def test_class_folders_of_torchvision(name: str, folder: str, tmp_path: Path) -> None:
    parts = ("train", "valid", "test") if "{part}" in folder else ("",)
    for seed, part in enumerate(parts):
        write_folders(root(folder.format(part=part)), 12, seed=seed)
    data = load_data(f"torchvision:{name}")
    assert data.classes == ("blue", "green", "red")
    expected = (36, 36, 36) if len(parts) > 1 else (30, 3, 3)
    assert (len(data.train), len(data.val), len(data.test)) == expected
    ours = load_data(str(write_folders(tmp_path / "same", 12)))
    if len(parts) == 1:
        assert ours.test.digests.tolist() == data.test.digests.tolist()
    again = load_for_evaluation(f"torchvision:{name}", data.classes, data.fingerprint, 0, "test")
    assert again.test.digests.tolist() == data.test.digests.tolist()


@pytest.mark.usefixtures("torchvision")
def test_emnist_is_several_sets(tmp_path: Path) -> None:
    raw = root("EMNIST/raw")
    raw.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for part, count in (("train", 260), ("test", 52)):
        labels = np.arange(count) % 26 + 1
        for kind, values in (("images-idx3", rng.integers(0, 255, (count, 28, 28))), ("labels-idx1", labels)):
            (raw / f"emnist-letters-{part}-{kind}-ubyte").write_bytes(idx(values.astype(np.uint8)))
            for other in ("byclass", "bymerge", "balanced", "digits", "mnist"):
                (raw / f"emnist-{other}-{part}-{kind}-ubyte").write_bytes(b"")
    data = load_data("torchvision:EMNIST:letters")
    assert data.classes == tuple("abcdefghijklmnopqrstuvwxyz")
    assert "the class N/A, without images" in data.aside
    assert len(data.test) == 52
    for source in ("torchvision:EMNIST", "torchvision:EMNIST:greek"):
        with pytest.raises(MnasError, match=r"expected one of its sets .byclass, .*, as in torchvision:EMNIST:byclass"):
            load_data(source)
    assert data.written
    with pytest.raises(MnasError, match="MNIST is one set; use torchvision:MNIST"):
        load_data("torchvision:MNIST:letters")


@pytest.mark.usefixtures("torchvision")
def test_caltech_has_neither_parts_nor_lists_of_labels_by_the_usual_name() -> None:
    for place, colour in enumerate(("ant", "bee", "cat")):
        folder = root("caltech101/101_ObjectCategories") / colour
        folder.mkdir(parents=True)
        for number in range(1, 13):
            pixels = np.random.default_rng((place, number)).integers(0, 256, (20, 20, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"image_{number:04}.jpg")
        (root("caltech101/Annotations") / colour).mkdir(parents=True)
    (root("caltech101/101_ObjectCategories") / "BACKGROUND_Google").mkdir()
    data = load_data("torchvision:Caltech101")
    assert data.classes == ("ant", "bee", "cat")
    assert (len(data.train), len(data.val), len(data.test)) == (30, 3, 3)


@pytest.mark.usefixtures("torchvision")
@pytest.mark.parametrize(
    "name",
    [
        *("VOCDetection", "CocoDetection", "Cityscapes", "CelebA", "FlyingChairs", "Kinetics", "PhotoTour", "Kitti"),
        *("ImageFolder", "DatasetFolder", "FakeData", "VisionDataset", "LSUN", "Flickr8k", "UCF101", "SBDataset"),
    ],
)
def test_sets_without_one_class_for_each_image_are_refused_before_a_download(name: str) -> None:
    with pytest.raises(MnasError, match=f"torchvision:{name}: not a set of images with one class each"):
        load_data(f"torchvision:{name}")
    assert not root("").exists()


@pytest.mark.usefixtures("torchvision")
def test_all_of_torchvision_are_taken_or_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a network, each says in one line that it has no classes, or that it cannot be downloaded."""
    import socket

    from baselines.exchange.torchvision_import import import_torchvision

    def no_network(*_: object, **__: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr(socket, "getaddrinfo", no_network)
    sets = import_torchvision().datasets
    for name in sets.__all__:
        if isinstance(getattr(sets, name), type):
            with pytest.raises(
                MnasError, match=r"not a set of images|cannot be loaded|expected one of its sets"
            ) as caught:
                load_data(f"torchvision:{name}")
            assert "TypeError" not in str(caught.value), str(caught.value)
            assert "\n" not in str(caught.value)
