"""Requests that are under way at the same time: order, losses, and room in the device."""

import random

import numpy as np
import pytest

from residuum.hw.isa.host_map import Region
from residuum.hw.isa.protocol import MAX_REQUESTS, Command
from residuum.sim.link.link_model import LinkModel, Memory
from residuum.sw.errors import ResiduumError
from residuum.sw.host.classifier import Classifier
from residuum.sw.host.device import ATTEMPTS, Device, NoAnswer, Refused
from residuum.sw.network.integer_network import IntegerNetwork
from tests.sw.fake_device import CONFIG, FakeLink, identity
from tests.sw.layers import layer


def pixel_network() -> IntegerNetwork:
    """One pixel, two classes."""
    out = layer(0, "out", np.ones((2, 1, 1, 1), int), np.zeros(2, int), None)
    return IntegerNetwork("pixel", (1, 1, 1), (out,), 8)


IMAGES = np.arange(100, 160, dtype=np.uint8).reshape(-1, 1, 1, 1)


class PixelLink(FakeLink):
    """The class of a run is the pixel, its cycles the number of runs before. ``held``: replies come
    only when so many are waiting, or when the host waits for them."""

    def __init__(self, *, faults=(), held: int = 1, loss: float = 0, seed: int = 0):
        super().__init__(faults=faults)
        self.held = held
        self.loss = loss
        self.random = random.Random(seed)
        self.most_words = 0
        self.waiting_words = 0

    def _engine(self, first, last, tau, T, correction):
        self.runs += 1
        return self.model.pixels[0], self.runs - 1

    def send(self, data: bytes) -> None:
        self.waiting_words += len(data) // 4 + 1
        self.most_words = max(self.most_words, self.waiting_words)
        super().send(bytes(b for b in data if self.random.random() >= self.loss))

    def receive(self, timeout: float) -> bytes:
        self.waiting_words = 0
        data = b"".join(self._coming)
        self._coming.clear()
        return bytes(b for b in data if self.random.random() >= self.loss)


def loaded(link: FakeLink) -> Classifier:
    classifier = Classifier(Device(link), pixel_network(), tau=1, T=2)
    classifier.load()
    return classifier


def commands(link: FakeLink) -> list[int]:
    return [request[1] for request in link.requests]


def test_four_images_are_under_way():
    link = PixelLink()
    classifier = loaded(link)
    assert classifier.one_request
    before = len(link.requests)
    results = classifier.classify_all(IMAGES)
    assert next(results).prediction == 100
    assert commands(link)[before:] == [Command.CLASSIFY] * 4
    assert [found.prediction for found in results] == [*range(101, 160)]
    assert len(link.requests) - before == len(IMAGES)


class BatchLink(PixelLink):
    """Keeps what runs, in order: first and last layer, and the pixel."""

    def __init__(self, **how):
        super().__init__(**how)
        self.ran: list[tuple[int, int, int]] = []

    def _engine(self, first, last, tau, T, correction):
        self.ran.append((first, last, self.model.pixels[0]))
        return super()._engine(first, last, tau, T, correction)


@pytest.mark.parametrize("lost", range(4))
def test_the_last_image_of_a_batch_runs_when_all_others_have(lost):
    hidden = layer(0, "hidden", np.ones((2, 1, 1, 1), int), np.zeros(2, int), np.ones(2, int))
    out = layer(1, "out", np.ones((2, 2, 1, 1), int), np.zeros(2, int), None)
    network = IntegerNetwork("pixels", (1, 1, 1), (hidden, out), 8)
    link = BatchLink()
    classifier = Classifier(Device(link), network, tau=0, T=1, batch=4)
    classifier.load()
    assert classifier.one_request
    link.faults = iter([*[""] * lost, "request lost", *[""] * 99])
    assert len(classifier.classify(IMAGES[:4])) == 4
    # Layers of their own for each image; those of the last one go on with the joint layers.
    assert sorted(link.ran) == [(0, 0, 100), (1, 1, 101), (2, 2, 102), (3, 4, 103)]
    assert link.ran[-1] == (3, 4, 103)


def test_one_by_one_writes_and_runs():
    link = PixelLink()
    classifier = loaded(link)
    before = len(link.requests)
    link.model.pixels = b"\7"
    (found,) = classifier.classify_all(IMAGES[:1], one_by_one=True)
    assert (found.prediction, found.logits) == (7, None)
    assert commands(link)[before:] == [Command.WRITE_BYTES, Command.RUN]


