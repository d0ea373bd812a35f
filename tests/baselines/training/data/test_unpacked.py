"""Zip and tar archives of class folders: they give what the folders in them give, and nothing leaves them."""

from __future__ import annotations

import io
import shutil
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from baselines.training.data.images import cache_folder
from baselines.training.data.sources import ImageData, Part, load_data
from search_spaces import MnasError
from tests.baselines.training.data.test_sources import contents, large_folders
from tests.baselines.training.images import write_folders

KINDS = {"zip": "zip", "tar": "tar", "tar.gz": "gztar", "tar.bz2": "bztar", "tar.xz": "xztar"}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def packed(folder: Path, kind: str, *, around: bool = False) -> Path:
    """An archive of a folder's content, or of the folder."""
    root = folder.parent if around else folder
    base = folder.name if around else "."
    return Path(shutil.make_archive(str(folder), KINDS[kind], root, base))


def same(first: ImageData, other: ImageData) -> bool:
    """Whether two sources are the same but for where they are."""
    nothing = Part(np.empty(0), np.empty(0, dtype=np.int64))
    plain = [replace(data, source="", train=nothing, val=nothing, test=nothing, skipped=()) for data in (first, other)]
    return plain[0] == plain[1] and all(
        contents(getattr(first, part)) == contents(getattr(other, part))
        and (getattr(first, part).labels == getattr(other, part).labels).all()
        for part in ("train", "val", "test")
    )


