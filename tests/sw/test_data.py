"""Image sets: the fixed split of the digits, files of each format, folders, the cache."""

import gzip
import hashlib
import io
import os
import struct
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest

from residuum.cli import main
from residuum.sw.data import data_sets as data
from residuum.sw.errors import ResiduumError
from tests.folders import work_in
from tests.sw.file_server import FileServer, serving
from tests.sw.reporter import Lines

IDX_NAMES = [
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
]
CIFAR_NAMES = [*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin"]
CIFAR100_NAMES = ["train.bin", "test.bin"]

needs_files = pytest.mark.skipif(
    not os.environ.get(data.DATA_VARIABLE), reason=f"{data.DATA_VARIABLE} names no folder"
)


def packed(content: bytes) -> bytes:
    """gzip without a time stamp: the same bytes, and so test names, in every process."""
    return gzip.compress(content, mtime=0)


def idx(array: np.ndarray) -> bytes:
    """The array as a gzip-compressed IDX file."""
    magic = {3: 2051, 1: 2049}[array.ndim]
    return packed(struct.pack(f">{array.ndim + 1}I", magic, *array.shape) + array.tobytes())


def idx_files(first: int = 0) -> dict[str, bytes]:
    """Four small files with the names of MNIST: three images each, pixels and labels count up."""
    pixels = (np.arange(3 * 28 * 28) + first).astype(np.uint8).reshape(3, 28, 28)
    labels = np.arange(first, first + 3, dtype=np.uint8)
    return {name: idx(pixels if "images" in name else labels) for name in IDX_NAMES}


def cifar_records(first: int, count: int = 2, coarse: bytes = b"") -> bytes:
    """Records with the labels first, first + 1, ...; a record's pixels count up from its label."""
    return b"".join(
        coarse + bytes([label]) + (np.arange(3072) + label).astype(np.uint8).tobytes()
        for label in range(first, first + count)
    )


def cifar_files() -> dict[str, bytes]:
    """Six small files with the names of CIFAR-10; the labels start at the index of the file."""
    return {name: cifar_records(first) for first, name in enumerate(CIFAR_NAMES)}


def cifar100_files() -> dict[str, bytes]:
    """Two small files with the names of CIFAR-100; all images have the coarse label 19."""
    return {
        "train.bin": cifar_records(95, 5, coarse=b"\x13"),
        "test.bin": cifar_records(3, 2, coarse=b"\x13"),
    }


FILES = {
    "mnist": idx_files(),
    "fashion": idx_files(first=5),
    "cifar10": cifar_files(),
    "cifar100": cifar100_files(),
}


PUBLISHED = dict(data.DATASETS)


@pytest.fixture(autouse=True)
def small_sets(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the small sets above the published ones; do not use the user's cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.delenv(data.ALLOW_VARIABLE, raising=False)
    for name, files in FILES.items():
        sums = {file: hashlib.md5(content).hexdigest() for file, content in files.items()}
        monkeypatch.setitem(data.DATASETS, name, replace(published(name), md5=sums))


def published(name: str) -> data.PublishedSet:
    source = data.dataset(name)
    assert isinstance(source, data.PublishedSet)
    return source


@pytest.fixture
def modified_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(data.ALLOW_VARIABLE, "1")


def write(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def test_digits_split_is_fixed_and_stratified() -> None:
    digits = data.load_dataset("digits")
    assert digits.train_images.shape == (1437, 1, 8, 8)
    assert digits.test_images.shape == (360, 1, 8, 8)
    assert digits.test_images.dtype == np.uint8
    assert (digits.train_images.min(), digits.train_images.max()) == (0, 255)
    assert set(np.bincount(digits.test_labels)) <= {34, 35, 36, 37}
    assert np.array_equal(digits.test_images, data.load_held_out("digits")[0])
    assert np.array_equal(digits.test_labels, data.load_held_out("digits")[1])


def test_digits_hold_no_image_back_twice() -> None:
    """No held-out image is also a training image."""
    digits = data.load_dataset("digits")
    trained = {image.tobytes() for image in digits.train_images}
    assert not any(image.tobytes() in trained for image in digits.test_images)


def test_digits_pixels_are_scaled_grey_values() -> None:
    values = np.unique(data.load_dataset("digits").train_images)
    assert values.tolist() == [round(v * 255 / 16) for v in range(17)]


@pytest.mark.parametrize(
    ("name", "subfolder"),
    [("mnist", ""), ("mnist", "mnist"), ("fashion", ""), ("fashion", "fashion-mnist")],
)
def test_idx_folder_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, subfolder: str
) -> None:
    write(tmp_path / subfolder, FILES[name])
    monkeypatch.setenv(data.DATA_VARIABLE, str(tmp_path))
    images = data.load_dataset(name)
    first = {"mnist": 0, "fashion": 5}[name]
    assert images.name == name
    assert images.train_images.shape == (3, 1, 28, 28)
    assert images.train_images.dtype == np.uint8
    assert images.test_images[0, 0, 0, :3].tolist() == [first, first + 1, first + 2]
    assert images.test_labels.tolist() == [first, first + 1, first + 2]
    assert images.test_labels.dtype == np.int64


def test_each_set_has_its_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "mnist", FILES["mnist"])
    write(tmp_path / "fashion-mnist", FILES["fashion"])
    monkeypatch.setenv(data.DATA_VARIABLE, str(tmp_path))
    labels = [data.load_held_out(name)[1].tolist() for name in ("mnist", "fashion")]
    assert labels == [[0, 1, 2], [5, 6, 7]]


@pytest.mark.parametrize("kind", ["images", "labels"])
def test_mnist_is_not_taken_for_fashion_mnist(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, modified_allowed: None, kind: str
) -> None:
    """The files of both sets have the same names; a single file of the other set is refused, also
    with modified files allowed."""
    other = {name: FILES["mnist"][name] for name in IDX_NAMES if kind in name}
    monkeypatch.setenv(data.DATA_VARIABLE, str(write(tmp_path, FILES["fashion"] | other)))
    with pytest.raises(
        ResiduumError, match=f"t10k-{kind}.* is of MNIST, not of Fashion-MNIST; put each set into"
    ):
        data.load_held_out("fashion")


def modify(name: str, folder: Path) -> str:
    """Write the set with a changed last byte in a test file, which stays well-formed; returns the
    path of this file."""
    files = dict(FILES[name])
    file = next(file for file in reversed(files) if "label" not in file)
    content = files[file]
    if file.endswith(".gz"):
        content = gzip.decompress(content)
    content = content[:-1] + bytes([content[-1] ^ 1])
    files[file] = packed(content) if file.endswith(".gz") else content
    return str(write(folder, files) / file)


@pytest.mark.parametrize("name", list(FILES))
def test_file_that_is_not_the_published_one_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    path = modify(name, tmp_path)
    monkeypatch.setenv(data.DATA_VARIABLE, str(tmp_path))
    title = published(name).title
    for _ in range(2):
        with pytest.raises(ResiduumError) as error:
            data.load_held_out(name)
        assert str(error.value) == (
            f"{path} is not the published file of {title} (its MD5 sum differs); fetch the file "
            f"again, or accept it with --allow-modified or RESIDUUM_ALLOW_MODIFIED=1"
        )


def test_cut_batch_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = cifar_files() | {"test_batch.bin": cifar_files()["test_batch.bin"][:3073]}
    monkeypatch.setenv(data.DATA_VARIABLE, str(write(tmp_path, files)))
    with pytest.raises(ResiduumError, match=r"test_batch\.bin is not the published file of CIFAR-"):
        data.load_held_out("cifar10")


@pytest.mark.parametrize("by_variable", [False, True])
@pytest.mark.parametrize("name", list(FILES))
def test_modified_file_that_is_allowed_is_used_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, by_variable: bool
) -> None:
    path = modify(name, tmp_path)
    monkeypatch.setenv(data.DATA_VARIABLE, str(tmp_path))
    reporter = Lines()
    if by_variable:
        monkeypatch.setenv(data.ALLOW_VARIABLE, "1")
    images, _ = data.load_held_out(name, data.Access(not by_variable, reporter))
    assert len(images) > 0
    (line,) = reporter.said
    assert line.startswith(f"{path} is not the published file of {published(name).title}")


