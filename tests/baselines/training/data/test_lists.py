"""CSV files that list images."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from baselines.training.data.groups import hold_out_groups
from baselines.training.data.sources import ImageData, load_data
from baselines.views.terminal import write_csv
from search_spaces import MnasError
from tests.baselines.training.data.test_sources import contents
from tests.baselines.training.images import COLOURS, write_folders


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def rows_of(root: Path, count: int = 10) -> list[dict[str, str]]:
    """Rows for images that are written below a folder."""
    write_folders(root / "images", count)
    return [
        {"file": f"images/{label}/{number:03}.png", "label": label, "group": str(number), "split": "train"}
        for label in COLOURS
        for number in range(count)
    ]


def write_list(
    file: Path,
    rows: Sequence[Mapping[str, str]],
    columns: Mapping[str, str],
    delimiter: str = ",",
    encoding: str = "utf-8",
) -> str:
    """Write rows; ``columns`` has the header's name of each column."""
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter)
    writer.writerow(columns.values())
    writer.writerows([row[name] for name in columns] for row in rows)
    file.write_text(text.getvalue(), encoding=encoding)
    return str(file)


def sets(data: ImageData) -> list[list[bytes]]:
    return [sorted(contents(part)) for part in (data.train, data.val, data.test)]


@pytest.mark.parametrize(
    ("file", "label", "delimiter", "encoding"),
    [
        ("file", "label", ",", "utf-8"),
        ("filename", "class", ",", "utf-8-sig"),
        ("Image Path", "Target", ";", "utf-8-sig"),
        ("image_id", "category", "\t", "utf-8"),
        ("path", "class_name", ",", "utf-8"),
        ("IMAGE", "y", ";", "utf-8"),
    ],
)
def test_a_list_is_the_folder_that_it_lists(
    tmp_path: Path, file: str, label: str, delimiter: str, encoding: str
) -> None:
    rows = rows_of(tmp_path)
    listed = load_data(write_list(tmp_path / "labels.csv", rows, {"file": file, "label": label}, delimiter, encoding))
    folder = load_data(str(tmp_path / "images"))
    assert listed.classes == folder.classes
    assert sets(listed) == sets(folder)
    assert listed.aside == ()


def test_paths_are_relative_to_the_file_wherever_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = rows_of(tmp_path)
    source = write_list(tmp_path / "labels.csv", rows, {"file": "file", "label": "label"})
    expected = load_data(source).fingerprint
    monkeypatch.chdir(tmp_path)
    assert load_data("labels.csv").fingerprint == expected
    absolute = [{**row, "file": str(tmp_path / "images" / ".." / row["file"])} for row in rows]
    assert (
        load_data(write_list(tmp_path / "a.csv", absolute, {"file": "file", "label": "label"})).fingerprint == expected
    )


def test_integer_labels_are_sorted_as_numbers(tmp_path: Path) -> None:
    numbers = {"blue": "10", "green": "9", "red": "-1"}
    rows = [{**row, "label": numbers[row["label"]]} for row in rows_of(tmp_path)]
    data = load_data(write_list(tmp_path / "labels.csv", rows, {"file": "file", "label": "label"}))
    assert data.classes == ("-1", "9", "10")
    assert np.bincount(data.train.labels).tolist() == [8, 8, 8]


