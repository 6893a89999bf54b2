"""The host's side of the link, on a fake device with all kinds of faults."""

import itertools
import math
import re
import struct

import numpy as np
import pytest
import torch

from residuum.hw.isa.host_map import HostMap, Region
from residuum.sw.errors import ResiduumError
from residuum.sw.host.classifier import Classifier
from residuum.sw.host.device import (
    ATTEMPTS,
    ATTEMPTS_TO_FIND,
    Device,
    DeviceError,
    NoAnswer,
    Refused,
)
from residuum.sw.host.links import LinkError
from residuum.sw.network.integer_network import IntegerNetwork
from residuum.sw.network.library import load_network
from tests.sw.fake_device import CLOCK_HZ, CONFIG, PASSING, FakeLink, identity
from tests.sw.layers import layer

WEIGHTS = HostMap(CONFIG).address(Region.WEIGHTS)
TRAINS = HostMap(CONFIG).address(Region.TRAINS)


def device(**options) -> tuple[Device, FakeLink]:
    """A device that is found without faults; the faults come later."""
    link = FakeLink(**options | {"faults": itertools.chain([""], options.get("faults", ()))})
    found = Device(link)
    link.requests.clear()
    return found, link


def header(request: bytes) -> tuple[int, int, int, int]:
    """Command, tag, address and count of a request on the wire."""
    plain = request[1:-1].replace(b"\xdb\xdc", b"\xc0").replace(b"\xdb\xdd", b"\xdb")
    first, address, count = struct.unpack("<3I", plain[:12])
    return first & 0xFF, first >> 16, address, count


def test_identity():
    found, _ = device()
    assert found.identity.config == CONFIG
    assert found.identity.clock_hz == CLOCK_HZ
    assert (found.identity.digest, found.identity.name) == (bytes(range(16)), "digits-8bit")


@pytest.mark.parametrize("fault", PASSING)
def test_every_request_gets_over_a_fault(fault):
    found, link = device(faults=[fault, "", fault, "", fault, "", fault])
    found.write(WEIGHTS, np.array([1000, 2, 3], np.uint32))
    found.write(TRAINS, np.array([5, 6], np.uint32))
    assert found.read(WEIGHTS, 3).tolist() == [1000, 2, 3]
    assert found.read(TRAINS, 2).tolist() == [5, 6]
    assert (found.run(0, 0, tau=1, T=2).best, link.runs) == (0, 1)
    assert (found.run(0, 0, tau=1, T=2).best, link.runs) == (1, 2)


@pytest.mark.parametrize("seed", range(3))
def test_many_requests_over_a_bad_link(seed):
    """Every request is executed exactly once, and gets its own answer."""
    rng = np.random.default_rng(seed)
    faults = rng.choice(PASSING, 400).tolist()
    # Fewer consecutive faults than attempts.
    faults[:: ATTEMPTS - 1] = [""] * len(faults[:: ATTEMPTS - 1])
    found, link = device(faults=faults)
    held = np.zeros(2000, np.uint32)
    for number in range(40):
        start, stop = np.sort(rng.choice(2001, 2, replace=False))
        held[start:stop] = rng.integers(0, rng.choice([200, 1 << 16]), stop - start)
        found.write(WEIGHTS + int(start), held[start:stop])
        assert found.run(0, 1, tau=0, T=1).best == number
        start, stop = np.sort(rng.choice(2001, 2, replace=False))
        assert np.array_equal(found.read(WEIGHTS + int(start), int(stop - start)), held[start:stop])
    assert found.retries > 10


def test_a_run_takes_its_time():
    """RUN is retried for ``run_seconds``, even if more than `ATTEMPTS` requests are lost."""
    found, link = device(faults=["request lost"] * (ATTEMPTS + 2))
    link.run_seconds = 10
    assert found.run(0, 0, tau=0, T=1).best == 0


def test_a_run_that_never_ends():
    found, _ = device(faults=itertools.repeat("request lost"))
    with pytest.raises(NoAnswer, match="fake: answers no more .to RUN.; this is only a test"):
        found.run(0, 0, tau=0, T=1)


