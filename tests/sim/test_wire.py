"""The model of the wire: against published figures, and in its two links."""

import time

import numpy as np
import pytest

from residuum.hw.isa import protocol
from residuum.hw.isa.host_map import Region
from residuum.hw.isa.presets import PRESETS
from residuum.sim.bench.transfer import CountingLink
from residuum.sim.link.link_model import LinkModel, Memory
from residuum.sim.link.paced import PacedLink
from residuum.sim.link.virtual import CYCLES_PER_BYTE, VirtualLink
from residuum.sim.link.wire import Wire, WireDown, WireUp
from residuum.sw.compiler.program import compile_network
from residuum.sw.errors import ResiduumError
from residuum.sw.host.classifier import Classifier
from residuum.sw.host.device import Device
from residuum.sw.network.library import load_network
from tests.sw.fake_device import CONFIG, FakeLink, identity


def stop_and_wait(wire: Wire, size: int = 1024, count: int = 100) -> float:
    """KiB per second of requests that each wait for a reply of some bytes."""
    up, down, now = WireUp(wire), WireDown(wire), 0.0
    for _ in range(count):
        down.send(up.send(now, size), bytes(18))
        now = down.due()
        assert len(down.receive(now)) == 18
    return count * size / 1024 / now


@pytest.mark.parametrize(("latency", "least", "most"), [(16, 50, 60), (1, 220, 250)])
def test_stop_and_wait_is_as_fast_as_users_report(latency, least, most):
    assert least <= stop_and_wait(Wire(baud=3_000_000, latency=latency)) <= most


@pytest.mark.parametrize(("baud", "packet"), [(3_000_000, 64), (3_000_001, 512)])
def test_full_packets_do_not_wait_for_the_timer(baud, packet):
    wire = Wire(baud=baud, latency=255)
    down, room = WireDown(wire), packet - 2
    down.send(1.0, bytes(2 * room + 5))
    byte = wire.seconds_per_byte
    assert down.due() == pytest.approx(1 + room * byte)
    assert len(down.receive(1 + 2.01 * room * byte)) == 2 * room
    assert down.due() == pytest.approx(1 + (2 * room + 1) * byte + 0.255)
    assert len(down.receive(2.0)) == 5
    assert (down.due(), down.receive(3.0)) == (None, b"")


def test_the_timer_ends_a_packet_between_two_replies():
    down = WireDown(Wire(baud=3_000_000, latency=1))
    down.send(0.0, b"ab")
    down.send(0.5, b"cd")
    assert (down.receive(0.1), down.receive(0.4), down.receive(0.6)) == (b"ab", b"", b"cd")


def test_bytes_go_up_one_after_the_other():
    up = WireUp(Wire(baud=1_000_000))
    assert up.send(0.0, 100) == pytest.approx(1e-3)
    assert up.send(0.0, 100) == pytest.approx(2e-3)
    assert up.send(1.0, 100) == pytest.approx(1.001)
    assert up.busy == pytest.approx(3e-3)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"baud": 0}, "0 is no baud rate of a bridge; give 1 to 12,000,000"),
        ({"baud": 12_000_001}, "12,000,001 is no baud rate of a bridge"),
        ({"baud": 9600, "latency": 0}, "0 ms is no latency of a bridge; give 1 to 255"),
        ({"baud": 9600, "latency": 256}, "256 ms is no latency of a bridge"),
    ],
)
def test_wires_that_no_bridge_has(given, sentence):
    with pytest.raises(ResiduumError, match=sentence):
        Wire(**given)


CLOCK_HZ = 1_000_000


def test_a_run_takes_its_cycles_on_the_clock_of_a_virtual_link():
    wire = Wire(baud=3_000_000, latency=16)
    link = VirtualLink(FakeLink(), wire, clock_hz=CLOCK_HZ)
    with Device(link) as device:
        before = link.now
        cycles = device.run(0, 1, tau=1, T=1).cycles
        taken = link.now - before
    request = protocol.run(0, 1, tau=1, T=1).encode()
    least = len(request) * wire.seconds_per_byte + cycles / CLOCK_HZ + 0.016
    others = (2 * len(request) + 20) * CYCLES_PER_BYTE / CLOCK_HZ + 40 * wire.seconds_per_byte
    assert least < taken < least + others
    assert link.engine == pytest.approx(cycles / CLOCK_HZ)


def test_a_virtual_link_waits_in_no_real_time():
    link = VirtualLink(FakeLink(), Wire(baud=300), clock_hz=CLOCK_HZ)
    start = time.monotonic()
    with Device(link) as device:
        device.read(device.host_map.address(Region.TRAINS), 100)
    assert link.now > 10
    assert time.monotonic() - start < 5


class Echo:
    """A link whose device answers at once."""

    name, advice, seconds_per_byte, latency, run_seconds = "echo", "", 0.0, 1.0, 1.0

    def __init__(self):
        self.device = LinkModel(identity(), Memory(CONFIG), lambda *request: (0, 0))
        self.coming = b""

    def send(self, data):
        for byte in data:
            self.coming += self.device.byte(byte) or b""

    def receive(self, timeout):
        if not self.coming:
            time.sleep(min(timeout, 1e-3))
        data, self.coming = self.coming, b""
        return data

    def change_rate(self):
        return False

    def close(self):
        pass


def test_a_paced_link_takes_the_time_of_the_wire():
    wire = Wire(baud=200_000, latency=20)
    with Device(PacedLink(Echo(), wire)) as device:
        start = time.monotonic()
        for _ in range(3):
            device.status()
        taken = time.monotonic() - start
        assert device.retries == 0
    request, reply = 18, 30
    assert taken >= 3 * (0.02 + (request + 1) * wire.seconds_per_byte)
    assert taken < 3 * (0.02 + (request + reply) * wire.seconds_per_byte) + 1


# Cycles of a run as measured, rounded up, and the target of images per second.
TARGETS = [
    ("mnist", 8, "12f", 7_000, 16, 120),
    ("mnist", 8, "12f", 7_000, 1, 260),
    ("cifar10", 4, "85f-4bit", 150_000, 16, 60),
    ("cifar10", 4, "85f-4bit", 150_000, 1, 85),
]


@pytest.mark.parametrize(("model", "bits", "preset", "cycles", "latency", "target"), TARGETS)
def test_images_and_programs_are_as_fast_as_the_wire(model, bits, preset, cycles, latency, target):
    network = load_network(model, bits)
    program = compile_network(network, PRESETS[preset], tau=4, T=4)
    wire = Wire(baud=3_000_000, latency=latency)
    link = VirtualLink(CountingLink(program, cycles=cycles), wire, clock_hz=125_000_000)
    with Device(link) as device:
        classifier = Classifier(device, network, tau=4, T=4)
        start, sent = link.now, device.sent
        classifier.load()
        of_wire = (link.now - start) / ((device.sent - sent) * wire.seconds_per_byte)
        assert of_wire < 1.1 or (latency, preset) == (16, "12f")
        images = np.random.default_rng(1).integers(0, 256, (30, *network.input_shape), np.uint8)
        start, busy = link.now, link.up.busy
        assert len(list(classifier.classify_all(images))) == 30
        seconds = link.now - start
    assert 30 / seconds > target
    # The wire is the limit: nothing else takes a third of the time.
    assert link.up.busy - busy > 2 / 3 * (seconds - wire.seconds_of_latency)
    assert device.retries == 0
