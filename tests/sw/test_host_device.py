"""The host's side of the link, on a device that does not exist and that fails in every way."""

import itertools
import struct

import numpy as np
import pytest

from residuum.hw.isa.host_map import HostMap, Region
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
from residuum.sw.network.library import load_network
from tests.sw.fake_device import CLOCK_HZ, CONFIG, PASSING, FakeLink, identity

WEIGHTS = HostMap(CONFIG).address(Region.WEIGHTS)
TRAINS = HostMap(CONFIG).address(Region.TRAINS)


def device(**options) -> tuple[Device, FakeLink]:
    """A device that was found without trouble; faults come afterwards."""
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
    """Nothing is done twice or not at all, and no answer belongs to another request."""
    rng = np.random.default_rng(seed)
    faults = rng.choice(PASSING, 400).tolist()
    # Never more bad ones in a row than there are attempts.
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
    """Longer than all attempts at another request, but it ends."""
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
    with pytest.raises(DeviceError, match="protocol version 2 is not 1.; build its bitstream anew"):
        Device(FakeLink(words=identity(version=2) + (0, 0)))


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


def test_tags_count_up_from_a_random_one():
    links = [FakeLink() for _ in range(8)]
    for link in links:
        Device(link).status()
    tags = [[header(request)[1] for request in link.requests] for link in links]
    assert all((first + 1) & 0xFFFF == second for first, second in tags)
    assert len({first for first, _ in tags}) > 1