def test_nothing_answers():
    link = FakeLink(faults=itertools.repeat("request lost"))
    with pytest.raises(NoAnswer, match="nothing answers at fake: .to IDENTIFY.; this is only"):
        Device(link)
    assert (len(link.requests), link.closed) == (ATTEMPTS_TO_FIND, True)
    assert len(set(link.requests)) == 1


def test_a_device_is_found_at_another_rate():
    link = FakeLink(faults=["request lost"] * 2 * ATTEMPTS_TO_FIND)
    link.rates = 3
    assert Device(link).identity.config == CONFIG
    assert link.rates == 1


def test_it_answers_no_more():
    found, link = device(faults=itertools.repeat("reply lost"))
    with pytest.raises(NoAnswer, match="fake: answers no more .to READ."):
        found.read(TRAINS, 1)
    assert len(link.requests) == ATTEMPTS


def test_pulled_cable():
    with pytest.raises(LinkError, match="broke off"), device(faults=["unplugged"])[0] as found:
        found.status()
    assert found.link.closed


def test_another_protocol_version():
    with pytest.raises(DeviceError, match="protocol version 1 is not 6.; build its bitstream anew"):
        Device(FakeLink(words=identity(version=1) + (0, 0)))


@pytest.mark.parametrize(
    "words",
    [identity()[:-1], (*identity(), 0), (1, 0, *identity()[2:]), (*identity()[:-1], 0xFFFFFFFF)],
)
def test_an_identity_that_is_none(words):
    with pytest.raises(DeviceError, match="fake: does not fit this version of the program"):
        Device(FakeLink(words=words))


def test_a_run_that_another_host_left_behind():
    link = FakeLink()
    link.model.busy = True
    assert not Device(link).status().busy


def test_busy_with_a_run_of_another_program():
    found, link = device()
    link.model.busy = True
    assert found.status().busy
    with pytest.raises(Refused, match="is busy with a run of another program"):
        found.read(TRAINS, 1)


def test_refusals():
    found, _ = device()
    size = found.host_map.size(Region.WEIGHTS)
    with pytest.raises(Refused, match="refused READ of 2 words at address"):
        found.read(WEIGHTS + size - 1, 2)
    with pytest.raises(Refused, match="does not run that many steps; it has 4"):
        found.run(0, 0, tau=3, T=2)
    status = found.status()
    assert (status.busy, status.dropped, status.refused) == (False, 0, 2)


def test_frames_are_cut_between_memory_words():
    found, link = device()
    words = np.arange(1500, dtype=np.uint32)
    found.write(WEIGHTS + 100, words)
    assert [header(request)[2:] for request in link.requests] == [
        (WEIGHTS + 100, 156),
        *((WEIGHTS + 256 * index, 256) for index in range(1, 6)),
        (WEIGHTS + 1536, 64),
    ]
    link.requests.clear()
    found.write(WEIGHTS + 100, words % 256)
    assert [header(request) for request in link.requests] == [
        (4, found._tag - 1, WEIGHTS + 100, 924),
        (4, found._tag, WEIGHTS + 1024, 576),
    ]
    assert np.array_equal(found.read(WEIGHTS + 100, 1500), words % 256)


def test_scattered_words():
    found, link = device()
    rng = np.random.default_rng(0)
    offsets = np.concatenate([np.arange(50), rng.choice(np.arange(100, 2000), 300, replace=False)])
    addresses = rng.permutation(np.concatenate([WEIGHTS + offsets, TRAINS + 7 * np.arange(100)]))
    words = rng.integers(0, 1 << 5, len(addresses)).astype(np.uint32)
    told: list[int] = []
    found.write_scattered(addresses, words, done=told.append)
    assert sum(told) == len(words)
    link.requests.clear()
    assert np.array_equal(found.read_scattered(addresses), words)
    assert len(link.requests) < 120


def test_no_words_at_all():
    found, link = device()
    nothing = np.empty(0, np.uint32)
    found.write_scattered(nothing, nothing)
    assert (len(found.read_scattered(nothing)), link.requests) == (0, [])