def test_logits_come_with_the_reply():
    link = PixelLink()
    classifier = loaded(link)
    addresses = classifier.program.logit_reads()
    words = [16 << 4, -32 << 4 & 0xFFFF_FFFF]
    link.model.memory.words |= dict(zip(addresses.tolist(), words, strict=True))
    before = len(link.requests)
    (found,) = classifier.classify_all(IMAGES[:1], logits=True)
    expected = classifier.program.decode_logits(np.array([16 << 4, -32 << 4], np.int32))
    assert found.logits.tolist() == expected.tolist()
    assert commands(link)[before:] == [Command.CLASSIFY]


@pytest.mark.parametrize("seed", range(12))
def test_losses_change_neither_order_nor_number_of_runs(seed):
    """One byte in a hundred is lost, in both directions."""
    link = PixelLink()
    classifier = loaded(link)
    link.loss, link.random = 0.01, random.Random(seed)
    found = list(classifier.classify_all(IMAGES))
    assert [answer.prediction for answer in found] == IMAGES.reshape(-1).tolist()
    # Each image has run once, whatever was repeated.
    assert sorted(answer.cycles for answer in found) == [*range(len(IMAGES))]
    assert link.runs == len(IMAGES)
    assert classifier.device.retries > 5


@pytest.mark.parametrize(
    "fault", ["request lost", "request damaged", "reply lost", "reply damaged"]
)
@pytest.mark.parametrize("place", range(5))
def test_a_single_loss_is_repaired_by_a_single_repetition(fault, place):
    link = PixelLink()
    classifier = loaded(link)
    link.faults = iter([*[""] * place, fault, *[""] * 100])
    found = list(classifier.classify_all(IMAGES[:9]))
    assert [answer.prediction for answer in found] == [*range(100, 109)]
    assert (classifier.device.retries, link.runs) == (1, 9)


def test_a_device_that_falls_silent():
    link = PixelLink()
    classifier = loaded(link)
    results = classifier.classify_all(IMAGES)
    next(results)
    link.loss = 1.0
    with pytest.raises(NoAnswer, match="fake: answers no more .to CLASSIFY.; this is only a test"):
        list(results)
    assert not classifier.loaded
    assert classifier.device.retries >= ATTEMPTS - 1


def test_a_refused_image():
    link = PixelLink()
    classifier = loaded(link)
    link.model.memory.words.clear()
    with pytest.raises(Refused, match="fake: takes no raw images for the network that it holds"):
        list(classifier.classify_all(IMAGES))


def test_a_wrong_image_ends_the_answers_in_one_sentence():
    classifier = loaded(PixelLink())
    results = classifier.classify_all([*IMAGES[:2], np.zeros((1, 2, 2), np.uint8)])
    assert [next(results).prediction for _ in range(2)] == [100, 101]
    with pytest.raises(ResiduumError, match="takes images of shape"):
        next(results)
    assert classifier.classify(IMAGES[5]).prediction == 105


def test_writes_do_not_wait_for_replies():
    link = PixelLink()
    device = Device(link)
    weights = device.host_map.address(Region.WEIGHTS)
    words = np.random.default_rng(1).integers(0, 1 << 16, 2000, np.uint32)
    received = []
    device.write(weights, words, done=received.append)
    assert sum(received) == 2000
    assert device.read(weights, 2000).tolist() == words.tolist()
    assert link.most_words > 1000


@pytest.mark.parametrize("receive_words", [512, 1024, 2560])
def test_no_more_is_under_way_than_the_device_has_room_for(receive_words):
    config = CONFIG.with_changes(receive_words=receive_words)
    link = PixelLink()
    link.model = LinkModel(identity(config), Memory(config), link._engine)
    device = Device(link)
    device.write(device.host_map.address(Region.WEIGHTS), np.full(2000, 1 << 9, np.uint32))
    assert receive_words / 2 - 261 < link.most_words < receive_words
    assert len(link.requests) > MAX_REQUESTS / 2


@pytest.mark.parametrize("seed", range(5))
def test_a_program_arrives_whatever_is_lost(seed):
    link = PixelLink()
    device = Device(link)
    link.loss, link.random = 0.0003, random.Random(seed)
    weights = device.host_map.address(Region.WEIGHTS)
    words = np.random.default_rng(seed).integers(0, 1 << 16, 2000, np.uint32)
    device.write(weights, words)
    assert device.read(weights, 2000).tolist() == words.tolist()
    assert device.retries > 0


def test_one_request_at_a_time_if_wanted():
    link = PixelLink()
    classifier = loaded(link)
    classifier.device.under_way = 1
    before = len(link.requests)
    results = classifier.classify_all(IMAGES)
    next(results)
    assert len(link.requests) - before == 1
