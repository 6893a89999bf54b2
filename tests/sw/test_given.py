"""Images from a Python program: arrays, tensors, pictures, files, and several of them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from residuum.hw.isa.config import EngineConfig
from residuum.sw.data.given import as_image, as_images, is_one
from residuum.sw.data.images import load_images
from residuum.sw.errors import ResiduumError
from residuum.sw.host.classifier import Classifier
from residuum.sw.network.graph import SPIKES
from residuum.sw.network.library import load_network
from tests.sim.random_graphs import random_graph_cases
from tests.sw.test_host_device import PIXEL, device, small

DIGITS = load_network("digits")
COLOURS = load_network("cifar10")


@pytest.fixture
def digit() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (1, 8, 8), np.uint8)


@pytest.fixture
def photo(tmp_path) -> Path:
    """A picture in colours, larger than the network's input and turned by its EXIF data."""
    pixels = np.random.default_rng(2).integers(0, 256, (50, 70, 3), np.uint8)
    picture = Image.fromarray(pixels)
    exif = picture.getexif()
    exif[0x0112] = 6
    picture.save(tmp_path / "photo.png", exif=exif)
    return tmp_path / "photo.png"


def same(image, expected: np.ndarray) -> bool:
    return image.dtype == np.uint8 and np.array_equal(image, expected)


def test_numbers_of_every_kind_are_the_same_image(digit):
    for given in (digit, digit.astype(np.int64), torch.from_numpy(digit), digit.tolist()):
        assert is_one(DIGITS, given)
        assert same(as_image(DIGITS, given), digit)


def test_a_picture_is_prepared_as_a_file_of_the_commands(photo):
    wanted = load_images(str(photo), COLOURS).images[0]
    with Image.open(photo) as opened:
        for given in (photo, str(photo), opened):
            assert is_one(DIGITS, given)
            assert same(as_image(COLOURS, given), wanted)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"])
def test_pictures_of_every_mode(mode):
    values = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4
    picture = (
        Image.fromarray(values.astype(np.uint16) * 256)
        if mode == "I;16"
        else Image.fromarray(values).convert(mode)
    )
    found = as_image(DIGITS, picture)[0].astype(int)
    expected = np.asarray(picture.convert("L")) if mode in ("1", "P") else values
    # Through CMYK and back, a grey may change by one.
    assert np.abs(found - expected).max() <= (1 if mode == "CMYK" else 0)


def test_several_images_in_every_form(digit):
    picture = Image.fromarray(digit[0])
    batch = np.stack([digit, digit])
    for given in (batch, torch.from_numpy(batch), batch.tolist(), [digit, picture]):
        assert not is_one(DIGITS, given)
        found = list(as_images(DIGITS, given))
        assert [same(image, digit) for image in found] == [True, True]
    assert list(as_images(DIGITS, [])) == []
    assert list(as_images(DIGITS, batch[:0])) == []


def test_an_iterable_is_read_image_by_image(digit):
    asked = []

    def images():
        for number in range(3):
            asked.append(number)
            yield digit

    found = as_images(DIGITS, images())
    next(found)
    assert asked == [0]


@pytest.mark.parametrize("given", [None, 7, b"\0" * 64, {"image": 1}])
def test_what_is_no_image_gets_a_sentence(given):
    with pytest.raises(ResiduumError, match=f"an image is .*; not {type(given).__name__}"):
        is_one(DIGITS, given)


def test_spike_trains_have_one_dimension_more():
    cases = random_graph_cases(5, EngineConfig(), 30, images=2)
    case = next(case for case in cases if case.network.input == SPIKES)
    network, trains = case.network, case.images
    assert [is_one(network, trains[0]), is_one(network, trains)] == [True, False]
    assert [image.tolist() for image in as_images(network, trains)] == trains.tolist()
    with pytest.raises(ResiduumError, match="reads spike trains, not pictures"):
        as_image(network, Image.new("L", (8, 8)))


def test_an_error_names_the_image(digit, tmp_path):
    damaged = tmp_path / "x.png"
    damaged.write_bytes(b"no picture")
    missing = tmp_path / "none.png"
    closed = Image.new("L", (8, 8))
    closed.close()
    for images, sentence in (
        ([digit, digit.astype(float)], "image 1: an image must be whole numbers 0 .. 255"),
        ([digit, digit[:, :4]], r"image 1: network 'digits' takes images of shape \(1, 8, 8\)"),
        ([digit, closed], "image 1: the picture cannot be read"),
        ([digit, damaged], f"^{damaged} is no picture of a known format"),
        ([digit, missing], f"^{missing} cannot be read: No such file"),
        ([digit, 3], "image 1: an image must be whole numbers"),
    ):
        with pytest.raises(ResiduumError, match=sentence):
            list(as_images(DIGITS, images))


def test_a_classifier_takes_one_image_or_several(tmp_path):
    classifier = Classifier(device()[0], small(), tau=1, T=2)
    classifier.load()
    done: list[int] = []
    Image.fromarray(PIXEL[0]).save(tmp_path / "pixel.png")
    one = classifier.classify(tmp_path / "pixel.png", done=done.append)
    several = classifier.classify([PIXEL, str(tmp_path / "pixel.png"), PIXEL], done=done.append)
    # The class of the fake device is the number of earlier runs.
    assert [one.prediction, *(found.prediction for found in several)] == [0, 1, 2, 3]
    assert done == [1, 1, 1, 1]
    assert [found.prediction for found in classifier.classify(np.stack([PIXEL]))] == [4]
    assert classifier.classify([]) == []
