"""Image sets: the built-in 8x8 digits and the IDX files of MNIST.

Images are always uint8 (N, C, H, W) with u = 0..255 and no further scaling; labels are int64 (N,).
"""

import gzip
import hashlib
import os
import struct
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sw.errors import ResiduumError

DATA_VARIABLE = "RESIDUUM_DATA"
MNIST_MIRROR = "https://ossci-datasets.s3.amazonaws.com/mnist/"
# The published MD5 sums of the four original files.
MNIST_MD5 = {
    "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
    "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
    "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
    "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
}
DIGITS_HELD_OUT = 360
_IDX_IMAGES = 2051
_IDX_LABELS = 2049


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


def load_dataset(name: str) -> ImageSet:
    """The data set called ``name`` ("digits" or "mnist"); ``ResiduumError`` if it is unknown."""
    loaders: dict[str, Callable[[], ImageSet]] = {"digits": load_digits, "mnist": load_mnist}
    if name not in loaders:
        raise ResiduumError(f"there is no data set {name!r}; the known ones are digits and mnist")
    return loaders[name]()


def load_digits() -> ImageSet:
    """Scikit-learn's 1,797 handwritten digits, 8x8, as 8-bit pixels.

    The grey values 0..16 become ``u = round(v * 255 / 16)``. Held out: 360 images, the same share
    of each class, drawn with the fixed seed 0.
    """
    from sklearn.datasets import load_digits as sklearn_digits
    from sklearn.model_selection import train_test_split

    values, labels = sklearn_digits(return_X_y=True)
    images = np.rint(values * 255 / 16).astype(np.uint8).reshape(-1, 1, 8, 8)
    train_images, test_images, train_labels, test_labels = train_test_split(
        images, labels.astype(np.int64), test_size=DIGITS_HELD_OUT, stratify=labels, random_state=0
    )
    return ImageSet("digits", train_images, train_labels, test_images, test_labels)


def load_mnist() -> ImageSet:
    """MNIST from the folder in ``RESIDUUM_DATA``, else from the cache, else downloaded.

    Raises ``ResiduumError`` if a file is missing or damaged, or if there is no network.
    """
    folder = _mnist_folder()
    arrays = []
    for split in ("train", "t10k"):
        images = read_idx(folder / f"{split}-images-idx3-ubyte.gz")
        labels = read_idx(folder / f"{split}-labels-idx1-ubyte.gz")
        if images.ndim != 3 or labels.ndim != 1 or len(images) != len(labels):
            raise ResiduumError(
                f"the {split} files of MNIST in {folder} do not belong together: "
                f"{len(images)} images and {len(labels)} labels"
            )
        arrays += [images[:, np.newaxis], labels.astype(np.int64)]
    return ImageSet("mnist", *arrays)


def read_idx(path: Path) -> np.ndarray:
    """A gzip-compressed IDX file as uint8: images (N, rows, columns) or labels (N,).

    Raises ``ResiduumError`` naming the file if it is missing, cut or not of this format.
    """
    try:
        raw = gzip.decompress(path.read_bytes())
    except FileNotFoundError:
        raise ResiduumError(
            f"{path} is missing; set {DATA_VARIABLE} to a folder with the four MNIST files"
        ) from None
    except (OSError, EOFError, zlib.error):
        raise ResiduumError(f"{path} cannot be unpacked; fetch the file again") from None
    return _parse_idx(raw, path)


def _parse_idx(raw: bytes, path: Path) -> np.ndarray:
    magic = struct.unpack(">I", raw[:4])[0] if len(raw) >= 4 else None
    dimensions = {_IDX_IMAGES: 3, _IDX_LABELS: 1}.get(magic or 0)
    if dimensions is None:
        raise ResiduumError(f"{path} is not an IDX file of images or labels; fetch the file again")
    header = 4 + 4 * dimensions
    shape = struct.unpack(f">{dimensions}I", raw[4:header]) if len(raw) >= header else ()
    if not shape or len(raw) != header + int(np.prod(shape)):
        raise ResiduumError(f"{path} is damaged: its length does not match; fetch the file again")
    return np.frombuffer(raw, np.uint8, offset=header).reshape(shape).copy()


def _mnist_folder() -> Path:
    """The folder that holds the four files; downloads them into the cache if need be."""
    given = os.environ.get(DATA_VARIABLE)
    if given:
        for folder in (Path(given) / "mnist", Path(given)):
            if any((folder / name).exists() for name in MNIST_MD5):
                return folder
        raise ResiduumError(
            f"{DATA_VARIABLE} names {given}, but neither that folder nor its folder mnist holds "
            f"the MNIST files (train-images-idx3-ubyte.gz and three more)"
        )
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "residuum" / "mnist"
    missing = [name for name in MNIST_MD5 if not (cache / name).exists()]
    if missing:
        download(missing, cache)
    return cache


def download(names: list[str], folder: Path) -> None:
    """Fetch MNIST files into ``folder``, each checked and renamed into place only when whole."""
    from rich.console import Console
    from rich.progress import Progress

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        raise ResiduumError(
            f"the folder {folder} for downloads cannot be made; "
            f"set {DATA_VARIABLE} to a folder with the four MNIST files"
        ) from None
    with Progress(console=Console(stderr=True), transient=True) as progress:
        for name in names:
            task = progress.add_task(f"download {name}", total=None)
            _fetch(
                name,
                folder,
                lambda done, total, t=task: progress.update(  # type: ignore[misc]
                    t, completed=done, total=total
                ),
            )


def _fetch(name: str, folder: Path, report: Callable[[int, int | None], None]) -> None:
    digest = hashlib.md5(usedforsecurity=False)
    part = folder / f"{name}.{os.getpid()}.part"
    try:
        with urllib.request.urlopen(MNIST_MIRROR + name, timeout=30) as reply:
            total = int(reply.headers.get("Content-Length") or 0) or None
            done = 0
            with part.open("wb") as out:
                while block := reply.read(1 << 16):
                    out.write(block)
                    digest.update(block)
                    done += len(block)
                    report(done, total)
        if digest.hexdigest() != MNIST_MD5[name]:
            raise ResiduumError(f"the download of {name} arrived damaged; try again")
        part.replace(folder / name)
    except (urllib.error.URLError, OSError):
        raise ResiduumError(
            f"{name} cannot be downloaded; set {DATA_VARIABLE} to a folder with the MNIST files"
        ) from None
    finally:
        part.unlink(missing_ok=True)
