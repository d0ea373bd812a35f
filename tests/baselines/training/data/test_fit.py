"""Images that are not square: what is seen of them, against Pillow's own functions, and how that is chosen."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps

from baselines.training.data.fit import (
    CROP,
    FITS,
    PAD,
    SQUASH,
    chosen_fit,
    drawn,
    evaluation_view,
    fit_note,
    random_view,
    squares,
)
from baselines.training.data.sources import ImageData, load_data, load_for_evaluation
from search_spaces import FieldError

RED, BLUE = (255, 0, 0), (0, 0, 255)
# Width and height of wide, tall, nearly square and very thin images.
SHAPES = [(128, 32), (30, 120), (64, 64), (97, 51), (400, 300), (1, 90), (200, 3), (1, 1)]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def photo(width: int, height: int, seed: int = 0) -> NDArray[np.uint8]:
    """Smooth noise, as in photographs."""
    rng = np.random.default_rng((seed, width, height))
    small = rng.integers(0, 256, (1 + height // 8, 1 + width // 8, 3)).astype(np.uint8)
    return np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))


def ends(width: int, height: int) -> NDArray[np.uint8]:
    """A grey image whose first tenth of the longer side is red, and whose last is blue."""
    image = np.full((height, width, 3), 128, dtype=np.uint8)
    lines = image if height > width else image.transpose(1, 0, 2)
    part = max(1, len(lines) // 10)
    lines[:part], lines[-part:] = RED, BLUE
    return image


def sees(image: NDArray[np.uint8], colour: Sequence[int]) -> bool:
    return bool((np.abs(image.astype(int) - np.array(colour)).max(axis=2) < 60).any())


def write(root: Path, shapes: Sequence[tuple[int, int]], count: int = 12, name: str = "{}.png") -> str:
    """Two classes whose images have these widths and heights, in turn."""
    for label in ("one", "two"):
        (root / label).mkdir(parents=True)
        for number in range(count):
            image = Image.fromarray(photo(*shapes[number % len(shapes)], number))
            image.save(root / label / name.format(number))
    return str(root)


@pytest.mark.parametrize("side", [32, 50, 224])
@pytest.mark.parametrize("shape", SHAPES)
def test_what_is_evaluated_is_what_pillow_pads_squashes_and_crops(shape: tuple[int, int], side: int) -> None:
    pixels = photo(*shape)
    image, bicubic = Image.fromarray(pixels), Image.Resampling.BICUBIC
    squashed = drawn(pixels, evaluation_view(pixels.shape[:2], SQUASH, side), side)
    assert (squashed == np.asarray(image.resize((side, side), bicubic))).all()
    padded = drawn(pixels, evaluation_view(pixels.shape[:2], PAD, side), side)
    assert padded.shape == (side, side, 3)
    if min(shape) / max(shape) * side >= 1:  # Pillow would make a side of 0
        # It divides the border in another way where it is odd.
        centres = [ImageOps.pad(image, (side, side), bicubic, centering=(at, at)) for at in (0.5, 0.499, 0.501)]
        assert any((padded == np.asarray(centre)).all() for centre in centres)
    if max(shape) <= 128:
        cropped = drawn(pixels, evaluation_view(pixels.shape[:2], CROP, side), side)
        assert (cropped == np.asarray(ImageOps.fit(image, (side, side), bicubic))).all()


@pytest.mark.parametrize("shape", [(128, 32), (30, 120), (640, 200), (90, 1000), (60, 1)])
@pytest.mark.parametrize("fit", FITS)
def test_both_ends_are_seen_unless_images_are_cropped(shape: tuple[int, int], fit: str) -> None:
    pixels, rng = ends(*shape), np.random.default_rng(0)
    evaluated = drawn(pixels, evaluation_view(pixels.shape[:2], fit, 64), 64)
    assert sees(evaluated, RED) == sees(evaluated, BLUE) == (fit != CROP)
    trained = [drawn(pixels, random_view(pixels.shape[:2], fit, 64, rng), 64) for _ in range(200)]
    share = np.mean([[sees(image, colour) for colour in (RED, BLUE)] for image in trained], axis=0)
    if fit != CROP:  # of a square image, as much is seen of either edge
        square = ends(64, 64)
        usual = [drawn(square, random_view((64, 64), CROP, 64, rng), 64) for _ in range(200)]
        assert share.min() > np.mean([sees(image, RED) for image in usual]) - 0.12


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("fit", FITS)
def test_random_areas_lie_in_the_image_and_at_the_place_of_evaluation(shape: tuple[int, int], fit: str) -> None:
    rng = np.random.default_rng(1)
    width, height = shape
    size = (height, width)
    for _ in range(300):
        (left, top, right, bottom), place = random_view(size, fit, 32, rng)
        assert 0 <= left < right <= width
        assert 0 <= top < bottom <= height
        assert place == evaluation_view(size, fit, 32).place
        if fit != CROP:
            across, down = (right - left) / width, (bottom - top) / height
            assert 0.0799 < across * down <= 1
            assert 0.74 < across / down < 1.34


@pytest.mark.parametrize(
    ("seed", "size", "expected"),
    [
        (0, (400, 512), (78.63752399390704, 16.50121233977187, 489.25944652924505, 343.2299622501934)),
        (1, (32, 128), (42.005439851260796, 0.11846903843327966, 77.16292168013632, 31.888325001449417)),
        (2, (100, 20), (0.015741706443731476, 61.587978369917174, 19.739692657095393, 82.47144399780407)),
        (3, (64, 64), (10.923119695956949, 25.392644021538953, 47.97524603394342, 57.82853749694979)),
    ],
)
def test_crops_are_those_of_earlier_versions(seed: int, size: tuple[int, int], expected: Sequence[float]) -> None:
    """A training that was begun before there was a choice goes on with the same crops."""
    assert random_view(size, CROP, 64, np.random.default_rng((7, seed))).area == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("shapes", "expected"),
    [
        ([(400, 300), (300, 400)], CROP),
        ([(600, 400), (400, 600), (500, 500)], CROP),
        ([(1920, 1080), (1080, 1920)], CROP),
        ([(128, 32)], SQUASH),
        ([(64, 128), (60, 140)], SQUASH),
        ([(1, 90)], SQUASH),
        ([(128, 32), (32, 128)], PAD),
        ([(200, 40), (800, 40)], PAD),
        ([(64, 64)] * 4 + [(256, 64)], PAD),
        ([(64, 64)] * 39 + [(1, 64)], CROP),
        ([], CROP),
    ],
)
def test_the_shapes_of_the_images_choose(shapes: list[tuple[int, int]], expected: str) -> None:
    sizes = np.array(shapes, dtype=np.int32).reshape(-1, 2)
    assert chosen_fit(sizes) == expected
    note = fit_note(expected, sizes, chosen=True)
    assert note.startswith(f"Fit: {expected}, since ") or not len(sizes)
    assert chosen_fit(sizes[:, ::-1]) == expected  # turned


def test_images_that_are_stored_on_their_side_are_upright(tmp_path: Path) -> None:
    """Half of them are turned by their EXIF tag only, so all are tall, in each format; and so are pixels and maps."""
    exif = Image.Exif()
    exif[0x0112] = 6
    for kind in ("jpg", "png", "tiff", "webp"):
        root = tmp_path / kind
        for label in ("one", "two"):
            (root / label).mkdir(parents=True)
            for number in range(8):
                image = Image.fromarray(photo(*((300, 60) if number % 2 else (60, 300)), number))
                image.save(root / label / f"{number}.{kind}", **({"exif": exif} if number % 2 else {}))
        data = load_data(str(root))
        assert {data.train.images[index].shape for index in range(len(data.train))} == {(300, 60, 3)}
        assert data.fit == SQUASH, kind
        # What was read is remembered.
        assert load_data(str(root)).fit_note == data.fit_note


def pieces(data: ImageData, side: int = 32) -> NDArray[np.uint8]:
    """The images to train on, as a network sees them in evaluation."""
    import torch

    from baselines.training.augment import resized
    from baselines.training.batches import batches_of

    batches = batches_of(data.train, side, torch.device("cpu"), None)
    (batch,) = [images for images, _ in batches.read([np.arange(len(data.train))], 0)]
    return resized(batch, side).numpy()


@pytest.mark.slow
def test_the_fit_of_data_reaches_the_network(tmp_path: Path) -> None:
    source = write(tmp_path / "wide", [(96, 24)])
    seen = {fit: pieces(load_data(source, fit=fit)) for fit in FITS}
    chosen = load_data(source)
    assert chosen.fit == chosen.train.fit == chosen.val.fit == chosen.test.fit == SQUASH
    assert chosen.about()["fit"] == SQUASH
    assert (pieces(chosen) == seen[SQUASH]).all()
    assert (seen[PAD][:, 0] == 0).all()
    assert not (seen[CROP] == seen[SQUASH]).all()
    # They are the same images, however they are fitted.
    assert {load_data(source, fit=fit).fingerprint for fit in FITS} == {chosen.fingerprint}
    part = load_for_evaluation(source, chosen.classes, chosen.fingerprint, 0, "test", PAD)
    assert part.test.fit == PAD
    other = write(tmp_path / "other", [(24, 96)])
    assert load_for_evaluation(other, chosen.classes, chosen.fingerprint, 0, "test", SQUASH).test.fit == SQUASH


def test_small_squares_are_the_same_by_any_fit_and_packed_once(tmp_path: Path) -> None:
    source = write(tmp_path / "squares", [(24, 24)])
    found = [load_data(source, fit=fit) for fit in (None, *FITS)]
    assert found[0].fit == CROP
    assert found[0].fit_note == ""
    assert found[2].fit_note == "Fit: pad; all images are square."
    assert len(list((tmp_path / "cache/mnas/images").glob("*/images.npy"))) == 1
    assert len({pieces(data).tobytes() for data in found}) == 1


@pytest.mark.parametrize("shape", [(60, 20), (20, 60), (28, 27)])
def test_arrays_that_are_not_square(tmp_path: Path, shape: tuple[int, int]) -> None:
    """IDX files may hold them; each is drawn as an image in a file is."""
    width, height = shape
    images = np.stack([photo(width, height, seed)[..., 0] for seed in range(40)])
    for name, values in (("images-idx3", images), ("labels-idx1", (np.arange(40) % 4).astype(np.uint8))):
        header = bytes((0, 0, 8, values.ndim)) + b"".join(size.to_bytes(4, "big") for size in values.shape)
        (tmp_path / f"train-{name}-ubyte").write_bytes(header + values.tobytes())
    found = {fit: load_data(str(tmp_path), fit=fit) for fit in FITS}
    whole = max(shape)
    assert {fit: data.side for fit, data in found.items()} == {CROP: min(shape), PAD: whole, SQUASH: whole}
    assert len({data.fingerprint for data in found.values()}) == 1
    for fit in (PAD, SQUASH):
        grey = np.repeat(images[..., None], 3, axis=-1)
        expected = {drawn(one, evaluation_view((height, width), fit, whole), whole).tobytes() for one in grey}
        assert {found[fit].train.images[index].tobytes() for index in range(len(found[fit].train))} <= expected
    assert load_data(str(tmp_path)).fit == (CROP if shape == (28, 27) else SQUASH)


def test_squares_of_arrays() -> None:
    images = np.stack([photo(12, 8, seed) for seed in range(3)])
    assert (squares(images, CROP) == images[:, :, 2:10]).all()
    padded = squares(images, PAD)
    assert (padded[:, 2:10] == images).all()
    assert not padded[:, :2].any()
    assert squares(images, SQUASH).shape == (3, 12, 12, 3)


def test_a_library_s_images_are_fitted_as_files_are(tmp_path: Path) -> None:
    pytest.importorskip("datasets", reason="datasets is not installed; pip install 'mnas[hf]'")
    from datasets import ClassLabel, Dataset, Features
    from datasets import Image as ImageFeature

    files = Path(write(tmp_path / "files", [(80, 20), (20, 80)]))
    paths = sorted(files.glob("*/*.png"))
    labels = [("one", "two").index(path.parent.name) for path in paths]
    features = Features({"image": ImageFeature(), "label": ClassLabel(names=["one", "two"])})
    (tmp_path / "library").mkdir()
    Dataset.from_dict({"image": list(map(str, paths)), "label": labels}, features).to_parquet(
        str(tmp_path / "library" / "train.parquet")
    )
    data = load_data(f"hf:{tmp_path / 'library'}")
    assert data.fit == load_data(str(files)).fit == PAD


def test_an_unknown_fit_is_refused_before_anything_is_read() -> None:
    with pytest.raises(FieldError, match="fit: unknown fit 'squish'; did you mean 'squash'"):
        load_data("no such folder", fit="squish")


def test_a_note_says_what_is_lost() -> None:
    sizes = np.array([[128, 32]] * 9 + [[32, 32]], dtype=np.int32)
    assert fit_note(CROP, sizes, chosen=False) == (
        "Fit: crop: the middle square is 25 % of the median image; of 9 of 10 images the middle square is half or "
        "less, --fit pad or squash shows whole images."
    )
    assert fit_note(SQUASH, sizes, chosen=False) == "Fit: squash: whole images are squashed to squares."
