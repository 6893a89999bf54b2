"""Image sets: the fixed split of the digits, IDX files, folders and downloads."""

import gzip
import hashlib
import io
import struct
import urllib.error
from pathlib import Path

import numpy as np
import pytest

from sw import data
from sw.errors import ResiduumError

NAMES = list(data.MNIST_MD5)


def packed(content: bytes) -> bytes:
    """gzip without the time of day: the same bytes and test names in every process."""
    return gzip.compress(content, mtime=0)


def idx(array: np.ndarray) -> bytes:
    """The array as the original IDX files hold it, compressed."""
    magic = {3: 2051, 1: 2049}[array.ndim]
    return packed(struct.pack(f">{array.ndim + 1}I", magic, *array.shape) + array.tobytes())


def mnist_files(images: int = 3) -> dict[str, bytes]:
    """Four small files with the names of MNIST."""
    pixels = np.arange(images * 28 * 28, dtype=np.uint32).astype(np.uint8).reshape(images, 28, 28)
    labels = np.arange(images, dtype=np.uint8)
    return {name: idx(pixels if "images" in name else labels) for name in NAMES}


def write(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def test_digits_split_is_fixed_and_stratified() -> None:
    digits = data.load_digits()
    assert digits.train_images.shape == (1437, 1, 8, 8)
    assert digits.test_images.shape == (360, 1, 8, 8)
    assert digits.test_images.dtype == np.uint8
    assert (digits.train_images.min(), digits.train_images.max()) == (0, 255)
    assert set(np.bincount(digits.test_labels)) <= {34, 35, 36, 37}
    assert np.array_equal(digits.test_images, data.load_digits().test_images)


def test_digits_hold_no_image_back_twice() -> None:
    """No held-out image is also trained on."""
    digits = data.load_digits()
    trained = {image.tobytes() for image in digits.train_images}
    assert not any(image.tobytes() in trained for image in digits.test_images)


def test_digits_pixels_are_scaled_grey_values() -> None:
    values = np.unique(data.load_digits().train_images)
    assert values.tolist() == [round(v * 255 / 16) for v in range(17)]


@pytest.mark.parametrize("subfolder", ["", "mnist"])
def test_mnist_folder_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, subfolder: str
) -> None:
    write(tmp_path / subfolder, mnist_files())
    monkeypatch.setenv(data.DATA_VARIABLE, str(tmp_path))
    mnist = data.load_dataset("mnist")
    assert mnist.train_images.shape == (3, 1, 28, 28)
    assert mnist.test_images[0, 0, 0, :3].tolist() == [0, 1, 2]
    assert mnist.test_labels.tolist() == [0, 1, 2]


def test_folder_without_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(data.DATA_VARIABLE, str(tmp_path))
    with pytest.raises(ResiduumError, match="RESIDUUM_DATA names .* but neither that folder nor"):
        data.load_mnist()


WHOLE = idx(np.zeros((2, 28, 28), np.uint8))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "is missing; set RESIDUUM_DATA"),
        (b"", "is not an IDX file"),
        (b"not compressed", "cannot be unpacked"),
        (WHOLE[:-20], "cannot be unpacked"),
        (packed(b"abcdefgh"), "is not an IDX file"),
        (packed(struct.pack(">2I", 2051, 2)), "is damaged: its length does not match"),
        (packed(gzip.decompress(WHOLE)[:-1]), "is damaged: its length does not match"),
        (idx(np.zeros(2, np.uint8)), "do not belong together"),
    ],
)
def test_damaged_file_gets_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None, message: str
) -> None:
    files = mnist_files()
    name = "t10k-images-idx3-ubyte.gz"
    if content is None:
        del files[name]
    else:
        files[name] = content
    monkeypatch.setenv(data.DATA_VARIABLE, str(write(tmp_path, files)))
    with pytest.raises(ResiduumError, match=message):
        data.load_mnist()


def test_unknown_data_set() -> None:
    with pytest.raises(ResiduumError, match="there is no data set 'cifar'"):
        data.load_dataset("cifar")


class Reply(io.BytesIO):
    """What ``urlopen`` gives."""

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self.headers = {"Content-Length": str(len(content))}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder, and no folder given by the user."""
    monkeypatch.delenv(data.DATA_VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "residuum" / "mnist"


def serve(monkeypatch: pytest.MonkeyPatch, files: dict[str, bytes], *, md5: bool) -> list[str]:
    """Answer downloads from ``files``; returns the list that collects the addresses."""
    asked: list[str] = []

    def urlopen(address: str, timeout: float) -> Reply:
        asked.append(address)
        return Reply(files[address.rsplit("/", 1)[1]])

    monkeypatch.setattr("urllib.request.urlopen", urlopen)
    if md5:
        sums = {name: hashlib.md5(content).hexdigest() for name, content in files.items()}
        monkeypatch.setattr(data, "MNIST_MD5", sums)
    return asked


def test_download_fills_the_cache_once(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = serve(monkeypatch, mnist_files(), md5=True)
    assert len(data.load_mnist().train_labels) == 3
    assert len(data.load_mnist().train_labels) == 3
    assert asked == [data.MNIST_MIRROR + name for name in NAMES]
    assert sorted(path.name for path in cache.iterdir()) == sorted(NAMES)


def test_damaged_download_leaves_nothing(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    serve(monkeypatch, mnist_files(), md5=False)
    with pytest.raises(ResiduumError, match="arrived damaged; try again"):
        data.load_mnist()
    assert list(cache.iterdir()) == []


def test_no_network_names_the_variable(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def urlopen(address: str, timeout: float) -> Reply:
        raise urllib.error.URLError("no route")

    monkeypatch.setattr("urllib.request.urlopen", urlopen)
    with pytest.raises(ResiduumError, match="cannot be downloaded; set RESIDUUM_DATA to a folder"):
        data.load_mnist()
    assert list(cache.iterdir()) == []
