"""Pictures as the input of a network: one preparation, for files and for arrays.

A picture of any size and kind becomes uint8 (C, H, W). Pillow decodes and scales it, with the same
results as torchvision's `Resize`, `CenterCrop` and conversions, which call Pillow too.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps

from residuum.sw.errors import ResiduumError
from residuum.sw.network.graph import Pair, Preprocessing, Shape

GREY, RGB, BGR = "grey", "RGB", "BGR"

_RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}
# Modes of Pillow without colours.
_GREY_MODES = ("1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "F")
# Formats whose pixels of the mode "I" have 16 bits.
_SIXTEEN_BITS = ("PNG", "PPM")
# Formats that Pillow registers, but reads only with programs or plug-ins of others.
_NO_PICTURES = ("BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF")


@dataclass(frozen=True)
class Preparation:
    """How a picture becomes an array, uint8 (C, H, W).

    The picture is turned as its EXIF data say; transparent places become white; 16-bit values keep
    their upper 8 bits; a palette is replaced by its colours. Then it gets its channels, and its
    size:

    * with `crop`, it is scaled in proportion until it covers `size`, and cut to `crop` around its
      centre;
    * without, it is stretched to `size`.

    A picture that has the size already is not scaled.

    Attributes
    ----------
    channels
        "grey", "RGB" or "BGR"; "" for arrays of another number of channels, which stay as they are.
    size, crop
        (h, w); without ``size``, pictures keep their own size.
    interpolation
        "nearest", "bilinear" or "bicubic"; antialiased, as Pillow has it.
    """

    channels: str
    size: Pair | None = None
    crop: Pair | None = None
    interpolation: str = "bilinear"

    @classmethod
    def of(cls, shape: Shape, preprocessing: Preprocessing | None) -> "Preparation":
        """The preparation of pictures for a network that reads ``shape``, (C, H, W)."""
        wanted = preprocessing or Preprocessing()
        return cls(
            wanted.channels or {1: GREY, 3: RGB}.get(shape[0], ""),
            wanted.size or shape[1:],
            wanted.crop,
            wanted.interpolation,
        )

    @property
    def final_size(self) -> Pair | None:
        """(h, w) of the result; None if pictures keep their own size."""
        return self.crop or self.size

    def file(self, path: Path) -> np.ndarray:
        """The picture in a file, uint8 (C, H, W).

        Raises ``ResiduumError`` with the path if it cannot be read.
        """
        return self.picture(read_picture(path))

    def picture(self, picture: Image.Image) -> np.ndarray:
        """A picture from `read_picture` or `as_picture`, uint8 (C, H, W)."""
        if not self.channels:
            raise ResiduumError(
                "a picture has one channel or three; data for a network with another number come "
                "from a .npz file"
            )
        picture = picture.convert("L" if self.channels == GREY else "RGB")
        values = np.asarray(self._sized(picture))
        if values.ndim == 2:
            return values[np.newaxis].copy()
        values = values.transpose(2, 0, 1)
        return np.ascontiguousarray(values[::-1] if self.channels == BGR else values)

    def arrays(self, images: np.ndarray) -> np.ndarray:
        """Pictures uint8 (N, C, H, W) that have been read already.

        C is 1 (grey), 3 (red, green, blue) or 4 (with alpha).
        """
        if self._leaves(images.shape[1:]):
            return images[:, ::-1].copy() if self.channels == BGR else images
        # An empty picture gives the shape if there are no images.
        first = self.picture(as_picture(np.zeros(images.shape[1:], np.uint8)))
        prepared = np.empty((len(images), *first.shape), np.uint8)
        for index, image in enumerate(images):
            prepared[index] = self.picture(as_picture(image))
        return prepared

    def _leaves(self, shape: tuple[int, ...]) -> bool:
        """Whether arrays of this shape stay as they are, but for the order of their channels."""
        sizes = {self.size or shape[1:], self.crop or self.size or shape[1:], shape[1:]}
        channels = {GREY: 1, RGB: 3, BGR: 3}.get(self.channels, shape[0])
        return len(sizes) == 1 and channels == shape[0]

    def _sized(self, picture: Image.Image) -> Image.Image:
        if self.size is None:
            return picture
        (height, width), (wide, high) = self.size, picture.size
        if self.crop:
            # Integer division as in torchvision's Resize of the shorter side.
            if height * wide >= width * high:
                width = height * wide // high
            else:
                height = width * high // wide
        if (width, height) != picture.size:
            picture = picture.resize((width, height), _RESAMPLING[self.interpolation])
        return _centre(picture, self.crop) if self.crop else picture


def _centre(picture: Image.Image, crop: Pair) -> Image.Image:
    """The part of ``crop`` (h, w) around the centre."""
    # The rounding of torchvision's CenterCrop.
    left = int(round((picture.width - crop[1]) / 2.0))
    top = int(round((picture.height - crop[0]) / 2.0))
    return picture.crop((left, top, left + crop[1], top + crop[0]))


@contextmanager
def quiet() -> Iterator[None]:
    """Without Pillow's warnings, of odd but readable metadata, in the block.

    Around the start and end of threads too: the state of warnings is one for all threads.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@cache
