"""Images and spike trains for a network, from a known data set, a folder, or a file.

`load_images` is the one loader: every command that reads images calls it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from residuum.sw.data.archives import Archive
from residuum.sw.data.classes import CLASSES, Named, names_of
from residuum.sw.data.data_sets import DATASETS, PUBLISHED_ONLY, Access, dataset
from residuum.sw.data.folders import (
    ALL,
    HELD_OUT,
    SPLITS,
    TRAINING,
    Folder,
    PictureFile,
    common_shape,
    read_files,
)
from residuum.sw.data.pictures import Preparation, picture_suffixes
from residuum.sw.errors import ResiduumError
from residuum.sw.network.graph import IMAGE, Preprocessing, Shape

__all__ = ["ALL", "HELD_OUT", "SPLITS", "TRAINING", "Images", "Reader", "load_files", "load_images"]


NO_LABEL = -1


class Reader(Named, Protocol):
    """What is asked of a network: float and integer networks have it."""

    @property
    def name(self) -> str: ...

    @property
    def input_shape(self) -> Shape: ...

    @property
    def input(self) -> str: ...

    @property
    def preprocessing(self) -> Preprocessing | None: ...


@dataclass(frozen=True, eq=False)
class Images:
    """Images of one source, ready for a network.

    Attributes
    ----------
    source
        The source as the user names it.
    images
        uint8 (N, C, H, W); or spike trains, uint8 0 and 1, (N, S, C, H, W).
    labels
        int64 (N,), numbers of `class_names`, 0 .. classes-1; None without labels.
    class_names
        One for each class; empty if they are not known.
    names
        What to call each image: the file of a picture, else its number in the split.
    """

    source: str
    images: np.ndarray
    labels: np.ndarray | None
    class_names: tuple[str, ...]
    names: Sequence[str]

    def __len__(self) -> int:
        return len(self.images)

    def need_labels(self, what: str) -> np.ndarray:
        """The labels; ``ResiduumError`` without, ``what`` is the subject of the sentence."""
        if self.labels is None:
            raise ResiduumError(
                f"{what} needs labels, and {self.source} has none: put the pictures into a folder "
                "for each class, or give the .npz file an array 'labels'"
            )
        return self.labels

    def labels_or_unknown(self) -> np.ndarray:
        """The labels; `NO_LABEL`, which is no class, for images without."""
        return np.full(len(self), NO_LABEL) if self.labels is None else self.labels

    def class_name(self, label: int) -> str:
        """The name of a class, else its number."""
        return self.class_names[label] if label < len(self.class_names) else str(label)


def load_images(
    source: str,
    network: Reader | None = None,
    *,
    split: str = HELD_OUT,
    count: int | None = None,
    at_most: int | None = None,
    shape: Shape | None = None,
    preprocessing: Preprocessing | None = None,
    access: Access = PUBLISHED_ONLY,
) -> Images:
    """The first images of a split of a source.

    Parameters
    ----------
    source
        Name of a known data set; or path of a folder with a sub-folder of pictures per class, of a
        folder of pictures, of a picture, or of an .npz file (`residuum.sw.data.archives`).
    network
        For whom the images are: sets ``shape`` and ``preprocessing`` unless they are given, and
        the numbers of the classes, by their names.
    split
        "held-out", "training" or "all".
    count
        So many images; None for all.
    at_most
        So many images, or fewer if there are not as many.
    shape
        (C, H, W) of the images; None: as the source has them, in which every picture must have the
        same size.
    preprocessing
        How a picture is scaled, cut and ordered; None: stretched to ``shape``.

    Raises
    ------
    ResiduumError
        In one sentence that names the file: if something cannot be read, if there are fewer than
        ``count`` images, or if images, labels or classes do not fit the network.
    """
    if split not in SPLITS:
        raise ResiduumError(f"there is no split {split!r}; there are {', '.join(SPLITS)}")
    if network is not None:
        shape = shape or network.input_shape
        preprocessing = preprocessing or network.preprocessing
    wanted = _Wanted(source, split, count, at_most, shape, preprocessing, access)
    found = _open(source)
    if isinstance(found, Archive):
        images = wanted.of_archive(found, network)
    elif network is not None and network.input != IMAGE:
        raise ResiduumError(
            f"network {network.name!r} reads spike trains; give an .npz file with an array "
            f"'trains', not {source}"
        )
    elif isinstance(found, Folder):
        images = wanted.of_files(found.files(split), found.class_names, divided=found.divided)
    elif isinstance(found, PictureFile):
        images = wanted.of_files([found], (), divided=True)
    else:
        images = wanted.of_data_set(found)
    return images if network is None else _for_network(images, network, access)


def load_files(
    paths: Sequence[str | Path], network: Reader, access: Access = PUBLISHED_ONLY
) -> Images:
    """Pictures in files, without labels, in the given order; as `load_images`."""
    if network.input != IMAGE:
        raise ResiduumError(f"network {network.name!r} reads spike trains, not pictures")
    files = [PictureFile(Path(path), str(path)) for path in paths]
    preparation = Preparation.of(network.input_shape, network.preprocessing)
    images = read_files(files, preparation, access.reporter)
    return Images("the pictures", images, None, names_of(network), [file.name for file in files])


def _open(source: str) -> Archive | Folder | PictureFile | str:
    """The source; the name of a known data set as it is."""
    if source in DATASETS:
        return source
    path = Path(source)
    # An empty text would be the current folder.
    if source and path.is_dir():
        return Folder(path)
    if path.suffix.lower() == ".npz":
        return Archive(path)
    if path.suffix.lower() in picture_suffixes():
        return PictureFile(path, path.name)
    known = ", ".join(DATASETS)
    if source and path.exists():
        raise ResiduumError(
            f"{source} is no data: that is a known data set ({known}), a folder of pictures, a "
            "picture, or an .npz file"
        )
    raise ResiduumError(f"there is no data set, folder or file {source!r}; known sets are {known}")


@dataclass(frozen=True)
class _Wanted:
    """What `load_images` was asked for."""

    source: str
    split: str
    count: int | None
    at_most: int | None
    shape: Shape | None
    preprocessing: Preprocessing | None
    access: Access

    def of_data_set(self, name: str) -> Images:
        source = dataset(name)
        parts = []
        if self.split in (HELD_OUT, ALL):
            parts.append(source.test(self.access))
        if self.split in (TRAINING, ALL):
            parts.append(source.train(self.access))
        images, labels = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        return self._prepared(images, labels, CLASSES[name])

    def of_archive(self, archive: Archive, network: Reader | None) -> Images:
        if network is not None and archive.spikes != (network.input != IMAGE):
            kinds = ("pictures", "spike trains")
            raise ResiduumError(
                f"network {network.name!r} reads {kinds[not archive.spikes]}, but {self.source} "
                f"holds {kinds[archive.spikes]}"
            )
        images, labels = archive.read(self.split, self.shape)
        self._tell_split(archive.divided)
        if not archive.spikes:
            return self._prepared(images, labels, archive.class_names)
        if self.shape is not None and images.shape[2:] != self.shape:
            raise ResiduumError(
                f"the spike trains of {self.source} have the shape {images.shape[2:]} in a step; "
                f"the network reads {self.shape}"
            )
        number = self._number(len(images))
        return self._images(images[:number], labels, archive.class_names)

    def of_files(
        self, files: Sequence[PictureFile], class_names: tuple[str, ...], *, divided: bool
    ) -> Images:
        self._tell_split(divided)
        files = files[: self._number(len(files))]
        preparation = self._preparation(self.shape or common_shape(files))
        images = read_files(files, preparation, self.access.reporter)
        labels = [-1 if file.label is None else file.label for file in files]
        return Images(
            self.source,
            images,
            None if -1 in labels else np.array(labels, np.int64),
            class_names,
            [file.name for file in files],
        )

    def _prepared(
        self, images: np.ndarray, labels: np.ndarray | None, class_names: tuple[str, ...]
    ) -> Images:
        images = images[: self._number(len(images))]
        shape = self.shape or images.shape[1:]
        preparation = self._preparation((3 if shape[0] == 4 else shape[0], *shape[1:]))
        if not preparation.channels and self.shape not in (None, images.shape[1:]):
            raise ResiduumError(
                f"the images of {self.source} have the shape {images.shape[1:]}; the network reads "
                f"{self.shape}"
            )
        return self._images(preparation.arrays(images), labels, class_names)

    def _images(
        self, images: np.ndarray, labels: np.ndarray | None, class_names: tuple[str, ...]
    ) -> Images:
        labels = None if labels is None else labels[: len(images)]
        numbers = [str(number) for number in range(len(images))]
        return Images(self.source, images, labels, class_names, numbers)

    def _preparation(self, shape: Shape) -> Preparation:
        """For ``self.shape``, else for pictures of the raw ``shape``."""
        if self.shape is not None:
            return Preparation.of(self.shape, self.preprocessing)
        wanted = self.preprocessing or Preprocessing()
        channels = Preparation.of(shape, wanted).channels
        return Preparation(channels, wanted.size, wanted.crop, wanted.interpolation)

    def _number(self, there: int) -> int:
        if self.count is not None and self.count > there:
            kind = "" if self.split == ALL else f"{self.split} "
            raise ResiduumError(
                f"{self.count} images are wanted, but {self.source} has {there} {kind}images"
            )
        return min(number for number in (self.count, self.at_most, there) if number is not None)

    def _tell_split(self, divided: bool) -> None:
        if not divided and self.split == HELD_OUT:
            self.access.reporter.say(
                f"{self.source} is not divided into training and held-out images: a fifth of it "
                "is held out, always the same (--split all takes all)"
            )


def _for_network(images: Images, network: Reader, access: Access) -> Images:
    """With labels in the numbers of the network's classes, and its names of them.

    Classes are told by their names, if network and source have names in common; else by their
    order.
    """
    own, given, labels = names_of(network), images.class_names, images.labels
    if labels is None:
        return _with(images, labels, own)
    if given and own and set(given) & set(own):
        unknown = [name for name in given if name not in own]
        if unknown:
            raise ResiduumError(
                f"{images.source} has the class {unknown[0]!r}, which network {network.name!r} "
                f"does not know; its classes are {_list(own)}"
            )
        places = np.array([own.index(name) for name in given], np.int64)
        return _with(images, places[labels], own)
    if given and len(given) != network.classes:
        raise ResiduumError(
            f"{images.source} has {len(given)} classes ({_list(given)}), but network "
            f"{network.name!r} tells {network.classes} apart"
        )
    if labels.max() >= network.classes:
        raise ResiduumError(
            f"{images.source} has the label {labels.max()}, but network {network.name!r} tells "
            f"{network.classes} classes apart: 0 .. {network.classes - 1}"
        )
    if given and own:
        access.reporter.say(
            f"the classes of {images.source} ({_list(given)}) have other names than those of "
            f"network {network.name!r} ({_list(own)}); they are taken in this order"
        )
    return _with(images, labels, own or given)


def _with(images: Images, labels: np.ndarray | None, names: tuple[str, ...]) -> Images:
    return Images(images.source, images.images, labels, names, images.names)


def _list(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
