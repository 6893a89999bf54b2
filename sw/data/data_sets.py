"""Image sets: the built-in 8x8 digits, MNIST, Fashion-MNIST, CIFAR-10 and CIFAR-100.

Images are always uint8 (N, C, H, W), u = 0..255, not scaled; labels are int64 (N,).

If the environment variable ``RESIDUUM_DATA`` names a folder, the files of a set are read from it,
or from its subfolder with the set's name. Otherwise they are downloaded once into a cache. A file
with another checksum than the published one is refused, unless the user allows modified files.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np

from residuum.sw.data.download import download
from residuum.sw.data.formats import DATA_VARIABLE, Split, read_cifar, read_idx
from residuum.sw.data.sums import md5_of
from residuum.sw.errors import ResiduumError
from residuum.sw.files import cache_folder
from residuum.sw.progress import SILENT, Reporter

ALLOW_VARIABLE = "RESIDUUM_ALLOW_MODIFIED"
DIGITS_HELD_OUT = 360


@dataclass(frozen=True)
class Access:
    """How the files of a data set are obtained.

    Attributes
    ----------
    allow_modified
        Accept files that differ from the published ones, as the environment variable
        ``RESIDUUM_ALLOW_MODIFIED=1`` does.
    reporter
        Shows downloads, and names the accepted modified files.
    """

    allow_modified: bool = False
    reporter: Reporter = SILENT

    @property
    def accepts_modified(self) -> bool:
        """Whether the attribute or the environment variable accepts modified files."""
        return self.allow_modified or os.environ.get(ALLOW_VARIABLE, "") not in ("", "0")


PUBLISHED_ONLY = Access()


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
    """Source of a data set.

    Reading raises ``ResiduumError`` if a file is missing, damaged or not the published one, or
    cannot be downloaded.
    """

    @property
    def licence(self) -> str:
        """Licence under which the data set is distributed."""

    def train(self, access: Access = PUBLISHED_ONLY) -> Split:
        """Training images and labels."""

    def test(self, access: Access = PUBLISHED_ONLY) -> Split:
        """Held-out images and labels."""

    def is_here(self) -> bool:
        """Whether the held-out images can be read without a download."""


def load_dataset(name: str, access: Access = PUBLISHED_ONLY) -> ImageSet:
    """All images of the data set called ``name``; ``ResiduumError`` if it is unknown."""
    source = dataset(name)
    return ImageSet(name, *source.train(access), *source.test(access))


def load_held_out(name: str, access: Access = PUBLISHED_ONLY) -> Split:
    """The held-out images and labels alone."""
    return dataset(name).test(access)


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

    def train(self, access: Access = PUBLISHED_ONLY) -> Split:
        return self._split()[0]

    def test(self, access: Access = PUBLISHED_ONLY) -> Split:
        return self._split()[1]

    def is_here(self) -> bool:
        return True

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


@dataclass(frozen=True, kw_only=True)
class PublishedSet:
    """A data set in published files.

    Attributes
    ----------
    title
        Name of the data set in messages.
    folders
        Possible names of the folder with the files; the first is used in the cache.
    mirror
        Base address of the downloads.
    md5
        The published MD5 sum of each file.
    archives
        Archives to download, with their published MD5 sums; empty if the files are downloaded
        directly.
    train_files, test_files
        The files of each split.
    read
        Reads the files of a split; takes the title and the paths.
    """

    title: str
    folders: tuple[str, ...]
    licence: str
    mirror: str
    md5: Mapping[str, str]
    archives: Mapping[str, str]
    train_files: tuple[str, ...]
    test_files: tuple[str, ...]
    read: Callable[[str, Sequence[Path]], Split]

    def train(self, access: Access = PUBLISHED_ONLY) -> Split:
        return self._split(self.train_files, access)

    def test(self, access: Access = PUBLISHED_ONLY) -> Split:
        return self._split(self.test_files, access)

    def is_here(self) -> bool:
        try:
            folder = self._given_folder() or cache_folder() / self.folders[0]
        except ResiduumError:
            return False
        return all(os.path.exists(folder / name) for name in self.test_files)

    def _split(self, names: Sequence[str], access: Access) -> Split:
        folder = self._given_folder() or self._downloaded(names, access.reporter)
        paths = [folder / name for name in names]
        split = self.read(self.title, paths)
        for path in paths:
            self._check_published(path, access)
        return split

    def _given_folder(self) -> Path | None:
        """The folder in ``RESIDUUM_DATA`` with files of the set; None if the variable is not set.

        Raises ``ResiduumError`` if no such folder has a file of the set.
        """
        given = os.environ.get(DATA_VARIABLE)
        if not given:
            return None
        for folder in (*(Path(given) / name for name in self.folders), Path(given)):
            if any(os.path.exists(folder / name) for name in self.md5):
                return folder
        raise ResiduumError(
            f"{DATA_VARIABLE} names {given}, but neither that folder nor its folder "
            f"{self.folders[0]} holds the files of {self.title} ({next(iter(self.md5))} and others)"
        )

    def _downloaded(self, names: Sequence[str], reporter: Reporter) -> Path:
        """The cache folder of the set, after the missing files have been downloaded."""
        hint = f"set {DATA_VARIABLE} to a folder with the files of {self.title}"
        try:
            folder = cache_folder() / self.folders[0]
        except ResiduumError:
            raise ResiduumError(f"there is no home folder for downloads; {hint}") from None
        download(
            self.title,
            self.mirror,
            self.archives or {name: self.md5[name] for name in names},
            folder,
            hint=hint,
            contents=tuple(self.md5) if self.archives else (),
            reporter=reporter,
        )
        return folder

    def _check_published(self, path: Path, access: Access) -> None:
        found = md5_of(path)
        if found == self.md5[path.name]:
            return
        # The files of MNIST and Fashion-MNIST have equal names; only the sums differ.
        others = (other for other in DATASETS.values() if isinstance(other, PublishedSet))
        for other in others:
            if other is not self and found in other.md5.values():
                raise ResiduumError(
                    f"{path} is of {other.title}, not of {self.title}; put each set into a folder "
                    f"of its own, {self.folders[0]} and {other.folders[0]}"
                )
        modified = f"{path} is not the published file of {self.title} (its MD5 sum differs)"
        if not access.accepts_modified:
            raise ResiduumError(
                f"{modified}; fetch the file again, or accept it with --allow-modified or "
                f"{ALLOW_VARIABLE}=1"
            )
        access.reporter.say(f"{modified}; it is used all the same")


def _idx_set(
    title: str, folder: str, *, licence: str, mirror: str, md5: Sequence[str]
) -> PublishedSet:
    """A set of four IDX files.

    ``md5`` has the sums of training images, training labels, test images, test labels.
    """
    names = tuple(
        f"{split}-{kind}-ubyte.gz"
        for split in ("train", "t10k")
        for kind in ("images-idx3", "labels-idx1")
    )
    return PublishedSet(
        title=title,
        folders=(folder,),
        licence=licence,
        mirror=mirror,
        md5=dict(zip(names, md5, strict=True)),
        archives={},
        train_files=names[:2],
        test_files=names[2:],
        read=read_idx,
    )


_CIFAR_MIRROR = "https://www.cs.toronto.edu/~kriz/"

DATASETS: Mapping[str, DataSet] = {
    "digits": Digits(),
    "mnist": _idx_set(
        "MNIST",
        "mnist",
        licence="MNIST, commonly redistributed under CC BY-SA 3.0",
        mirror="https://ossci-datasets.s3.amazonaws.com/mnist/",
        md5=(
            "f68b3c2dcbeaaa9fbdd348bbdeb94873",
            "d53e105ee54ea40749a09fcbcd1e9432",
            "9fb629c4189551a2d022fa330f9573f3",
            "ec29112dd5afa0611ce80d1b7f02629c",
        ),
    ),
    "fashion": _idx_set(
        "Fashion-MNIST",
        "fashion-mnist",
        licence="Fashion-MNIST, MIT, Copyright (c) 2017 Zalando SE",
        mirror="http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        md5=(
            "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "25c81989df183df01b3e8a0aad5dffbe",
            "bef4ecab320f06d8554ea6380940ec79",
            "bb300cfdad3c16e7a12a480ee83cd310",
        ),
    ),
    "cifar10": PublishedSet(
        title="CIFAR-10",
        folders=("cifar10", "cifar-10-batches-bin"),
        licence="CIFAR-10 (A. Krizhevsky, 2009), no formal licence",
        mirror=_CIFAR_MIRROR,
        md5={
            "data_batch_1.bin": "5dd7e06a14cb22eb9f671a540d1b7c25",
            "data_batch_2.bin": "5ea93a67294ea407fff1d09f752e9692",
            "data_batch_3.bin": "942cd6a4bcdd0dd3c604fbe906cb4421",
            "data_batch_4.bin": "ae636b3ba5c66a11e91e8cb52e771fcb",
            "data_batch_5.bin": "53f37980c15c3d472c316c40844f3f0d",
            "test_batch.bin": "803d5f7f4d78ea53de84dbe85f74fb6d",
        },
        archives={"cifar-10-binary.tar.gz": "c32a1d4ab5d03f1284b67883e8d87530"},
        train_files=tuple(f"data_batch_{number}.bin" for number in range(1, 6)),
        test_files=("test_batch.bin",),
        read=partial(read_cifar, label_bytes=1, classes=10),
    ),
    "cifar100": PublishedSet(
        title="CIFAR-100",
        folders=("cifar100", "cifar-100-binary"),
        licence="CIFAR-100 (A. Krizhevsky, 2009), no formal licence",
        mirror=_CIFAR_MIRROR,
        md5={
            "train.bin": "6172c7755cfe09b2fe270c85cebc1b15",
            "test.bin": "4499cfba6c016c1be1438163640a0898",
        },
        archives={"cifar-100-binary.tar.gz": "03b5dce01913d631647c71ecec9e9cb8"},
        train_files=("train.bin",),
        test_files=("test.bin",),
        read=partial(read_cifar, label_bytes=2, classes=100),
    ),
}