@pytest.mark.parametrize(
    "names", [("train", "val", "test"), ("Training", "valid", "Testing"), ("TRAIN", "dev", "test_set")]
)
def test_parts_of_a_column(tmp_path: Path, names: tuple[str, str, str]) -> None:
    rows = [{**row, "split": names[min(2, int(row["group"]) // 4)]} for row in rows_of(tmp_path, 12)]
    data = load_data(write_list(tmp_path / "labels.csv", rows, {"file": "file", "label": "label", "split": "Split"}))
    assert [len(part) for part in (data.train, data.val, data.test)] == [12, 12, 12]


@pytest.mark.parametrize("seed", range(5))
def test_groups_are_on_one_side(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = [{**row, "group": f"p{rng.integers(12)}"} for row in rows_of(tmp_path, 60)]
    data = load_data(
        write_list(tmp_path / "labels.csv", rows, {"file": "file", "label": "label", "group": "patient"}), seed
    )
    from PIL import Image

    group_of = {np.asarray(Image.open(tmp_path / row["file"])).tobytes(): row["group"] for row in rows}
    sides = [{group_of[image] for image in contents(part)} for part in (data.train, data.val, data.test)]
    assert sum(map(len, sides)) == len(set.union(*sides)) == len({row["group"] for row in rows})
    for part in (data.val, data.test):
        assert (np.bincount(part.labels, minlength=3) > 0).all()
    other = load_data(write_list(tmp_path / "l.csv", rows, {"file": "file", "label": "label"}), seed)
    assert other.fingerprint != data.fingerprint  # since another division is meant


@pytest.mark.parametrize("seed", range(20))
def test_whole_groups_are_held_out_and_no_class_is_lost(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels, groups = rng.integers(0, 4, 400), rng.integers(0, 40, 400)
    chosen = hold_out_groups(labels, groups, 0.1, np.random.default_rng(seed))
    rest = np.setdiff1d(np.arange(400), chosen)
    assert not set(groups[chosen]) & set(groups[rest])
    assert set(labels[rest]) == set(labels[chosen]) == {0, 1, 2, 3}
    assert 0.03 < len(chosen) / 400 < 0.2
    assert (chosen == hold_out_groups(labels, groups, 0.1, np.random.default_rng(seed))).all()


def test_groups_that_are_too_few(tmp_path: Path) -> None:
    rows = [{**row, "group": row["label"]} for row in rows_of(tmp_path)]
    with pytest.raises(MnasError, match="class 'blue' has too few groups to hold one out for test"):
        load_data(write_list(tmp_path / "labels.csv", rows, {"file": "file", "label": "label", "group": "group"}))


@pytest.mark.parametrize("label", ["=red", "-red", "+1x", "@red", "'red"])
def test_cells_that_were_protected_from_spreadsheets(
    tmp_path: Path, label: str, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{**row, "label": label if row["label"] == "red" else row["label"]} for row in rows_of(tmp_path)]
    write_csv(rows, ["file", "label"])
    (tmp_path / "labels.csv").write_text(capsys.readouterr().out)
    assert f"'{label}" in (tmp_path / "labels.csv").read_text()
    assert set(load_data(str(tmp_path / "labels.csv")).classes) == {"blue", "green", label}


def test_repeated_rows_and_other_columns_are_said(tmp_path: Path) -> None:
    rows = rows_of(tmp_path)
    data = load_data(
        write_list(tmp_path / "labels.csv", [*rows, *rows[:2]], {"file": "file", "label": "label", "group": "age"})
    )
    assert len(data.train) + len(data.val) + len(data.test) == 30
    assert data.aside == ("2 rows that repeat others", "1 column of the file (age)")


def test_damaged_images_are_left_out_and_named(tmp_path: Path) -> None:
    rows = rows_of(tmp_path)
    (tmp_path / rows[3]["file"]).write_bytes(b"no image")
    data = load_data(write_list(tmp_path / "labels.csv", rows, {"file": "file", "label": "label", "group": "group"}))
    assert data.skipped == (str(tmp_path / rows[3]["file"]),)
    assert len(data.train) + len(data.val) + len(data.test) == 29


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no column for the file"),
        ("name,label\n", r"no column for the file \(its header is 'name, label'\); name one file"),
        ("file,colour\n", "no column for the label"),
        ("images/red/000.png,red\n", "no column for the file"),
        ("file,label\n", "a header but no rows"),
        ("file,label,File\nx,y,z\n", "the column 'file' is given twice"),
        ("file,label\nimages/red/nope.png,red\n", r"row 2: file 'images/red/nope.png' is not found in"),
        ("file,label\nimages/red,red\n", "row 2: file 'images/red' is not a file"),
        ("file,label\n../x.png,red\n", r"row 2: file '../x.png' is outside"),
        ("file,label\n/etc/passwd,red\n", r"row 2: file '/etc/passwd' is outside"),
        ("file,label\nimages/red/000.png,\n", "row 2: label '' is empty"),
        ("file,label\n,red\n", "row 2: file '' is empty"),
        (
            "file,label\nimages/red/000.png,red\nimages/red/../red/000.png,blue\n",
            "row 3: .* is label 'red' in row 2 and",
        ),
        ("file,label,split\nimages/red/000.png,red,exam\n", "row 2: split 'exam' is no part; use train, val, test"),
        ("file,label,split\nimages/red/000.png,red,train\nimages/red/000.png,red,val\n", "row 3: .* is split 'train'"),
        (
            "file,label,group,split\nimages/red/000.png,red,a,train\nimages/red/001.png,red,a,val\n",
            "row 3: group 'a' is in train in row 2 and in val here",
        ),
        ("file,label\nimages/red/000.png,red,more\n", "row 2 has 3 cells, but the header 2"),
        ('file,label\n"images/red/000.png,red\n', "is not CSV"),
        ("file,label\nimages/x.heic,red\n", "row 2: .* of the kind .heic, which is not decoded"),
        ("file,label\nimages/\0.png,red\n", "row 2"),
    ],
)
def test_faults_name_row_and_value(tmp_path: Path, text: str, message: str) -> None:
    rows_of(tmp_path, 2)
    (tmp_path / "images" / "x.heic").write_bytes(b"x")
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(MnasError, match=message) as error:
        load_data(str(tmp_path / "labels.csv"))
    assert str(error.value).startswith(f"data: {tmp_path / 'labels.csv'}")
    assert "\n" not in str(error.value)


def test_a_list_that_is_not_utf_8(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_bytes(b"file,label\nb\xe4r.png,x\n")
    with pytest.raises(MnasError, match="not a text file in UTF-8"):
        load_data(str(tmp_path / "labels.csv"))
