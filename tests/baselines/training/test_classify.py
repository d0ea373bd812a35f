"""Images without labels are classified as an evaluation would, from a training's folder and from an exported file."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

import baselines
from baselines.text import FORMULA, as_written
from baselines.training.classify import Predictions, open_classifier, predict
from baselines.training.data.fit import FITS
from baselines.training.data.images import Files
from baselines.training.data.sources import Part
from baselines.training.export import export_network
from baselines.training.folder import trained_network
from baselines.training.predict import logits_of
from baselines.views import terminal
from nas.__main__ import main
from search_spaces import MnasError
from tests.baselines.training.images import COLOURS, write_training

SHAPES = ((40, 40), (32, 32), (200, 60), (60, 200), (31, 17), (9, 400), (300, 301))


def photograph(width: int, height: int, seed: int) -> Image.Image:
    """An image of random blobs, which every crop and shape changes."""
    values = np.random.default_rng(seed).integers(0, 256, (4, 5, 3)).astype(np.uint8)
    return Image.fromarray(values).resize((width, height), Image.Resampling.BICUBIC)


def write_images(folder: Path, count: int = 21) -> list[Path]:
    """Write images of many shapes and kinds."""
    folder.mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6
    saves: list[tuple[str, dict[str, Any]]] = [("png", {}), ("jpg", {"quality": 95}), ("webp", {}), ("bmp", {})]
    files = []
    for number in range(count):
        kind, options = saves[number % len(saves)]
        image = photograph(*SHAPES[number % len(SHAPES)], seed=number)
        file = folder / f"{number:03}.{kind}"
        if number % 5 == 0:
            image = image.convert("L")
        image.save(file, **options, **({"exif": exif} if kind == "jpg" else {}))
        files.append(file)
    Image.fromarray((np.arange(40 * 50).reshape(40, 50) * 30).astype(np.uint16)).save(folder / "deep.png")
    return [*files, folder / "deep.png"]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_images(tmp_path_factory.mktemp("photographs") / "images")


@pytest.mark.parametrize("fit", FITS)
def test_predictions_are_those_of_an_evaluation(images: list[Path], tmp_path: Path, fit: str) -> None:
    folder = write_training(tmp_path / "t", fit=fit)
    found = baselines.predict(folder, images)
    files = Files(images[0].parent, [file.name for file in images])
    part = Part(files, np.zeros(len(images), dtype=np.int64), fit)
    expected = logits_of(trained_network(folder)[2], part, 32, torch.device("cpu")).softmax(1)
    assert found.files == tuple(map(str, images))
    assert found.classes == tuple(COLOURS)
    assert len(set(found.labels.tolist())) > 1
    np.testing.assert_allclose(found.probabilities, expected, atol=1e-6)
    np.testing.assert_allclose(found.probabilities.sum(1), 1, atol=1e-6)


@pytest.mark.parametrize("fit", FITS)
def test_an_exported_file_predicts_what_the_folder_does(images: list[Path], tmp_path: Path, fit: str) -> None:
    folder = write_training(tmp_path / "t", side=40, fit=fit)
    export_network(str(folder), "onnx", tmp_path / "net.onnx")
    one, other = predict(folder, images), predict(str(tmp_path / "net.onnx"), images)
    assert (one.network, one.classes, one.files) == (other.network, other.classes, other.files)
    np.testing.assert_allclose(one.probabilities, other.probabilities, atol=1e-4)
    assert open_classifier(folder).signature == open_classifier(tmp_path / "net.onnx").signature


@pytest.mark.parametrize("channels", [1, 4])
def test_networks_of_other_channels(images: list[Path], tmp_path: Path, channels: int) -> None:
    """The folder and the exported file read images with the network's channels, as Pillow converts them."""
    folder = write_training(tmp_path / "t", channels=channels)
    found = predict(folder, images)
    converted = tmp_path / "converted"
    converted.mkdir()
    for file in images[:-1]:  # the last has 16 bits, which Pillow converts otherwise
        with Image.open(file) as image:
            upright = ImageOps.exif_transpose(image)
            upright.convert({1: "L", 4: "RGBA"}[channels]).save(converted / f"{file.stem}.png")
    np.testing.assert_allclose(found.probabilities[:-1], predict(folder, converted).probabilities, atol=1e-6)
    export_network(str(folder), "onnx", tmp_path / "net.onnx")
    exported = predict(tmp_path / "net.onnx", images)
    np.testing.assert_allclose(exported.probabilities, found.probabilities, atol=1e-5)
    assert len(set(found.labels.tolist())) > 1


