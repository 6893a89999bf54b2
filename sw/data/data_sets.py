"""Image sets: the built-in 8x8 digits, MNIST, Fashion-MNIST and CIFAR-10.

Images are always uint8 (N, C, H, W) with u = 0..255 and no further scaling; labels are int64 (N,).

The files of a set lie in the folder that the variable ``RESIDUUM_DATA`` names (in a folder of the
set's name there, or directly), else in a cache, into which they are downloaded once.
"""

import gzip
import hashlib
import lzma
import math
import os
import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from residuum.sw.data.download import download
from residuum.sw.errors import ResiduumError

DATA_VARIABLE = "RESIDUUM_DATA"
DIGITS_HELD_OUT = 360
# Magic number and dimensions of the two kinds of IDX files.
_IDX_IMAGES = (2051, 3)
_IDX_LABELS = (2049, 1)
_IDX_SIZE = (28, 28)
_CIFAR_SHAPE = (3, 32, 32)
_CIFAR_RECORD = 1 + 3 * 32 * 32
_CLASSES = 10

Split = tuple[np.ndarray, np.ndarray]  # images, labels


@dataclass(frozen=True)
class ImageSet:
    """Training and held-out images of one data set.

    Attributes
    ----------
    train_images, test_images
        uint8 (N, C, H, W).
    train_labels, test_labels
        int64 (N,), 0 .. classes-1.
    """

    name: str
    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray


class DataSet(Protocol):
    """Where a data set comes from.

    Reading raises ``ResiduumError`` if a file is missing or damaged, or cannot be downloaded.
    """

    @property
    def licence(self) -> str:
        """Under which it is distributed."""

    def train(self) -> Split:
        """Training images and labels."""

    def test(self) -> Split:
        """Held-out images and labels."""


def load_dataset(name: str) -> ImageSet:
    """All images of the data set called ``name``; ``ResiduumError`` if it is unknown."""
    source = dataset(name)
    return ImageSet(name, *source.train(), *source.test())


def load_held_out(name: str) -> Split:
    """The held-out images and labels alone."""
    return dataset(name).test()


def dataset(name: str) -> DataSet:
    """The source called ``name``; ``ResiduumError`` lists the known ones."""
    if name not in DATASETS:
        known = ", ".join(DATASETS)
        raise ResiduumError(f"there is no data set {name!r}; the known ones are {known}")
    return DATASETS[name]


class Digits:
    """Scikit-learn's 1,797 handwritten digits, 8x8, as 8-bit pixels.

    The grey values 0..16 become ``u = round(v * 255 / 16)``. Held out: 360 images, the same share
    of each class, drawn with the fixed seed 0.
    """

    licence = "UCI Optical Recognition of Handwritten Digits, CC BY 4.0"

    def train(self) -> Split:
        return self._split()[0]

    def test(self) -> Split:
        return self._split()[1]

    @staticmethod
    def _split() -> tuple[Split, Split]:
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split

        values, labels = load_digits(return_X_y=True)
        images = np.rint(values * 255 / 16).astype(np.uint8).reshape(-1, 1, 8, 8)
        train_images, test_images, train_labels, test_labels = train_test_split(
            images,
            labels.astype(np.int64),
            test_size=DIGITS_HELD_OUT,
            stratify=labels,
            random_state=0,
        )
        return (train_images, train_labels), (test_images, test_labels)


