"""Decoding one image: which formats, how many pixels, and what stands for white."""

from __future__ import annotations

import errno
import io
import math
import re
import struct
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from multiprocessing import parent_process
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from baselines.notices import say
from search_spaces.architecture import RGB
from search_spaces.errors import FieldError, MnasError, one_line

if TYPE_CHECKING:
    from PIL.Image import Image

# Errors of a disk, a network or a process, which do not mean that the image is damaged.
TEMPORARY_ERRORS = (errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOENT)

# The decoders that are used, whatever a file's name says: some of Pillow's others start programs (Ghostscript).
FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "GIF", "TIFF", "PPM", "AVIF", "JPEG2000")
# A decoder needs about ten bytes a pixel, and a file of half a megabyte may have hundreds of megapixels. A larger JPEG
# is decoded at a fraction of its sides; a larger image of another format is not decoded.
MAX_PIXELS = 2**26
# Larger images are decoded one at a time.
LARGE_PIXELS = 2**23
# No file of so many pixels, with four channels in 32 bits each, is larger.
MAX_CONTENT = 2**30

_ONE_LARGE = threading.Lock()

Pixels = NDArray[np.uint8]

# Channels that images can be read with, and Pillow's names of these modes.
MODES = {1: "L", RGB: "RGB", 4: "RGBA"}
WHITE = 255


def check_channels(channels: object) -> None:
    """Raise `FieldError` unless images can be read with so many channels."""
    if channels not in MODES or isinstance(channels, bool):
        raise FieldError("channels", f"{channels!r}: images are read with 1 channel (grey), 3 (RGB) or 4 (RGBA)")


