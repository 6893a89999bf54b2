"""A folder of pictures as a data set: a sub-folder per class, or pictures without labels.

::

    photos/cat/1.png        photos/train/cat/1.png      photos/1.png
    photos/dog/2.jpg        photos/test/dog/2.jpg       photos/2.jpg

The classes are numbered in the order of their names, as torchvision's `ImageFolder` does. Without
`train` and `test` (or `val`), a fifth of the pictures of each class is held out; the digest of a
picture's name decides, so the choice is the same on every machine, and new pictures move no others.
Pictures are read in the order of their digests, so the first N are of all classes.
"""

import hashlib
import os
import unicodedata
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from residuum.sw.data.pictures import Preparation, picture_suffixes, quiet, shape_of
from residuum.sw.errors import ResiduumError
from residuum.sw.files import told
from residuum.sw.network.graph import Shape
from residuum.sw.progress import SILENT, Reporter

HELD_OUT, TRAINING, ALL = "held-out", "training", "all"
SPLITS = (HELD_OUT, TRAINING, ALL)

# Names of the folders of a split, the preferred first.
_SPLIT_FOLDERS = {TRAINING: ("train", "training"), HELD_OUT: ("test", "val", "valid", "validation")}
# One of so many pictures is held out.
_HELD_OUT_SHARE = 5
# Pictures between two reports of progress.
_PORTION = 64
# Pictures that are looked at to find out size and colours.
_SAMPLE = 32


@dataclass(frozen=True)
class PictureFile:
    """A picture; ``name`` is its path in the folder, ``label`` None or the number of its class."""

    path: Path
    name: str
    label: int | None = None

    @property
    def digest(self) -> bytes:
        """Of the name, in one Unicode form: file systems differ."""
        return digest_of_name(self.name)


def digest_of_name(name: str) -> bytes:
    """What decides on a split and on an order."""
    return hashlib.sha256(unicodedata.normalize("NFC", name).encode(errors="replace")).digest()


def is_held_out(names: Sequence[str]) -> np.ndarray:
    """Which of the pictures of one class are held out, bool (N,).

    A fifth of all digests means held out. Of two pictures or more, at least one is held out, and at
    least one is not.
    """
    digests = [digest_of_name(name) for name in names]
    held_out = np.array([digest[0] * _HELD_OUT_SHARE < 256 for digest in digests], bool)
    if len(names) and not held_out.any():
        held_out[min(range(len(names)), key=digests.__getitem__)] = True
    if len(names) > 1 and held_out.all():
        held_out[max(range(len(names)), key=digests.__getitem__)] = False
    return held_out