def test_a_classifier_with_its_own_mean(images: list[Path], tmp_path: Path) -> None:
    """The metadata decide, not this project's constants."""
    import onnx

    export_network(str(write_training(tmp_path / "t")), "onnx", tmp_path / "net.onnx")
    model = onnx.load(tmp_path / "net.onnx")
    for entry in model.metadata_props:
        if entry.key in ("mean", "std"):
            entry.value = {"mean": "[0, 0, 0]", "std": "[1, 1, 1]"}[entry.key]
    onnx.save(model, tmp_path / "other.onnx")
    found = predict(tmp_path / "other.onnx", [images[1]])
    pixels = np.asarray(Image.open(images[1]).convert("RGB").rotate(-90, expand=True))
    assert pixels.shape == (32, 32, 3)
    network = trained_network(tmp_path / "t")[2].eval()
    with torch.no_grad():
        expected = network(torch.tensor(pixels / 255.0).float().permute(2, 0, 1)[None]).softmax(1)
    np.testing.assert_allclose(found.probabilities, expected, atol=1e-4)


DAMAGED = {
    "text.jpg": b"no image",
    "empty.png": b"",
    "header.jpg": b"\xff\xd8\xff\xe0\x00\x10JFIF",
    "half.png": None,
    "enormous.png": None,
}