@pytest.mark.parametrize("around", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_an_archive_is_the_folder_in_it(tmp_path: Path, kind: str, *, around: bool) -> None:
    folder = write_folders(tmp_path / "pets", count=10)
    archive = packed(folder, kind, around=around)
    expected = load_data(str(folder))
    shutil.rmtree(folder)
    assert same(load_data(str(archive)), expected)
    assert same(load_data(str(archive)), expected)  # from the cache
    assert load_data(str(shutil.move(archive, tmp_path / "other"))).fingerprint == expected.fingerprint


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_parts_and_what_is_left_aside(tmp_path: Path, kind: str) -> None:
    root = tmp_path / "pets"
    for seed, part in enumerate(("Training", "valid", "Test_set")):
        write_folders(root / part, count=8 - seed, seed=seed)
    write_folders(root / "__MACOSX" / "Training")
    (root / "Training" / "red" / ".ipynb_checkpoints").mkdir()
    shutil.copy(root / "Training" / "red" / "000.png", root / "Training" / "red" / ".ipynb_checkpoints")
    (root / "Training" / "red" / "notes.txt").write_text("red")
    (root / "Training" / "red" / "bad.png").write_bytes(b"no image")
    shutil.copy(root / "Training" / "blue" / "000.png", root / "valid" / "blue" / "again.png")
    archive, folder = load_data(str(packed(root, kind))), load_data(str(root))
    assert same(archive, folder)
    assert [len(archive.train), len(archive.val), len(archive.test)] == [24, 22, 18]
    assert archive.aside == folder.aside != ()
    assert archive.skipped == (str(root.with_suffix("." + kind) / "Training" / "red" / "bad.png"),)


def test_large_images_are_read_from_the_cache(tmp_path: Path) -> None:
    folder = large_folders(tmp_path / "images")
    archive = packed(folder, "zip", around=True)
    data = load_data(str(archive))
    assert data.side is None
    assert data.fingerprint == load_data(str(folder)).fingerprint


def test_a_cache_that_was_cleaned_is_made_again(tmp_path: Path) -> None:
    archive = packed(write_folders(tmp_path / "images"), "zip")
    expected = load_data(str(archive))
    for file in list(cache_folder().glob("unpacked-*/images/red/*.png"))[:3]:
        file.unlink()
    assert same(load_data(str(archive)), expected)


def test_another_archive_of_the_same_name(tmp_path: Path) -> None:
    first = load_data(str(packed(write_folders(tmp_path / "images"), "zip")))
    shutil.rmtree(tmp_path / "images")
    other = load_data(str(packed(write_folders(tmp_path / "images", seed=1), "zip")))
    assert first.fingerprint != other.fingerprint


def test_separators_of_windows(tmp_path: Path) -> None:
    folder = write_folders(tmp_path / "images")
    with zipfile.ZipFile(tmp_path / "made.zip", "w") as archive:
        for file in sorted(folder.rglob("*.png")):
            archive.writestr(str(file.relative_to(tmp_path)).replace("/", "\\"), file.read_bytes())
    assert load_data(str(tmp_path / "made.zip")).fingerprint == load_data(str(folder)).fingerprint


def tar_of(file: Path, name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> Path:
    with tarfile.open(file, "w") as archive:
        member = tarfile.TarInfo(name)
        member.type, member.linkname, member.size = kind, target, 3 if kind == tarfile.REGTYPE else 0
        archive.addfile(member, io.BytesIO(b"abc"))
    return file


@pytest.mark.parametrize("name", ["/etc/x.png", "../x.png", "a/../../x.png", "C:\\x.png", "C:/x.png", "a/.."])
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_names_that_lead_out(tmp_path: Path, kind: str, name: str) -> None:
    file = tmp_path / f"evil.{kind}"
    if kind == "tar":
        tar_of(file, name)
    else:
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr(name, b"abc")
    with pytest.raises(MnasError, match=r"data: .*evil.* holds the name .* leads out of the archive"):
        load_data(str(file))
    assert not list(tmp_path.rglob("*.png"))


@pytest.mark.parametrize(
    ("kind", "what"),
    [
        (tarfile.SYMTYPE, "a link"),
        (tarfile.LNKTYPE, "a link"),
        (tarfile.FIFOTYPE, "a device or a pipe"),
        (tarfile.CHRTYPE, "a device or a pipe"),
    ],
)
def test_links_and_devices_in_a_tar(tmp_path: Path, kind: bytes, what: str) -> None:
    target = "/etc/passwd" if what == "a link" else ""
    with pytest.raises(MnasError, match=f"data: 'cat/1.png' of .*evil.tar is {what}"):
        load_data(str(tar_of(tmp_path / "evil.tar", "cat/1.png", kind, target)))


def test_a_link_in_a_zip(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as archive:
        info = zipfile.ZipInfo("cat/1.png")
        info.external_attr = 0o120777 << 16
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(MnasError, match=r"'cat/1.png' of .*evil.zip is a link"):
        load_data(str(tmp_path / "evil.zip"))


def test_a_zip_that_unpacks_to_too_much(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(9):
            with archive.open(f"cat/{number}.png", "w") as stream:
                for _ in range(2**27 // 2**24):
                    stream.write(bytes(2**24))
    with pytest.raises(MnasError, match="unpacks to more than 1073741824 bytes"):
        load_data(str(tmp_path / "bomb.zip"))
    assert not list(cache_folder().glob("unpacked-*"))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_archives_that_are_cut_off(tmp_path: Path, kind: str, share: float) -> None:
    archive = packed(large_folders(tmp_path / "images"), kind)
    archive.write_bytes(archive.read_bytes()[: int(share * archive.stat().st_size)])
    with pytest.raises(MnasError, match=r"^data: .*images.*(make or download it again|expected a folder)"):
        load_data(str(archive))
    assert not list(tmp_path.glob("cache/**/*.png"))


def test_a_zip_whose_content_was_changed(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    write_folders(folder)
    file = tmp_path / "made.zip"
    with zipfile.ZipFile(file, "w") as archive:  # stored, so that the bytes can be found
        for each in sorted(folder.rglob("*.png")):
            archive.write(each, each.relative_to(folder))
    content = (folder / "red" / "003.png").read_bytes()
    file.write_bytes(file.read_bytes().replace(content, content[:-1] + b"x"))
    with pytest.raises(MnasError, match=r"made.zip cannot be unpacked .*CRC"):
        load_data(str(file))
    assert not list(tmp_path.glob("cache/**/*.png"))


def test_an_archive_without_images(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "texts.zip", "w") as archive:
        archive.writestr("a/b.txt", "x")
    with pytest.raises(MnasError, match=r"data: .*texts.zip.* has no images \(it holds 1 file: 1 of .txt\)") as error:
        load_data(str(tmp_path / "texts.zip"))
    assert "cache" not in str(error.value)


@pytest.mark.parametrize("kind", KINDS)
def test_a_flipped_bit_is_noticed(tmp_path: Path, kind: str) -> None:
    """Whatever the place of the damage: the images are the same, or the archive is refused, but for plain tar."""
    rng = np.random.default_rng(0)
    for label in ("ant", "bee"):
        (tmp_path / "pets" / label).mkdir(parents=True)
        for number in range(6):  # BMP has no checksum of its own
            pixels = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "pets" / label / f"{number}.bmp")
    archive = packed(tmp_path / "pets", kind)
    good, fingerprint, noticed = archive.read_bytes(), load_data(str(archive)).fingerprint, 0
    for _ in range(12):
        damaged = bytearray(good)
        damaged[int(rng.integers(20, len(good) - 30))] ^= 1 << int(rng.integers(8))
        archive.write_bytes(damaged)
        try:
            data = load_data(str(archive))
        except MnasError as error:
            assert "\n" not in str(error)
            noticed += 1
        else:
            assert kind == "tar" or data.fingerprint == fingerprint
    assert noticed > 6 or kind == "tar"


@pytest.mark.parametrize("kind", ["w:gz", "w:xz", "w"])
@pytest.mark.parametrize("header", [tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE])
def test_a_long_name_is_not_read(tmp_path: Path, kind: str, header: bytes) -> None:
    """A name of many megabytes packs to some kilobytes, and would be read into memory at once."""
    member = tarfile.TarInfo("././@LongLink")
    member.type, member.size = header, 2**24
    archive = tmp_path / "pets.tar"
    with tarfile.open(archive, kind) as opened:  # type: ignore[call-overload]
        opened.addfile(member, io.BytesIO(b"a" * member.size))
    with pytest.raises(MnasError, match=r"pets.tar cannot be read \(a name in it has 16777216 bytes"):
        load_data(str(archive))
