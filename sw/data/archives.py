"""An .npz file as a data set: pictures or spike trains as arrays.

========================  ======================================================================
``images``                uint8 (N, H, W), (N, C, H, W) or (N, H, W, C); C = 1, 3, or 4 with alpha
``labels``                integers (N,), 0 .. classes-1; may be missing
``classes``               names of the classes, text; may be missing
``train_images``,         the training images, if ``images`` are all held out; else a fifth of
``train_labels``          ``images`` is held out, which the digests of their numbers decide
``trains``                in place of ``images``: spikes, bool or 0 and 1, (N, steps, C, H, W)
========================  ======================================================================
"""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from residuum.sw.data.folders import ALL, HELD_OUT, TRAINING, is_held_out
from residuum.sw.errors import ResiduumError
from residuum.sw.files import told
from residuum.sw.network.graph import Shape

IMAGES, TRAINS, LABELS, CLASSES = "images", "trains", "labels", "classes"
_TRAINING = "train_"


class Archive:
    """The arrays of an .npz file; making one reads names of arrays only.

    Attributes
    ----------
    class_names
        From ``classes``; empty without it.
    spikes
        Whether the file holds spike trains.
    divided
        Whether the file itself says which images are held out.

    Raises
    ------
    ResiduumError
        If the file is missing, damaged, or holds neither pictures nor spike trains.
    """

    def __init__(self, path: Path):
        self._path = path
        arrays = self._read()
        self.spikes = TRAINS in arrays
        self._kind = TRAINS if self.spikes else IMAGES
        if self._kind not in arrays:
            raise ResiduumError(
                f"{path} holds no array {IMAGES!r} (pictures) or {TRAINS!r} (spike trains)"
            )
        self.divided = f"{_TRAINING}{self._kind}" in arrays
        self.class_names = self._names() if CLASSES in arrays else ()

    def read(self, split: str, shape: Shape | None) -> tuple[np.ndarray, np.ndarray | None]:
        """Images uint8 (N, C, H, W), or spike trains uint8 (N, S, C, H, W), and labels int64 (N,).

        ``shape``, (C, H, W), decides where the order of the axes could be either. Labels are None
        if the file has none. Raises ``ResiduumError`` if an array has another type or shape.
        """
        if not self.divided:
            images, labels = self._part("", shape)
            if split == ALL:
                return images, labels
            chosen = self._held_out(labels, len(images))
            chosen = chosen if split == HELD_OUT else ~chosen
            return images[chosen], None if labels is None else labels[chosen]
        parts = [
            self._part(prefix, shape)
            for each, prefix in ((HELD_OUT, ""), (TRAINING, _TRAINING))
            if split in (each, ALL)
        ]
        if len({images.shape[1:] for images, _ in parts}) > 1:
            raise ResiduumError(
                f"{self._path} has held-out and training images of different shapes"
            )
        found = [labels for _, labels in parts if labels is not None]
        labels = np.concatenate(found) if len(found) == len(parts) else None
        return np.concatenate([images for images, _ in parts]), labels

    @staticmethod
    def _held_out(labels: np.ndarray | None, count: int) -> np.ndarray:
        """Which images are held out, bool (N,)."""
        chosen = np.zeros(count, bool)
        kinds = np.zeros(count, np.int64) if labels is None else labels
        for label in np.unique(kinds):
            places = np.flatnonzero(kinds == label)
            chosen[places] = is_held_out([str(place) for place in places])
        return chosen

    def _part(self, prefix: str, shape: Shape | None) -> tuple[np.ndarray, np.ndarray | None]:
        name = prefix + self._kind
        arrays = self._read(name, prefix + LABELS)
        images = arrays[name]
        images = self._trains(name, images) if self.spikes else self._images(name, images, shape)
        if not len(images):
            raise ResiduumError(f"{self._path} has no images in its array {name!r}")
        labels = arrays.get(prefix + LABELS)
        return images, None if labels is None else self._labels(prefix, labels, name, len(images))

    def _images(self, name: str, images: np.ndarray, shape: Shape | None) -> np.ndarray:
        where = f"the array {name!r} of {self._path}"
        if images.dtype != np.uint8:
            raise ResiduumError(f"{where} holds {images.dtype}; it must be uint8, 0 .. 255")
        if images.ndim == 3:
            images = images[:, np.newaxis]
        if images.ndim != 4 or 0 in images.shape[1:]:
            raise ResiduumError(
                f"{where} has the shape {images.shape}; it must be (N, H, W), (N, C, H, W) or "
                "(N, H, W, C)"
            )
        first = self._channels_first(where, images.shape[1:], shape)
        return images if first else np.ascontiguousarray(images.transpose(0, 3, 1, 2))

    @staticmethod
    def _channels_first(where: str, found: tuple[int, ...], shape: Shape | None) -> bool:
        last = (found[2], *found[:2])
        if shape in (found, last):
            return found == shape
        if shape is not None and (found[0] == shape[0]) != (last[0] == shape[0]):
            return found[0] == shape[0]
        # Four channels are possible, but four rows or columns are more likely.
        fits = [(size in (1, 3)) * 2 + (size == 4) for size in (found[0], last[0])]
        if fits[0] == fits[1] and found != last or not any(fits):
            raise ResiduumError(
                f"{where} has the shape (N, {', '.join(map(str, found))}), in which the channels "
                "are not to be recognised; store it as (N, C, H, W) with 1 or 3 channels"
            )
        return fits[0] > fits[1]

    def _trains(self, name: str, trains: np.ndarray) -> np.ndarray:
        where = f"the array {name!r} of {self._path}"
        if trains.dtype not in (np.dtype(bool), np.dtype(np.uint8)):
            raise ResiduumError(f"{where} holds {trains.dtype}; it must be bool, or uint8 0 and 1")
        if trains.ndim != 5 or 0 in trains.shape[1:]:
            raise ResiduumError(
                f"{where} has the shape {trains.shape}; it must be (N, steps, C, H, W)"
            )
        trains = trains.astype(np.uint8)
        if trains.max(initial=0) > 1:
            raise ResiduumError(f"{where} holds {trains.max()}; a spike train is 0 and 1")
        return trains

    def _labels(self, prefix: str, labels: np.ndarray, name: str, count: int) -> np.ndarray:
        where = f"the array {prefix + LABELS!r} of {self._path}"
        if labels.shape != (count,):
            raise ResiduumError(
                f"{where} has the shape {labels.shape}, but {name!r} has {count} images"
            )
        if not np.issubdtype(labels.dtype, np.integer):
            raise ResiduumError(f"{where} holds {labels.dtype}; it must be whole numbers")
        classes = len(self.class_names)
        if labels.min() < 0 or (classes and labels.max() >= classes):
            outside = labels.min() if labels.min() < 0 else labels.max()
            raise ResiduumError(
                f"{where} holds {outside}; labels are 0 .. "
                + (f"{classes - 1}, one for each of {CLASSES!r}" if classes else "classes-1")
            )
        return labels.astype(np.int64)

    def _names(self) -> tuple[str, ...]:
        names = self._read(CLASSES)[CLASSES]
        if names.ndim != 1 or names.dtype.kind != "U":
            raise ResiduumError(f"the array {CLASSES!r} of {self._path} must be a list of texts")
        return tuple(names.tolist())

    def _read(self, *names: str) -> dict[str, Any]:
        """The arrays of these names that there are; without names, all names."""
        with told(self._path, "read"), self._path.open("rb") as file:
            try:
                if not zipfile.is_zipfile(file):
                    raise ValueError
                file.seek(0)
                with np.load(file, allow_pickle=False) as archive:
                    wanted = [name for name in names or archive.files if name in archive.files]
                    return {name: archive[name] if names else None for name in wanted}
            except OSError:
                raise
            except Exception as error:
                # zipfile, zlib and numpy raise many kinds of exceptions on damaged files.
                fault = "is no .npz file with arrays, or it is damaged"
                if "allow_pickle" in str(error):
                    fault = "holds Python objects; save arrays of numbers and of text only"
                raise ResiduumError(f"{self._path} {fault}") from None