def picture_suffixes() -> frozenset[str]:
    """The endings of the names of picture files that Pillow reads, such as ".png"."""
    Image.init()
    return frozenset(
        suffix
        for suffix, name in Image.registered_extensions().items()
        if name in Image.OPEN and name not in _NO_PICTURES
    )


def read_picture(path: Path) -> Image.Image:
    """The picture in a file as it is looked at: 8 bits, "L" (grey) or "RGB", turned, opaque.

    Of an animation, the first picture. Raises ``ResiduumError`` with the path if the file is
    missing, damaged, no picture, or of a kind that has no 8 bits.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        raise ResiduumError(f"{path} cannot be read: {error.strerror or error}") from None
    with file:
        return decode_picture(file, str(path))


def decode_picture(
    file: BinaryIO,
    name: str,
    *,
    formats: tuple[str, ...] | None = None,
    most_pixels: int | None = None,
) -> Image.Image:
    """As `read_picture`, from an open file that messages call ``name``.

    Parameters
    ----------
    formats
        The formats that may be decoded, by Pillow's names; None: all.
    most_pixels
        A larger picture is refused before it is decoded; None: Pillow's own limit.
    """
    try:
        with quiet(), Image.open(file, formats=formats) as opened:
            if most_pixels is not None and opened.width * opened.height > most_pixels:
                raise Image.DecompressionBombError
            return _seen(opened, name)
    except ResiduumError:
        raise
    except Image.UnidentifiedImageError:
        raise ResiduumError(f"{name} is no picture of a known format, or it is damaged") from None
    except Image.DecompressionBombError:
        raise ResiduumError(f"{name} has too many pixels; make the picture smaller") from None
    except OSError as error:
        reason = error.strerror or f"it is damaged ({error})"
        raise ResiduumError(f"{name} cannot be read: {reason}") from None
    except MemoryError:
        raise
    except Exception:
        # The decoders of Pillow raise many kinds of exceptions on damaged files.
        raise ResiduumError(f"{name} cannot be read: it is damaged") from None


def looked_at(picture: Image.Image, name: str) -> Image.Image:
    """A picture of Pillow, as `read_picture` gives that of a file; messages call it ``name``.

    Raises ``ResiduumError`` if its file is damaged or closed, or its kind has no 8 bits.
    """
    try:
        with quiet():
            return _seen(picture, name)
    except ResiduumError:
        raise
    except MemoryError:
        raise
    except Exception as error:
        reason = error if str(error) else "it is damaged"
        raise ResiduumError(f"{name} cannot be read: {reason}") from None


def _seen(picture: Image.Image, name: str) -> Image.Image:
    """The picture as it is looked at."""
    picture.load()
    turned = ImageOps.exif_transpose(picture)
    return _opaque(_eight_bits(turned, picture.format or "", name))


def shape_of(path: Path) -> Shape:
    """(C, H, W) of the picture in a file, as `read_picture` gives it: C is 1 without colours."""
    picture = read_picture(path)
    return 1 if picture.mode == "L" else 3, picture.height, picture.width


def as_picture(image: np.ndarray) -> Image.Image:
    """An array, uint8 (C, H, W), as `read_picture` would give it."""
    if image.shape[0] == 1:
        return Image.fromarray(np.ascontiguousarray(image[0]))
    return _opaque(Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0))))


def _eight_bits(picture: Image.Image, file_format: str, name: str) -> Image.Image:
    mode = picture.mode
    if mode.startswith("I;16") or (mode == "I" and file_format in _SIXTEEN_BITS):
        values = np.clip(np.asarray(picture).astype(np.int64) >> 8, 0, 255)
        return Image.fromarray(values.astype(np.uint8))
    if mode in ("I", "F"):
        raise ResiduumError(f"{name} has pixels of 32 bits; save the picture with 8 or 16 bits")
    return picture


def _opaque(picture: Image.Image) -> Image.Image:
    """The picture on white paper, "L" or "RGB"."""
    mode = "L" if picture.mode in _GREY_MODES else "RGB"
    if picture.has_transparency_data:
        paper = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(paper, picture.convert("RGBA"))
    return picture.convert(mode)