@dataclass(frozen=True)
class IdxSet:
    """A data set in four gzip-compressed IDX files, as MNIST was published.

    Attributes
    ----------
    title, folder
        Its name in messages, and that of its folder.
    mirror
        Address in front of the names of the files.
    md5
        The published sum of each file.
    """

    title: str
    folder: str
    licence: str
    mirror: str
    md5: Mapping[str, str]

    def train(self) -> Split:
        return self._read("train")

    def test(self) -> Split:
        return self._read("t10k")

    def _read(self, split: str) -> Split:
        names = (f"{split}-images-idx3-ubyte.gz", f"{split}-labels-idx1-ubyte.gz")
        folder = given_folder(self.title, [self.folder], list(self.md5))
        if folder is None:
            folder = cache_folder(self.folder, self.title)
            sums = {name: self.md5[name] for name in names}
            download(self.title, self.mirror, sums, folder, hint=_hint(self.title))
        images_file, labels_file = folder / names[0], folder / names[1]
        images, labels = read_idx_images(images_file), read_idx_labels(labels_file)
        if len(images) != len(labels):
            raise ResiduumError(
                f"{images_file} and {labels_file.name} do not belong together: "
                f"{len(images)} images and {len(labels)} labels"
            )
        if images.shape[1:] != _IDX_SIZE:
            raise ResiduumError(
                f"{images_file} holds images of {images.shape[1]} x {images.shape[2]} pixels; "
                f"those of {self.title} have {_IDX_SIZE[0]} x {_IDX_SIZE[1]}"
            )
        self._refuse_namesake(labels_file)
        _check_labels(labels_file, labels, self.title)
        return images[:, np.newaxis], labels.astype(np.int64)

    def _refuse_namesake(self, path: Path) -> None:
        """MNIST and Fashion-MNIST have the same names of files, and only the sums tell."""
        found = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
        for other in DATASETS.values():
            if isinstance(other, IdxSet) and other is not self and found in other.md5.values():
                raise ResiduumError(
                    f"{path} is of {other.title}, not of {self.title}; put each set into a folder "
                    f"of its own, {self.folder} and {other.folder}"
                )


def read_idx_images(path: Path) -> np.ndarray:
    """The images of a gzip-compressed IDX file, uint8 (N, rows, columns).

    Raises ``ResiduumError`` naming the file if it is missing, cut or not of this format.
    """
    return _read_idx(path, "images", *_IDX_IMAGES)


def read_idx_labels(path: Path) -> np.ndarray:
    """The labels of a gzip-compressed IDX file, uint8 (N,); errors as of ``read_idx_images``."""
    return _read_idx(path, "labels", *_IDX_LABELS)


def _read_idx(path: Path, kind: str, magic: int, dimensions: int) -> np.ndarray:
    raw = _unpacked(path, gzip.decompress)
    if raw[:4] != struct.pack(">I", magic):
        raise ResiduumError(f"{path} is not an IDX file of {kind}; fetch the file again")
    header = 4 + 4 * dimensions
    shape = struct.unpack(f">{dimensions}I", raw[4:header]) if len(raw) > header else ()
    if not shape or len(raw) != header + math.prod(shape):
        raise ResiduumError(f"{path} is damaged: its length does not match; fetch the file again")
    return np.frombuffer(raw, np.uint8, offset=header).reshape(shape).copy()


@dataclass(frozen=True)
class CifarSet:
    """CIFAR-10 in its binary version: six files of records, a label and 3 x 32 x 32 pixels each.

    A file may be xz-compressed (``.bin.xz``). The published archive has one MD5 sum for all.
    """

    licence: str
    mirror: str
    archive: str
    md5: str

    title = "CIFAR-10"
    folders = ("cifar10", "cifar-10-batches-bin")
    train_files = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
    test_files = ("test_batch.bin",)

    def train(self) -> Split:
        return self._read(self.train_files)

    def test(self) -> Split:
        return self._read(self.test_files)

    def _read(self, names: tuple[str, ...]) -> Split:
        files = self.train_files + self.test_files
        folder = given_folder(self.title, self.folders, [*files, *(f"{name}.xz" for name in files)])
        if folder is None:
            folder = cache_folder(self.folders[0], self.title)
            sums = {self.archive: self.md5}
            hint = _hint(self.title)
            download(self.title, self.mirror, sums, folder, hint=hint, contents=files)
        parts = [read_cifar(_plain_or_packed(folder / name)) for name in names]
        images, labels = zip(*parts, strict=True)
        return np.concatenate(images), np.concatenate(labels)