def test_a_network_that_does_not_fit():
    found, _ = device()
    with pytest.raises(Exception, match="digits does not fit fake:: layer"):
        Classifier(found, load_network("digits"), tau=2, T=2)


def small(name: str = "small", weight: int = 1) -> IntegerNetwork:
    """One pixel, two classes; the weight distinguishes the programs of two networks."""
    out = layer(0, "out", np.full((2, 1, 1, 1), weight), np.zeros(2, int), None)
    return IntegerNetwork(name, (1, 1, 1), (out,), 8)


PIXEL = np.zeros((1, 1, 1), np.uint8)
NOT_LOADED = "fake: is not known to hold small with 8-bit weights; load.. it first"


def refuses(classifier: Classifier) -> bool:
    """Whether a classifier refuses to run, without sending a request."""
    before = len(classifier.device.link.requests)
    for run in (classifier.classify, classifier.trace):
        try:
            run(PIXEL)
        except ResiduumError as error:
            assert re.fullmatch(NOT_LOADED, str(error))  # noqa: PT017
            assert len(classifier.device.link.requests) == before
        else:
            return False
    return True


def test_nothing_runs_before_the_network_is_loaded():
    classifier = Classifier(device()[0], small(), tau=1, T=2)
    assert refuses(classifier)
    classifier.load()
    assert classifier.classify(PIXEL).cycles == 1001


def test_a_network_that_was_found_in_the_device():
    found, link = device()
    Classifier(found, small(), tau=1, T=2).load()
    again = Device(link)
    same, other = (Classifier(again, small(weight=w), tau=1, T=2) for w in (1, 2))
    assert other.differing_words() > 0
    assert refuses(other)
    assert refuses(same)
    assert same.differing_words() == 0
    assert not refuses(same)
    assert other.differing_words() > 0
    assert not refuses(same)


def test_another_classifier_takes_the_place():
    found, _ = device()
    first = Classifier(found, small(), tau=1, T=2)
    second = Classifier(found, small("other", 2), tau=1, T=2)
    first.load()
    second.load()
    assert refuses(first)
    first.load()
    assert not refuses(first)
    # The program does not depend on tau and T, so the words are the same.
    assert not refuses(Classifier(found, small(), tau=0, T=3))


def test_words_written_past_the_classifier_count_as_another_network():
    found, _ = device()
    classifier = Classifier(found, small(), tau=1, T=2)
    for write, kept in ((WEIGHTS, False), (TRAINS, True)):
        classifier.load()
        found.write(write, np.array([1], np.uint32))
        assert refuses(classifier) is not kept


def test_a_load_that_broke_off_leaves_no_network():
    found, link = device()
    classifier = Classifier(found, small(), tau=1, T=2)
    classifier.load()
    link.faults = itertools.chain(["", ""], itertools.repeat("request lost"))
    with pytest.raises(NoAnswer):
        Classifier(found, small("other", 2), tau=1, T=2).load()
    link.faults = itertools.repeat("")
    assert refuses(classifier)


@pytest.mark.parametrize("fault", ["request lost", "unplugged"])
def test_a_device_that_fell_silent_may_have_lost_its_network(fault):
    found, link = device()
    classifier = Classifier(found, small(), tau=1, T=2)
    classifier.load()
    link.faults = itertools.repeat(fault)
    with pytest.raises(ResiduumError):
        found.status()
    link.faults = itertools.repeat("")
    assert refuses(classifier)


def test_reset_keeps_the_network():
    found, _ = device()
    classifier = Classifier(found, small(), tau=1, T=2)
    classifier.load()
    found.reset()
    assert not refuses(classifier)


@pytest.mark.parametrize("image", [PIXEL.tolist(), torch.from_numpy(PIXEL), PIXEL.astype(int)])
def test_images_may_be_lists_and_tensors(image):
    classifier = Classifier(device()[0], small(), tau=np.uint8(1), T=np.int64(2))
    classifier.load()
    assert classifier.classify(image).prediction == 0


