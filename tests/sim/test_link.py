"""The accelerator's link: as bytes, on a pseudo terminal, at the pins of a UART."""

import random
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from residuum import cli
from residuum.sim.bench.fuzz import CONFIG, TAU, T, small_network
from residuum.sim.link.pty import PseudoPort, pseudo_port
from residuum.sim.link.simulated import ChildLink, build_accelerator, build_pins, open_simulated
from residuum.sw.golden.golden_model import simulate
from residuum.sw.host.classifier import Classifier
from residuum.sw.host.device import Device
from residuum.sw.host.links import LinkError, SerialLink, open_link
from residuum.sw.trace.compare import compare

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def program():
    """The child program of a small accelerator."""
    return build_accelerator(CONFIG)


@pytest.fixture
def child(program):
    link = ChildLink(program)
    yield link
    link.close()


def images(count: int) -> np.ndarray:
    shape = (count, *small_network().input_shape)
    return np.random.default_rng(5).integers(0, 256, shape, dtype=np.uint8)


def mismatches(device: Device, count: int = 3) -> int:
    """Classify and trace images on a device; the number of differences from the golden model."""
    network = small_network()
    classifier = Classifier(device, network, tau=TAU, T=T)
    classifier.load()
    wrong = 0
    for image in images(count):
        golden = simulate(network, image[None], tau=TAU, T=T)
        found = classifier.classify(image)
        wrong += found.prediction != golden.prediction[0]
        wrong += not np.array_equal(found.logits, golden.logits[0])
        wrong += compare(network, classifier.trace(image), golden).mismatches
    return wrong + classifier.differing_words()


def test_every_spike_over_the_link(child):
    with Device(child) as device:
        assert mismatches(device) == 0
        assert (device.retries, device.status().dropped, device.status().refused) == (0, 0, 0)


def test_cycles_of_a_run_are_those_of_its_layers(child):
    network = small_network()
    with Device(child) as device:
        classifier = Classifier(device, network, tau=TAU, T=T)
        classifier.load()
        (image,) = images(1)
        cycles = classifier.classify(image).cycles
        layers = classifier.trace(image).counters[0, :, -1].sum()
    assert layers <= cycles <= layers + 16


def test_images_under_way_are_those_one_by_one(child):
    network = small_network()
    with Device(child) as device:
        classifier = Classifier(device, network, tau=TAU, T=T)
        classifier.load()
        assert classifier.one_request
        fast = list(classifier.classify_all(images(20)))
        slow = list(classifier.classify_all(images(20), logits=True, one_by_one=True))
        golden = simulate(network, images(20), tau=TAU, T=T)
        assert [f.prediction for f in fast] == [s.prediction for s in slow]
        assert [f.prediction for f in fast] == golden.prediction.tolist()
        assert np.array_equal([f.logits for f in fast], golden.logits)
        assert np.array_equal([s.logits for s in slow], golden.logits)
        assert [f.cycles for f in fast] == [s.cycles for s in slow]
        assert (device.retries, device.status().dropped, device.status().refused) == (0, 0, 0)


class LossyLink:
    """A link that loses one byte in a thousand in each direction."""

    def __init__(self, link, seed: int):
        self.link = link
        self.random = random.Random(seed)
        self.lost = 0
        for name in ("name", "advice", "seconds_per_byte", "run_seconds"):
            setattr(self, name, getattr(link, name))
        self.latency = 0.5

    def _kept(self, data: bytes) -> bytes:
        kept = bytes(byte for byte in data if self.random.random() >= 1e-3)
        self.lost += len(data) - len(kept)
        return kept

    def send(self, data: bytes) -> None:
        self.link.send(self._kept(data))

    def receive(self, timeout: float) -> bytes:
        return self._kept(self.link.receive(timeout))

    def change_rate(self) -> bool:
        return False

    def close(self) -> None:
        self.link.close()


def test_no_image_is_wrong_when_bytes_are_lost(child):
    network = small_network()
    link = LossyLink(child, seed=3)
    with Device(link) as device:
        classifier = Classifier(device, network, tau=TAU, T=T)
        classifier.load()
        found = list(classifier.classify_all(images(200)))
        assert classifier.differing_words() == 0
    golden = simulate(network, images(200), tau=TAU, T=T)
    assert [answer.prediction for answer in found] == golden.prediction.tolist()
    assert np.array_equal([answer.logits for answer in found], golden.logits)
    assert link.lost > 10
    assert device.retries > 5


HOST = """
import sys
import numpy as np
from residuum.sim.bench.fuzz import TAU, T, small_network
from residuum.sw.host.classifier import Classifier
from residuum.sw.host.device import Device
from residuum.sw.host.links import open_link

network = small_network()
with Device(open_link(sys.argv[1])) as device:
    classifier = Classifier(device, network, tau=TAU, T=T)
    classifier.load()
    print("loaded", flush=True)
    images = np.random.default_rng(1).integers(0, 256, (10**6, *network.input_shape), np.uint8)
    for _ in classifier.classify_all(images):
        pass
"""


@pytest.mark.long
def test_hosts_that_are_killed_leave_no_trace(child):
    """24 hosts, each killed while images are on the way; the next one sees nothing of them."""
    generator = random.Random(1)
    with pseudo_port(child) as port:
        for _ in range(24):
            with subprocess.Popen(
                [sys.executable, "-c", HOST, f"serial:{port.path}"],
                stdout=subprocess.PIPE,
                text=True,
                cwd=ROOT,
            ) as host:
                assert host.stdout.readline() == "loaded\n"
                time.sleep(generator.random() * 0.3)
                host.kill()
            with Device(open_link(f"serial:{port.path}")) as device:
                assert mismatches(device, 2) == 0