def read_cifar(path: Path) -> Split:
    """A batch of CIFAR-10's binary version, plain or xz-compressed.

    Raises ``ResiduumError`` naming the file if it is missing, cut or not of this format.
    """
    raw = _unpacked(path, lzma.decompress if path.suffix == ".xz" else bytes)
    if not raw or len(raw) % _CIFAR_RECORD:
        raise ResiduumError(
            f"{path} is damaged: it does not hold whole records of {_CIFAR_RECORD} bytes; "
            "fetch the file again"
        )
    records = np.frombuffer(raw, np.uint8).reshape(-1, _CIFAR_RECORD)
    labels = records[:, 0].astype(np.int64)
    _check_labels(path, labels, CifarSet.title)
    return records[:, 1:].reshape(-1, *_CIFAR_SHAPE).copy(), labels


def given_folder(title: str, subfolders: Sequence[str], names: Sequence[str]) -> Path | None:
    """The folder of ``RESIDUUM_DATA`` that holds any of ``names``; None if the variable is not set.

    Raises ``ResiduumError`` if it is set and there is none.
    """
    given = os.environ.get(DATA_VARIABLE)
    if not given:
        return None
    for folder in (*(Path(given) / subfolder for subfolder in subfolders), Path(given)):
        if any(os.path.exists(folder / name) for name in names):
            return folder
    raise ResiduumError(
        f"{DATA_VARIABLE} names {given}, but neither that folder nor its folder {subfolders[0]} "
        f"holds the files of {title} ({names[0]} and others)"
    )


def cache_folder(name: str, title: str) -> Path:
    """Where downloads of a data set are kept; ``ResiduumError`` if the user has no home folder."""
    cache = os.environ.get("XDG_CACHE_HOME")
    try:
        return Path(cache or Path.home() / ".cache") / "residuum" / name
    except RuntimeError:
        raise ResiduumError(f"there is no home folder for downloads; {_hint(title)}") from None


def _hint(title: str) -> str:
    return f"set {DATA_VARIABLE} to a folder with the files of {title}"


def _check_labels(path: Path, labels: np.ndarray, title: str) -> None:
    if labels.max() >= _CLASSES:
        raise ResiduumError(
            f"{path} is not of {title}: it has the label {labels.max()}; fetch the file again"
        )


def _plain_or_packed(path: Path) -> Path:
    packed = path.with_name(f"{path.name}.xz")
    return packed if os.path.exists(packed) and not os.path.exists(path) else path


def _unpacked(path: Path, unpacker: Callable[[bytes], bytes]) -> bytes:
    try:
        packed = path.read_bytes()
    except FileNotFoundError:
        raise ResiduumError(
            f"{path} is missing; set {DATA_VARIABLE} to a folder that holds it"
        ) from None
    except OSError as error:
        raise ResiduumError(f"{path} cannot be read: {error.strerror}") from None
    try:
        return unpacker(packed)
    except (gzip.BadGzipFile, EOFError, zlib.error, lzma.LZMAError):
        raise ResiduumError(f"{path} cannot be unpacked; fetch the file again") from None


DATASETS: Mapping[str, DataSet] = {
    "digits": Digits(),
    "mnist": IdxSet(
        title="MNIST",
        folder="mnist",
        licence="MNIST, commonly redistributed under CC BY-SA 3.0",
        mirror="https://ossci-datasets.s3.amazonaws.com/mnist/",
        md5={
            "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
            "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
            "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
            "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
        },
    ),
    "fashion": IdxSet(
        title="Fashion-MNIST",
        folder="fashion-mnist",
        licence="Fashion-MNIST, MIT, Copyright (c) 2017 Zalando SE",
        mirror="http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        md5={
            "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
            "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
            "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
        },
    ),
    "cifar10": CifarSet(
        licence="CIFAR-10 (A. Krizhevsky, 2009), no formal licence",
        mirror="https://www.cs.toronto.edu/~kriz/",
        archive="cifar-10-binary.tar.gz",
        md5="c32a1d4ab5d03f1284b67883e8d87530",
    ),
}