@pytest.mark.parametrize(
    ("image", "sentence"),
    [
        (PIXEL.astype(float), "an image must be whole numbers 0 .. 255 in 3 dimensions, not float"),
        ([[[math.nan]]], "an image must be whole numbers 0 .. 255 in 3 dimensions, not float64"),
        ([[[300]]], "in 3 dimensions; there is a 300"),
        ([[[1, 2]]], "network 'small' takes images of shape .1, 1, 1., not .1, 1, 2."),
    ],
)
def test_wrong_images_get_a_sentence(image, sentence):
    classifier = Classifier(device()[0], small(), tau=1, T=2)
    classifier.load()
    with pytest.raises(ResiduumError, match=sentence):
        classifier.classify(image)


@pytest.mark.parametrize(
    ("tau", "T", "sentence"),
    [
        (1.5, 2, "tau must be a whole number, not 1.5"),
        (1, math.nan, "T must be a whole number, not nan"),
        (1, "2", "T must be a whole number, not '2'"),
        (-1, 2, "tau must be at least 0, not -1"),
    ],
)
def test_wrong_steps_get_a_sentence(tau, T, sentence):
    found, link = device()
    with pytest.raises(ResiduumError, match=sentence):
        Classifier(found, small(), tau=tau, T=T)
    with pytest.raises(ResiduumError, match=sentence):
        found.run(0, 0, tau=tau, T=T)
    assert link.requests == []


@pytest.mark.parametrize(
    ("correction", "tau", "code"), [(None, 1, 0), ("mask", 1, 0), ("carry", 1, 1), ("carry", 0, 0)]
)
def test_the_correction_is_asked_of_the_device(correction, tau, code):
    found, link = device()
    classifier = Classifier(found, small(), tau=tau, T=2, correction=correction)
    classifier.load()
    classifier.classify(PIXEL)
    assert link.steps == (tau, 2, code)


def test_wrong_corrections_get_a_sentence():
    found, link = device()
    with pytest.raises(ResiduumError, match="the engine does not have the correction 'offset'"):
        Classifier(found, small(), tau=1, T=2, correction="offset")
    with pytest.raises(ResiduumError, match="the correction must be at most 1, not 2"):
        found.run(0, 0, tau=1, T=2, correction=2)
    assert link.requests == []


def test_steps_beyond_a_byte_do_not_become_others():
    with pytest.raises(ResiduumError, match="tau must be at most 255, not 256"):
        device()[0].run(0, 0, tau=256, T=1)


def test_lists_of_words_and_words_that_are_none():
    found, _ = device()
    found.write(np.int64(WEIGHTS), [1, 2, 3])
    found.write_scattered([WEIGHTS + 4, WEIGHTS + 3], torch.tensor([5, 4]))
    assert found.read(WEIGHTS, np.uint8(5)).tolist() == [1, 2, 3, 4, 5]
    assert found.read_scattered([WEIGHTS + 4, WEIGHTS]).tolist() == [5, 1]
    for call, sentence in (
        (lambda: found.write(WEIGHTS, [0.5]), "words must be whole numbers 0 .. 4294967295 in 1"),
        (lambda: found.write(WEIGHTS, [-1]), "in 1 dimension; there is a -1"),
        (lambda: found.write(WEIGHTS, 7), "in 1 dimension, not int64 of shape"),
        (lambda: found.write(-1, [1]), "an address must be at least 0, not -1"),
        (lambda: found.write_scattered([WEIGHTS], [1, 2]), "2 words cannot go to 1 addresses"),
        (lambda: found.read(WEIGHTS, -1), "a number of words must be at least 0, not -1"),
        (lambda: found.read(0.5, 1), "an address must be a whole number, not 0.5"),
        (lambda: found.read_scattered([[1]]), "addresses must be whole numbers"),
    ):
        with pytest.raises(ResiduumError, match=sentence):
            call()


def test_tags_count_up_from_a_random_one():
    links = [FakeLink() for _ in range(8)]
    for link in links:
        Device(link).status()
    tags = [[header(request)[1] for request in link.requests] for link in links]
    assert all((first + 1) & 0xFFFF == second for first, second in tags)
    assert len({first for first, _ in tags}) > 1