def test_time_stands_still_while_nothing_happens(program):
    def cycles(pause: float) -> int:
        child = subprocess.Popen(
            [program, "--cycles"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        time.sleep(pause)
        return int(child.communicate(b"\xc0")[1])

    assert abs(cycles(0.5) - cycles(0)) < 200


def test_a_simulation_that_ended(child):
    device = Device(child)
    child.kill()
    with pytest.raises(LinkError, match="the simulation behind sim: ended"):
        device.status()


@pytest.mark.parametrize("network", [None, small_network()])
def test_sim_addresses(network, monkeypatch):
    asked = []
    monkeypatch.setattr("residuum.sim.link.simulated.build_accelerator", asked.append)
    monkeypatch.setattr("residuum.sim.link.simulated.ChildLink", lambda *_, **__: None)
    openers = {"sim": open_simulated}
    open_link("sim:lanes=2,steps=5", network=network, steps=9, openers=openers)
    assert (asked[0].lanes, asked[0].steps) == (2, 5)
    open_simulated("", network=network, steps=9)
    assert (asked[1].lanes, asked[1].steps) == (16, 9)


def test_serial_port(child):
    with pseudo_port(child) as port:
        for baud in (115_200, 1_000_000):
            with Device(open_link(f"serial:{port.path}@{baud}")) as device:
                assert mismatches(device, 1) == 0


def test_the_second_program_on_a_port_is_told(child):
    with pseudo_port(child) as port:
        first = SerialLink(port.path)
        with pytest.raises(LinkError, match="another program uses /dev/"):
            SerialLink(port.path)
        first.close()


def test_pulled_cable(child):
    port = PseudoPort(child)
    device = Device(SerialLink(port.path))
    port.close()
    with pytest.raises(LinkError, match=f"connection to {port.path} broke off; check the cable"):
        device.status()
    device.link.close()


def test_a_host_that_died_in_the_middle_of_a_frame(child):
    with pseudo_port(child) as port:
        first = SerialLink(port.path)
        first.send(b"\xc0\x03\x00\x00\x00" + b"\x01" * 40)
        first.close()
        with Device(SerialLink(port.path)) as device:
            assert device.status().dropped == 1
            assert mismatches(device, 1) == 0


@pytest.fixture(scope="module")
def pins():
    """A small accelerator with a UART, and its clocks per bit."""
    return build_pins(CONFIG, clock_hz=100_000_000, baud=12_000_000), 100 / 12


@pytest.mark.parametrize("off", [-0.02, 0.0, 0.02])
def test_pins_bit_by_bit(pins, off):
    """The host's UART has another clock, with a small error."""
    program, bit = pins
    link = ChildLink(program, arguments=["--bit-cycles", str(bit * (1 + off))])
    with Device(link) as device:
        assert mismatches(device, 1) == 0
        assert (device.retries, device.status().dropped) == (0, 0)


def test_a_damaged_byte_at_the_pins(pins):
    """A frame with a framing error is dropped; the next frame is not affected."""
    program, bit = pins
    wire = b"\xc0\x06\x00\x00\x00" + bytes(8) + b"\x00" * 4 + b"\xc0"
    symbols = b"".join(bytes([int(index == 7), value]) for index, value in enumerate(wire))
    link = ChildLink(program, arguments=["--marked", "--bit-cycles", str(bit)])
    link.send(symbols)
    link.send = lambda data, send=link.send: send(b"".join(bytes([0, value]) for value in data))
    with Device(link) as device:
        assert device.status().dropped == 1


def test_commands_on_the_simulated_engine(capsys):
    assert cli.main(["run", "--device", "sim:", "--model", "digits", "--images", "3"]) == 0
    printed = capsys.readouterr().out
    assert "digits: 3 of 3 images right (100.00 %), 8-bit weights, tau 4, T 4" in printed
    assert re.search(r"[\d,.]+ cycles per image: [\d.]+ us at the clock of the device", printed)
    assert cli.main(["check", "--images", "1", "--tau", "0", "--T", "3"]) == 0
    assert "1 images, tau 0, T 3: 0 mismatches, 0 of" in capsys.readouterr().out


def test_a_mismatch_is_told_and_ends_with_status_1(monkeypatch, capsys):
    """A golden model without silencing differs from the engine."""

    def unmasked(network, images, *, tau, T, correction):
        return simulate(network, images, tau=0, T=tau + T)

    monkeypatch.setattr("residuum.sw.host.check.simulate", unmasked)
    assert cli.main(["check", "--images", "1"]) == 1
    assert "values differ; the first: layer 'conv1', image 0, position" in capsys.readouterr().err


def test_a_device_that_holds_nothing(capsys):
    assert cli.main(["run", "--images", "1", "--loaded"]) == 1
    assert re.search(
        r"sim: does not hold digits: \d+ of \d+ words differ; leave --loaded out",
        capsys.readouterr().err,
    )


def test_serve_and_the_commands_on_it():
    """``residuum serve`` as a separate process, and the commands for a board."""
    command = [sys.executable, "-m", "residuum"]
    with subprocess.Popen(
        [*command, "serve", "--model", "digits"], stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as server:
        try:
            address = re.search(r"serial:\S+", server.stdout.readline())[0]

            def residuum(*words: str) -> str:
                done = subprocess.run(
                    [*command, *words, "--device", address],
                    capture_output=True,
                    text=True,
                    cwd=ROOT,
                )
                assert done.returncode == 0, done.stderr
                return done.stdout

            assert re.search(r"lanes +16", residuum("info"))
            assert "digits: 4 of 4 images right (100.00 %)" in residuum("run", "--images", "4")
            assert "2 images, tau 4, T 4: 0 mismatches, 0 of" in residuum(
                "check", "--images", "2", "--loaded"
            )
        finally:
            server.terminate()