def decode(source: Path | bytes, name: str = "", least: int | None = None, channels: int = RGB) -> Pixels:
    """An image as uint8 of shape (height, width, channels), upright. Raises an `OSError` that names it.

    Args:
        source: image file, or its content.
        name: name for the message; by default the file's.
        least: shorter side in pixels that is enough, to which a JPEG is decoded faster; None for all pixels.
        channels: 1 for grey, 3 for RGB, 4 for RGBA.
    """
    with opened(source, name or str(source)) as image:
        if _pixels(image) > MAX_PIXELS:  # a JPEG
            image.draft(None, (math.isqrt(MAX_PIXELS * image.width // image.height), 1))
        elif least is not None:
            image.draft(None, (least, least))
        return pixels_of(image, channels)


def content_of(file: Path) -> bytes:
    """The content of an image file. Raises `OSError` if it cannot be read, or is larger than any image."""
    size = file.stat().st_size
    if size > MAX_CONTENT:
        raise OSError(f"{size} bytes; at most {MAX_CONTENT} are read")
    return file.read_bytes()


@contextmanager
def opened(source: Path | bytes, name: str) -> Iterator[Image]:
    """An image whose content is still to be decoded; one of `FORMATS`, and not larger than memory allows.

    Raises:
        OSError: it cannot be read, here or inside; the message names it.
        MnasError: as in `reading`.
    """
    from PIL import Image

    stream = io.BytesIO(source) if isinstance(source, bytes) else source
    with reading(name), Image.open(stream, formats=FORMATS) as image:
        pixels = _pixels(image)
        if pixels > MAX_PIXELS and image.format != "JPEG":
            raise OSError(f"{pixels / 1e6:,.0f} megapixels; at most {MAX_PIXELS / 1e6:.0f} are decoded")
        with _ONE_LARGE if pixels > LARGE_PIXELS else nullcontext():
            yield image


def _pixels(image: Image) -> int:
    return image.width * image.height


def pixels_of(image: Image, channels: int = RGB) -> Pixels:
    """A Pillow image as uint8 of shape (height, width, channels), upright; colours become grey by Pillow's luma.

    Raises:
        OSError: its values have no known scale.
    """
    from PIL import Image, ImageOps

    ImageOps.exif_transpose(image, in_place=True)
    if image.mode.startswith("I") or image.mode == "F":  # Pillow would turn all values above 255 white
        image = Image.fromarray(eight_bits(np.asarray(image), _scales(image)))
    mode = MODES[channels]
    pixels = np.asarray(image if image.mode == mode else image.convert(mode))
    return pixels[..., None] if channels == 1 else pixels


def picture_of(pixels: Pixels) -> Image:
    """Pixels of shape (height, width, channels) as a Pillow image, the reverse of `pixels_of`."""
    from PIL import Image

    return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


def with_channels(images: Pixels, channels: int) -> Pixels:
    """Images with other channels, as `pixels_of` would read them from files.

    Args:
        images: grey or RGB images of shape (N, height, width, 1 or 3).
        channels: 1, 3 or 4.
    """
    given = images.shape[-1]
    if given == channels:
        return images
    if channels == 1:  # Pillow's fixed-point luma (ITU-R BT.601)
        found = np.empty((*images.shape[:-1], 1), dtype=np.uint8)
        for start in range(0, len(images), 4096):
            red, green, blue = np.moveaxis(images[start : start + 4096].astype(np.uint32), -1, 0)
            found[start : start + 4096, ..., 0] = (19595 * red + 38470 * green + 7471 * blue + 0x8000) >> 16
        return found
    colours = images if given == RGB else np.repeat(images, RGB, axis=-1)
    if channels == RGB:
        return colours
    return np.concatenate([colours, np.full((*images.shape[:-1], 1), WHITE, dtype=np.uint8)], axis=-1)


# Tag of TIFF that says whether values are unsigned (1), signed (2) or floats (3).
_SAMPLE_FORMAT = 339


def _scales(image: Image) -> tuple[float, ...]:
    """The values that may stand for white in an image of more than eight bits, smallest first."""
    if image.format == "PPM":  # which says what stands for white, and Pillow has applied it
        return (2.0**16 - 1,)
    if image.mode == "F":
        return (1.0, 2.0**8 - 1, 2.0**12 - 1, 2.0**16 - 1)
    half = (2.0**15 - 1,) if getattr(image, "tag_v2", {}).get(_SAMPLE_FORMAT) == (2,) else ()
    if image.mode.startswith("I;16"):
        return (2.0**12 - 1, *half, 2.0**16 - 1)
    return (2.0**8 - 1, 2.0**12 - 1, *half, 2.0**16 - 1, 2.0**32 - 1)


def eight_bits(values: NDArray[Any], scales: Sequence[float]) -> Pixels:
    """Values of more than eight bits as eight, by the first scale that holds them: cameras keep 12 bits in 16.

    Args:
        values: array of integers or floats.
        scales: values that may stand for white, smallest first.

    Raises:
        OSError: a value is negative, not finite, or beyond all scales.
    """
    low, high = float(values.min(initial=0)), float(values.max(initial=0))
    white = next((scale for scale in scales if high <= scale), None)
    if white is None or not low >= 0:  # false for nan
        raise OSError(f"its values are from {low:g} to {high:g}, and what is white is unknown; convert it to 8 bits")
    return np.rint(values * (255 / white)).astype(np.uint8)


@contextmanager
def reading(name: str) -> Iterator[None]:
    """Turn whatever Pillow raises inside into an `OSError` that names the image; say once what it warns of.

    Raises:
        MnasError: the error is temporary (`TEMPORARY_ERRORS`), so the image must not be skipped.
    """
    from PIL import Image

    kinds = (OSError, ValueError, SyntaxError, EOFError, LookupError, TypeError, AttributeError, ArithmeticError)
    _catch_warnings()
    outer, _READ.name = getattr(_READ, "name", None), name
    try:
        yield
    except (*kinds, RuntimeError, struct.error, Image.DecompressionBombError) as error:
        if getattr(error, "errno", None) in TEMPORARY_ERRORS:
            raise MnasError(f"data: {name} cannot be read now ({error}); restore it or remove it") from None
        raise OSError(f"{name} cannot be read ({error})") from None
    finally:
        _READ.name = outer


# The image that each thread reads, and the kinds of warnings that were said.
_READ = threading.local()
_SAID: set[str] = set()
_SAYING = threading.Lock()


def _catch_warnings() -> None:
    """Have each kind of warning said once, for the first image; those outside of `reading` are shown as before.

    Pillow warns of every image anew (damaged EXIF, say), and numbers in the text make each warning another one. Filters
    are set only here: whenever one is set, Python forgets what it has shown.
    """
    from PIL import Image

    shown = warnings.showwarning
    if getattr(shown, "of_images", False):
        return

    def show(message: Warning | str, category: type[Warning], *place: Any, **options: Any) -> None:
        name = getattr(_READ, "name", None)
        if name is None:
            shown(message, category, *place, **options)
        elif parent_process() is None:  # readers read what was read through before they were started
            _say_once(name, str(message))

    show.of_images = True  # type: ignore[attr-defined]
    warnings.filterwarnings("default", module=r"PIL\.")
    # Pillow warns of images that it could still decode; our own limit decides.
    warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
    warnings.showwarning = show


def _say_once(name: str, text: str) -> None:
    """Say what Pillow warns of, unless it was said with other numbers before."""
    kind = re.sub(r"\d+", "", text)
    with _SAYING:
        if kind not in _SAID:
            _SAID.add(kind)
            say(f"data: {name}: {one_line(text)} (a warning of Pillow, said for the first such image only)")