def test_images_that_cannot_be_read_are_named_and_the_others_classified(
    images: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_training(tmp_path / "t")
    place = tmp_path / "images"
    place.mkdir()
    for name, content in DAMAGED.items():
        (place / name).write_bytes(content or b"")
    photograph(64, 64, 1).save(tmp_path / "whole.png")
    (place / "half.png").write_bytes((tmp_path / "whole.png").read_bytes()[:300])
    Image.new("1", (9000, 9000)).save(place / "enormous.png")  # ten kilobytes, 81 megapixels
    found = predict(folder, [images[0], place, images[1]])
    assert found.files == (str(images[0]), str(images[1]))
    assert {Path(file).name for file, _ in found.unreadable} == set(DAMAGED)
    assert "at most 67" in dict(found.unreadable)[str(place / "enormous.png")]
    alone = predict(folder, images[:2])
    np.testing.assert_allclose(found.probabilities, alone.probabilities, atol=1e-6)
    assert main(["predict", str(folder), "--images", str(images[0]), str(place), "--json"]) == 2
    shown = capsys.readouterr()
    document = json.loads(shown.out)
    assert [each["file"] for each in document["predictions"]] == [str(images[0])]
    assert len(document["unreadable"]) == len(DAMAGED)
    assert shown.err.splitlines()[-1].startswith("mnas: images: 5 of 6 images could not be read, such as ")
    assert main(["predict", str(folder), "--images", str(place)]) == 2
    shown = capsys.readouterr()
    assert all(str(place / name) in shown.out.replace("\n", "") for name in DAMAGED)
    assert shown.err.splitlines()[-1].startswith("mnas: images: 5 of 5 images could not be read")


NAMES = ["plain.png", "\x1b[31mred.png", "=1+1.png", "+x.png", "-x.png", "@x.png", "'x.png", "two\nlines.png", "ü€.png"]


def test_names_that_terminals_and_spreadsheets_obey(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_training(workplace / "t", classes=("=evil", "\x1b[2Jclear", "@good"))
    for number, name in enumerate([*NAMES, os.fsdecode(b"\xff.png")]):
        photograph(32, 32, number).save(Path(name))
    files = sorted(os.fsdecode(name) for name in os.listdir(b".") if name.endswith(b".png"))
    for form in ([], ["--csv"], ["--csv", "out.csv"], ["--json"]):
        assert main(["predict", str(folder), *form, "--images", *[f"./{name}" for name in files]]) == 0
        shown = capsys.readouterr().out
        assert "\x1b" not in shown
        if form == ["--json"]:
            document = json.loads(shown)
            assert [each["file"] for each in document["predictions"]] == files
            assert document["classes"] == ["=evil", "\x1b[2Jclear", "@good"]
        if form == ["--csv"]:
            rows = list(csv.reader(shown.splitlines()))
            assert not any(cell.startswith(FORMULA[:-1]) for row in rows for cell in row)
            assert {as_written(row[0]) for row in rows} >= {
                "plain.png",
                "=1+1.png",
                "+x.png",
                "-x.png",
                "@x.png",
                "ü€.png",
            }
            assert len(rows) == 1 + len(files)
            assert Path(folder).exists()
    assert len(list(csv.reader(Path("out.csv").read_text().splitlines()))) == 1 + len(files)


def test_csv_is_what_the_function_returns(
    images: list[Path], workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_training(workplace / "t")
    assert main(["predict", str(folder), "--csv", "out.csv", "--images", str(images[0].parent)]) == 0
    assert "Written: out.csv" in capsys.readouterr().out
    found = predict(folder, images)
    with Path("out.csv").open(newline="") as stream:
        rows = {row["file"]: row for row in csv.DictReader(stream)}
    for file, label, probabilities in zip(found.files, found.labels, found.probabilities, strict=True):
        row = rows.pop(file)
        assert row["class"] == found.classes[label]
        assert float(row["probability"]) == pytest.approx(float(probabilities.max()), rel=1e-5)
        columns = [float(row[f"probability:{name}"]) for name in found.classes]
        np.testing.assert_allclose(columns, probabilities, rtol=1e-5)
        assert row["error"] == ""
    assert not rows
    before = Path("out.csv").read_bytes()
    assert main(["predict", str(folder), "--csv", "out.csv", "--images", str(images[0])]) == 2
    assert "csv: out.csv already exists" in capsys.readouterr().err
    assert Path("out.csv").read_bytes() == before


def test_folders_are_read_to_any_depth(tmp_path: Path) -> None:
    folder = write_training(tmp_path / "t")
    root = tmp_path / "images"
    for number, name in enumerate(
        ("b.png", "a/c.png", "a/deep/er/d.JPG", ".hidden/no.png", "__MACOSX/no.png", ".e.png")
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        photograph(20, 20, number).save(root / name)
    (root / "notes.txt").write_text("x")
    (root / "a" / "raw.heic").write_text("x")
    (root / "a" / "circle").symlink_to(root)
    found = predict(folder, [root, root / "b.png"])
    inside = ["a/c.png", "a/deep/er/d.JPG", "b.png"]
    assert found.files == (*(str(root / name) for name in inside), str(root / "b.png"))
    text = " ".join(found.aside)
    for part in (".hidden", "__MACOSX", "hidden names", ".txt", ".heic"):
        assert part in text


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (["absent.png"], "images: absent.png not found; use image files, or folders of them"),
        (["empty"], r"images: there are none in empty \(it holds no files\)"),
        (["texts"], r"images: there are none in texts \(it holds 2 files: 1 of .heic, 1 of .txt\)"),
        (["pipe"], "images: pipe is not a file or a folder"),
        (["loop"], "images: loop is not a file or a folder"),
        (["x" * 300], "images: x* not found"),
        ([], "images: there are none in nothing"),
    ],
)
def test_what_holds_no_images(workplace: Path, images: list[str], message: str) -> None:
    folder = write_training(workplace / "t")
    Path("empty").mkdir()
    Path("texts").mkdir()
    Path("texts/a.txt").touch()
    Path("texts/b.heic").touch()
    os.mkfifo("pipe")
    Path("loop").symlink_to("loop")
    with pytest.raises(MnasError, match=message):
        predict(folder, images)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        ("absent", "network: absent not found; use the folder of a training, or an ONNX file exported from one"),
        ("absent.onnx", "absent.onnx: cannot be read"),
        ("plain.txt", "network: plain.txt is not a folder, nor does its name end in .onnx"),
        ("empty", "folder: empty holds no training"),
        ("unfinished", "training: unfinished is not complete; resume it with: mnas train --resume unfinished"),
    ],
)
def test_what_is_no_trained_network(workplace: Path, network: str, message: str) -> None:
    photograph(20, 20, 0).save("a.png")
    Path("empty").mkdir()
    Path("plain.txt").touch()
    (write_training(Path("unfinished")) / "weights.safetensors").unlink()
    with pytest.raises(MnasError, match=message):
        predict(network, ["a.png"])


def test_outputs_that_are_no_numbers_are_refused(images: list[Path], tmp_path: Path) -> None:
    from dataclasses import replace

    classifier = open_classifier(write_training(tmp_path / "t"))
    broken = replace(classifier, logits=lambda inputs: torch.full((len(inputs), 3), torch.nan))
    with pytest.raises(MnasError, match="network: its outputs are not finite numbers"):
        predict(broken, images[:1])


def test_progress_says_how_much_is_left(
    images: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(terminal, "LINE_SECONDS", 0.0)
    folder = write_training(tmp_path / "t")
    assert main(["predict", str(folder), "--json", "--images", *map(str, images * 4)]) == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if "left" in line]
    assert lines[0].startswith("mnas: 64 of 88 images, ")
    assert lines[-1].startswith("mnas: 88 of 88 images, 0 s left")
    counts: list[tuple[int, int]] = []
    found = predict(folder, images * 4, lambda count, total: counts.append((count, total)))
    assert counts == [(64, 88), (24, 88)]
    assert isinstance(found, Predictions)