def test_commands_accept_a_modified_file_if_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = modify("mnist", tmp_path / "data")
    work_in(tmp_path, monkeypatch)
    monkeypatch.setenv(data.DATA_VARIABLE, str(tmp_path / "data"))
    assert main(["eval", "mnist", "--images", "2"]) == 1
    assert f"residuum: {path} is not the published file of MNIST" in capsys.readouterr().err
    assert main(["eval", "mnist", "--images", "2", "--allow-modified"]) == 0
    assert f"{path} is not the published file of MNIST" in capsys.readouterr().err


def sums_computed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A list that records the files whose sums are computed."""
    computed = []

    def file_digest(file: BinaryIO, digest: Callable[[], object]) -> object:
        computed.append(Path(file.name).name)
        return hashed(file, digest)  # type: ignore[arg-type]

    hashed = hashlib.file_digest
    monkeypatch.setattr(hashlib, "file_digest", file_digest)
    return computed


def test_sum_of_a_file_is_computed_once_until_the_file_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(data.DATA_VARIABLE, str(write(tmp_path, cifar_files())))
    computed = sums_computed(monkeypatch)
    data.load_held_out("cifar10")
    data.load_dataset("cifar10")
    assert sorted(computed) == CIFAR_NAMES
    modify("cifar10", tmp_path)
    with pytest.raises(ResiduumError, match="is not the published file"):
        data.load_dataset("cifar10")
    assert computed.count("test_batch.bin") == 2


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b"{", None])
def test_memory_of_sums_that_cannot_be_used_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None
) -> None:
    """The memory of sums is damaged or, with None, can be neither read nor written."""
    (tmp_path / "cache").write_bytes(b"a file")
    if content is not None:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "kept"))
        write(tmp_path / "kept" / "residuum", {"sums.json": content})
    else:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv(data.DATA_VARIABLE, str(write(tmp_path / "data", cifar_files())))
    computed = sums_computed(monkeypatch)
    for _ in range(2):
        assert data.load_held_out("cifar10")[1].tolist() == [5, 6]
    assert len(computed) == (1 if content is not None else 2)


@pytest.mark.parametrize("subfolder", ["", "cifar10", "cifar-10-batches-bin"])
def test_cifar_folder_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, subfolder: str
) -> None:
    write(tmp_path / subfolder, cifar_files())
    monkeypatch.setenv(data.DATA_VARIABLE, str(tmp_path))
    images = data.load_dataset("cifar10")
    assert images.train_images.shape == (10, 3, 32, 32)
    assert images.test_images.shape == (2, 3, 32, 32)
    assert (images.train_images.dtype, images.train_labels.dtype) == (np.uint8, np.int64)
    assert images.train_labels.tolist() == [0, 1, 1, 2, 2, 3, 3, 4, 4, 5]
    assert images.test_labels.tolist() == [5, 6]
    # Red, then green, then blue, each row by row.
    expected = [(channel * 1024 + 7 * 32 + 3 + 5) % 256 for channel in range(3)]
    assert images.test_images[0, :, 7, 3].tolist() == expected


@pytest.mark.parametrize("subfolder", ["", "cifar100", "cifar-100-binary"])
def test_fine_labels_of_cifar100_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, subfolder: str
) -> None:
    write(tmp_path / subfolder, cifar100_files())
    monkeypatch.setenv(data.DATA_VARIABLE, str(tmp_path))
    images = data.load_dataset("cifar100")
    assert images.train_labels.tolist() == [95, 96, 97, 98, 99]
    assert images.test_labels.tolist() == [3, 4]
    assert (images.train_images.dtype, images.train_labels.dtype) == (np.uint8, np.int64)
    # Red, then green, then blue, each row by row.
    expected = [(channel * 1024 + 7 * 32 + 3 + 98) % 256 for channel in range(3)]
    assert images.train_images.shape == (5, 3, 32, 32)
    assert images.train_images[3, :, 7, 3].tolist() == expected


@pytest.mark.parametrize("name", list(FILES))
def test_held_out_images_need_no_training_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    files = FILES[name]
    held_out = {file: files[file] for file in files if file.startswith(("t10k", "test"))}
    monkeypatch.setenv(data.DATA_VARIABLE, str(write(tmp_path, held_out)))
    images, labels = data.load_held_out(name)
    assert len(images) == len(labels) > 0
    with pytest.raises(ResiduumError, match=r"(train[-.]|data_batch_1\.bin).* is missing"):
        data.load_dataset(name)


@pytest.mark.parametrize("left_out", [None, "t10k-labels-idx1-ubyte.gz"])
def test_whether_a_set_is_here_is_told_without_a_download(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left_out: str | None
) -> None:
    monkeypatch.delenv("RESIDUUM_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert data.dataset("digits").is_here()
    assert not data.dataset("mnist").is_here()
    folder = tmp_path / "residuum" / "mnist"
    folder.mkdir(parents=True)
    for name in ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"):
        if name != left_out:
            (folder / name).touch()
    assert data.dataset("mnist").is_here() == (left_out is None)
    monkeypatch.setenv("RESIDUUM_DATA", str(folder))
    assert data.dataset("mnist").is_here() == (left_out is None)
    assert not data.dataset("cifar10").is_here()


@pytest.mark.parametrize("name", list(FILES))
@pytest.mark.parametrize("folder", ["", "none"])
def test_folder_without_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, folder: str
) -> None:
    monkeypatch.setenv(data.DATA_VARIABLE, str(tmp_path / folder))
    with pytest.raises(ResiduumError, match="RESIDUUM_DATA names .* but neither that folder nor"):
        data.load_dataset(name)


def damage(folder: Path, name: str, content: bytes | None) -> None:
    """Replace the content of a file, or delete the file."""
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_bytes(content)


WHOLE = idx(np.zeros((2, 28, 28), np.uint8))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "is missing; set RESIDUUM_DATA"),
        (b"", "is not an IDX file of images"),
        (b"not compressed", "cannot be unpacked"),
        (WHOLE[:5], "cannot be unpacked"),
        (WHOLE[:-20], "cannot be unpacked"),
        (WHOLE[:30] + bytes(5) + WHOLE[35:], "cannot be unpacked"),
        (packed(b"abcdefgh"), "is not an IDX file of images"),
        (packed(struct.pack(">2I", 2051, 2)), "is damaged: its length does not match"),
        (packed(struct.pack(">4I", 2051, 0, 28, 28)), "is damaged: its length does not match"),
        (packed(gzip.decompress(WHOLE)[:-1]), "is damaged: its length does not match"),
        # The product of the sizes is a multiple of 2**64.
        (
            packed(struct.pack(">4I", 2051, 1 << 31, 1 << 31, 4) + b"x"),
            "is damaged: its length does not match",
        ),
        (idx(np.zeros(2, np.uint8)), "is not an IDX file of images"),
        (WHOLE, "and t10k-labels-idx1-ubyte.gz do not belong together: 2 images and 3 labels"),
        (
            idx(np.zeros((3, 8, 9), np.uint8)),
            "holds images of 8 x 9 pixels; those of .*MNIST have 28 x 28",
        ),
    ],
)
@pytest.mark.parametrize("name", ["mnist", "fashion"])
def test_damaged_idx_images_get_a_sentence(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    modified_allowed: None,
    name: str,
    content: bytes | None,
    message: str,
) -> None:
    file = "t10k-images-idx3-ubyte.gz"
    damage(write(tmp_path, FILES[name]), file, content)
    monkeypatch.setenv(data.DATA_VARIABLE, str(tmp_path))
    with pytest.raises(ResiduumError, match=f"{tmp_path}/{file} {message}"):
        data.load_dataset(name)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "is missing; set RESIDUUM_DATA"),
        (WHOLE, "is not an IDX file of labels"),
        (idx(np.array([0, 10, 1], np.uint8)), "is not of MNIST: it has the label 10; fetch"),
    ],
)
def test_damaged_idx_labels_get_a_sentence(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    modified_allowed: None,
    content: bytes | None,
    message: str,
) -> None:
    file = "t10k-labels-idx1-ubyte.gz"
    damage(write(tmp_path, idx_files()), file, content)
    monkeypatch.setenv(data.DATA_VARIABLE, str(tmp_path))
    with pytest.raises(ResiduumError, match=f"{tmp_path}/{file} {message}"):
        data.load_dataset("mnist")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "is missing; set RESIDUUM_DATA"),
        (b"", "is damaged: it does not hold whole records of 3073 bytes; fetch"),
        (cifar_records(0)[:-1], "is damaged: it does not hold whole records"),
        (cifar_records(0) + b"x", "is damaged: it does not hold whole records"),
        (cifar_records(9), "is not of CIFAR-10: it has the label 10; fetch the file again"),
    ],
)
@pytest.mark.parametrize("file", ["data_batch_3.bin", "test_batch.bin"])
def test_damaged_batch_gets_a_sentence(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    modified_allowed: None,
    file: str,
    content: bytes | None,
    message: str,
) -> None:
    damage(write(tmp_path, cifar_files()), file, content)
    monkeypatch.setenv(data.DATA_VARIABLE, str(tmp_path))
    with pytest.raises(ResiduumError, match=f"{tmp_path}/{file} {message}"):
        data.load_dataset("cifar10")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "is missing; set RESIDUUM_DATA"),
        (cifar_records(0), "is damaged: it does not hold whole records of 3074 bytes; fetch"),
        (cifar_records(99, coarse=b"\x13"), "is not of CIFAR-100: it has the label 100; fetch"),
    ],
)
@pytest.mark.parametrize("file", CIFAR100_NAMES)
def test_damaged_file_of_cifar100_gets_a_sentence(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    modified_allowed: None,
    file: str,
    content: bytes | None,
    message: str,
) -> None:
    damage(write(tmp_path, cifar100_files()), file, content)
    monkeypatch.setenv(data.DATA_VARIABLE, str(tmp_path))
    with pytest.raises(ResiduumError, match=f"{tmp_path}/{file} {message}"):
        data.load_dataset("cifar100")


def test_folder_in_place_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    damage(write(tmp_path, cifar_files()), "test_batch.bin", None)
    (tmp_path / "test_batch.bin").mkdir()
    monkeypatch.setenv(data.DATA_VARIABLE, str(tmp_path))
    with pytest.raises(ResiduumError, match=r"/test_batch\.bin cannot be read: Is a directory"):
        data.load_dataset("cifar10")


def test_unknown_data_set() -> None:
    with pytest.raises(ResiduumError, match="there is no data set 'cifar'; the known ones are dig"):
        data.load_dataset("cifar")


@needs_files
@pytest.mark.parametrize(
    ("name", "size", "train", "test", "means"),
    [
        (
            "mnist",
            28,
            [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949],
            [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009],
            [0.1307],
        ),
        ("fashion", 28, [6000] * 10, [1000] * 10, [0.2860]),
        ("cifar10", 32, [5000] * 10, [1000] * 10, [0.4914, 0.4822, 0.4465]),
        ("cifar100", 32, [500] * 100, [100] * 100, [0.5071, 0.4865, 0.4409]),
    ],
)
def test_published_counts_and_means(
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    size: int,
    train: list[int],
    test: list[int],
    means: list[float],
) -> None:
    """Images per class, and the mean of each colour over the training images."""
    monkeypatch.setitem(data.DATASETS, name, PUBLISHED[name])
    images = data.load_dataset(name)
    assert images.train_images.shape == (sum(train), len(means), size, size)
    assert images.test_images.shape == (sum(test), len(means), size, size)
    assert np.bincount(images.train_labels).tolist() == train
    assert np.bincount(images.test_labels).tolist() == test
    found = images.train_images.mean(axis=(0, 2, 3)) / 255
    assert found.round(4).tolist() == means


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder, and no folder given by the user."""
    monkeypatch.delenv(data.DATA_VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return tmp_path / "residuum"


def publish(
    monkeypatch: pytest.MonkeyPatch, name: str, server: FileServer, *, right: bool = True
) -> None:
    """Make the server the source of the data set, with right or wrong published sums."""
    sums = {
        file: hashlib.md5(content if right else b"").hexdigest()
        for file, content in server.files.items()
    }
    source = published(name)
    where = {"archives": sums} if source.archives else {"md5": sums}
    monkeypatch.setitem(data.DATASETS, name, replace(source, mirror=server.address, **where))  # type: ignore[arg-type]


def files_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != ".lock")


