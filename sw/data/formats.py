"""The file formats of the known data sets.

A reader raises ``ResiduumError`` with the path if a file is missing, truncated, or of another
format.
"""

import gzip
import math
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from residuum.sw.errors import ResiduumError

DATA_VARIABLE = "RESIDUUM_DATA"
# Magic number and dimensions of the two kinds of IDX files.
_IDX_IMAGES = (2051, 3)
_IDX_LABELS = (2049, 1)
_IDX_SIZE = (28, 28)
_IDX_CLASSES = 10
_CIFAR_SHAPE = (3, 32, 32)

Split = tuple[np.ndarray, np.ndarray]  # images, labels


def read_idx(title: str, paths: Sequence[Path]) -> Split:
    """Images and labels in MNIST's format: two gzip-compressed IDX files."""
    images_file, labels_file = paths
    images = _idx_array(images_file, "images", *_IDX_IMAGES)
    labels = _idx_array(labels_file, "labels", *_IDX_LABELS)
    if len(images) != len(labels):
        raise ResiduumError(
            f"{images_file} and {labels_file.name} do not belong together: "
            f"{len(images)} images and {len(labels)} labels"
        )
    if images.shape[1:] != _IDX_SIZE:
        raise ResiduumError(
            f"{images_file} holds images of {images.shape[1]} x {images.shape[2]} pixels; "
            f"those of {title} have {_IDX_SIZE[0]} x {_IDX_SIZE[1]}"
        )
    _check_labels(labels_file, labels, title, _IDX_CLASSES)
    return images[:, np.newaxis], labels.astype(np.int64)


def read_cifar(title: str, paths: Sequence[Path], *, label_bytes: int, classes: int) -> Split:
    """Images and labels in CIFAR's binary format, in the order of the files.

    A file is a sequence of records: ``label_bytes`` labels, then 3 x 32 x 32 pixels. The last label
    is used: CIFAR-100 has a coarse and a fine label.
    """
    parts = [_cifar_records(path, title, label_bytes, classes) for path in paths]
    images = np.concatenate([records[:, label_bytes:] for records in parts])
    labels = np.concatenate([records[:, label_bytes - 1] for records in parts])
    return images.reshape(-1, *_CIFAR_SHAPE), labels.astype(np.int64)


def _idx_array(path: Path, kind: str, magic: int, dimensions: int) -> np.ndarray:
    try:
        raw = gzip.decompress(_content(path))
    except (gzip.BadGzipFile, EOFError, zlib.error):
        raise ResiduumError(f"{path} cannot be unpacked; fetch the file again") from None
    if raw[:4] != struct.pack(">I", magic):
        raise ResiduumError(f"{path} is not an IDX file of {kind}; fetch the file again")
    header = 4 + 4 * dimensions
    shape = struct.unpack(f">{dimensions}I", raw[4:header]) if len(raw) > header else ()
    if not shape or len(raw) != header + math.prod(shape):
        raise ResiduumError(f"{path} is damaged: its length does not match; fetch the file again")
    return np.frombuffer(raw, np.uint8, offset=header).reshape(shape).copy()


def _cifar_records(path: Path, title: str, label_bytes: int, classes: int) -> np.ndarray:
    raw, size = _content(path), label_bytes + math.prod(_CIFAR_SHAPE)
    if not raw or len(raw) % size:
        raise ResiduumError(
            f"{path} is damaged: it does not hold whole records of {size} bytes; "
            "fetch the file again"
        )
    records = np.frombuffer(raw, np.uint8).reshape(-1, size)
    _check_labels(path, records[:, label_bytes - 1], title, classes)
    return records


def _check_labels(path: Path, labels: np.ndarray, title: str, classes: int) -> None:
    if labels.max() >= classes:
        raise ResiduumError(
            f"{path} is not of {title}: it has the label {labels.max()}; fetch the file again"
        )


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise ResiduumError(
            f"{path} is missing; set {DATA_VARIABLE} to a folder that holds it"
        ) from None
    except OSError as error:
        raise ResiduumError(f"{path} cannot be read: {error.strerror}") from None