class Folder:
    """The pictures of a folder; making one reads names only.

    Attributes
    ----------
    class_names
        Names of the sub-folders in ascending order; empty without labels.
    divided
        Whether the folder itself says which pictures are held out.

    Raises
    ------
    ResiduumError
        If the folder cannot be read, has no pictures, pictures beside the folders of classes, or a
        class without pictures.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        below, _ = _entries(folder)
        known = {name for names in _SPLIT_FOLDERS.values() for name in names}
        self.divided = bool(below) and {path.name.lower() for path in below} <= known
        roots = below if self.divided else [folder]
        classes = {path.name for root in roots for path in _entries(root)[0]}
        self.class_names = tuple(sorted(classes))
        self._undivided = [] if self.divided else self._pictures_of(folder)
        if not self.divided and not self._undivided:
            raise ResiduumError(_no_pictures(folder))

    def files(self, split: str) -> list[PictureFile]:
        """The pictures of a split, in a fixed mixed order.

        Raises ``ResiduumError`` if there are none.
        """
        if self.divided:
            roots = [self._root(each) for each in _SPLIT_FOLDERS if split in (each, ALL)]
            found = [file for root in roots if root for file in self._pictures_of(root)]
        else:
            found = self._undivided
            if split != ALL:
                held_out = self._held_out
                found = [f for f in found if (f.name in held_out) == (split == HELD_OUT)]
        if not found:
            names = " or ".join(_SPLIT_FOLDERS.get(split, ()))
            raise ResiduumError(
                f"the folder {self._folder} has no {split} pictures"
                + (f", in a folder {names}" if self.divided and names else "")
            )
        return sorted(found, key=lambda file: file.digest)

    def _root(self, split: str) -> Path | None:
        """The folder of a split, if there is one."""
        below = {path.name.lower(): path for path in _entries(self._folder)[0]}
        return next((below[name] for name in _SPLIT_FOLDERS[split] if name in below), None)

    @cached_property
    def _held_out(self) -> frozenset[str]:
        """Names of the held-out pictures, if the folder itself does not say."""
        by_class: dict[int | None, list[str]] = {}
        for file in self._undivided:
            by_class.setdefault(file.label, []).append(file.name)
        return frozenset(
            name
            for names in by_class.values()
            for name, held_out in zip(names, is_held_out(names), strict=True)
            if held_out
        )

    def _pictures_of(self, root: Path) -> list[PictureFile]:
        """The pictures of a folder with a sub-folder per class, or without any."""
        below, pictures = _entries(root)
        if not below:
            return [self._file(path, None) for path in pictures]
        if pictures:
            raise ResiduumError(
                f"{root} has pictures, such as {pictures[0].name}, beside the folder "
                f"{below[0].name}; put them into the folders of their classes"
            )
        found = []
        for folder in below:
            label = self.class_names.index(folder.name)
            files = [self._file(path, label) for path in _pictures_below(folder)]
            if not files:
                raise ResiduumError(f"{_no_pictures(folder)}; put some into it, or remove it")
            found += files
        return found

    def _file(self, path: Path, label: int | None) -> PictureFile:
        return PictureFile(path, path.relative_to(self._folder).as_posix(), label)


def read_files(
    files: Sequence[PictureFile], preparation: Preparation, reporter: Reporter = SILENT
) -> np.ndarray:
    """The pictures as uint8 (N, C, H, W), decoded on all cores.

    Raises ``ResiduumError`` if a picture cannot be read, or has another size than the first where
    the preparation leaves the sizes as they are.
    """
    first = preparation.file(files[0].path)
    pictures = np.empty((len(files), *first.shape), np.uint8)

    def place(index: int) -> None:
        picture = preparation.file(files[index].path)
        if picture.shape != first.shape:
            raise ResiduumError(
                f"{files[index].path} has {_size(picture)} pixels, but {files[0].path} has "
                f"{_size(first)}; say with --size to which size pictures are scaled"
            )
        pictures[index] = picture

    with (
        quiet(),
        ThreadPoolExecutor(os.cpu_count() or 1) as threads,
        reporter.task("reading pictures", total=len(files), unit="pictures") as task,
    ):
        for start in range(0, len(files), _PORTION):
            portion = range(start, min(start + _PORTION, len(files)))
            for _ in threads.map(place, portion):
                pass
            task.advance(len(portion))
    return pictures


def common_shape(files: Sequence[PictureFile]) -> Shape:
    """(C, H, W) of the first pictures: the size of the first, and 3 channels if any has colours."""
    shapes = [shape_of(file.path) for file in files[:_SAMPLE]]
    return max(shape[0] for shape in shapes), *shapes[0][1:]


def _size(picture: np.ndarray) -> str:
    return f"{picture.shape[1]} x {picture.shape[2]}"


def _entries(folder: Path) -> tuple[list[Path], list[Path]]:
    """Sub-folders and pictures of a folder, sorted; without hidden ones."""
    folders, pictures = [], []
    with told(folder, "read"), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith((".", "__MACOSX")):
                continue
            if entry.is_dir():
                folders.append(folder / entry.name)
            elif os.path.splitext(entry.name)[1].lower() in picture_suffixes():
                pictures.append(folder / entry.name)
    return sorted(folders), sorted(pictures)


def _no_pictures(folder: Path) -> str:
    others = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    other = f" of a format that Pillow reads ({others[0]} is none)" if others else ""
    return f"the folder {folder} has no pictures{other}"


def _pictures_below(folder: Path) -> list[Path]:
    """Pictures in a folder and in all folders below it."""
    folders, pictures = _entries(folder)
    return pictures + [path for below in folders for path in _pictures_below(below)]