@pytest.mark.parametrize(("name", "folder"), [("mnist", "mnist"), ("fashion", "fashion-mnist")])
def test_download_fills_the_cache_once(
    cache: Path, monkeypatch: pytest.MonkeyPatch, name: str, folder: str
) -> None:
    with serving(FILES[name]) as server:
        publish(monkeypatch, name, server)
        for _ in range(2):
            assert len(data.load_dataset(name).train_labels) == 3
        assert [file for file, _ in server.requests] == IDX_NAMES
    assert files_in(cache / folder) == sorted(IDX_NAMES)


def test_held_out_images_are_downloaded_alone(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(idx_files()) as server:
        publish(monkeypatch, "mnist", server)
        assert len(data.load_held_out("mnist")[1]) == 3
        assert [file for file, _ in server.requests] == IDX_NAMES[2:]


@pytest.mark.parametrize(
    ("name", "archive", "inside", "labels"),
    [
        ("cifar10", "cifar-10-binary.tar.gz", "cifar-10-batches-bin", [5, 6]),
        ("cifar100", "cifar-100-binary.tar.gz", "cifar-100-binary", [3, 4]),
    ],
)
def test_cifar_archive_fills_the_cache_once(
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    archive: str,
    inside: str,
    labels: list[int],
) -> None:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as tar:
        for file, bytes_ in {"readme.html": b"<html>", **FILES[name]}.items():
            member = tarfile.TarInfo(f"{inside}/{file}")
            member.size = len(bytes_)
            tar.addfile(member, io.BytesIO(bytes_))
    with serving({archive: content.getvalue()}) as server:
        publish(monkeypatch, name, server)
        assert data.load_held_out(name)[1].tolist() == labels
        assert data.load_dataset(name).test_labels.tolist() == labels
        assert server.requests == [(archive, None)]
    assert files_in(cache / name) == sorted(FILES[name])


def test_damaged_download_leaves_nothing(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(idx_files()) as server:
        publish(monkeypatch, "mnist", server, right=False)
        with pytest.raises(ResiduumError, match="arrived damaged; try again"):
            data.load_dataset("mnist")
    assert files_in(cache / "mnist") == []


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("mnist", "MNIST"),
        ("fashion", "Fashion-MNIST"),
        ("cifar10", "CIFAR-10"),
        ("cifar100", "CIFAR-100"),
    ],
)
def test_no_network_names_the_variable(
    cache: Path, monkeypatch: pytest.MonkeyPatch, name: str, title: str
) -> None:
    files = {**idx_files(), "cifar-10-binary.tar.gz": b"", "cifar-100-binary.tar.gz": b""}
    with serving(files) as server:
        publish(monkeypatch, name, server)
    hint = f"try again, or set RESIDUUM_DATA to a folder with the files of {title}$"
    with pytest.raises(ResiduumError, match=f"cannot be downloaded from {server.address}.*{hint}"):
        data.load_dataset(name)


def test_no_home_folder_names_the_variable(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", home)
    with pytest.raises(ResiduumError, match="no home folder for downloads; set RESIDUUM_DATA to"):
        data.load_dataset("mnist")
