"""Counts the bytes on the wire for an image, in the frames of the host library."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from residuum.hw.isa.config import EngineConfig
from residuum.hw.isa.protocol import Identity
from residuum.sim.link.link_model import LinkModel, Memory
from residuum.sw.compiler.program import Program, compile_network
from residuum.sw.network.integer_network import IntegerNetwork

# A byte with start and stop bit.
BITS_PER_BYTE = 10


@dataclass(frozen=True)
class Transfer:
    """Bytes on the wire, including framing, escapes and CRC.

    Attributes
    ----------
    load
        The requests that load the program.
    sent, received
        Mean per image. Sent: the request with its pixels. Received: its reply, with the logits.
    """

    load: int
    sent: float
    received: float

    def image_seconds(self, baud: int) -> float:
        """Seconds for an image at a bit rate: of the longer direction, since the replies come while
        the next images are sent."""
        return max(self.sent, self.received) * BITS_PER_BYTE / baud

    def load_seconds(self, baud: int) -> float:
        """Seconds to load the program at a bit rate; replies come meanwhile."""
        return self.load * BITS_PER_BYTE / baud


class CountingLink:
    """A link (`residuum.sw.host.links.Link`) to a model of the device that only counts bytes; each
    run takes ``cycles``."""

    name = "the model of the link"
    advice = "this is a fault of the program"
    seconds_per_byte = 0.0
    latency = 60.0
    run_seconds = 60.0

    def __init__(self, program: Program, *, cycles: int = 0):
        identity = Identity(config=program.config, clock_hz=1).words()
        self._device = LinkModel(identity, Memory(program.config), lambda *request: (0, cycles))
        self._answers = b""
        self.sent = self.received = 0

    def send(self, data: bytes) -> None:
        self.sent += len(data)
        for byte in data:
            self._answers += self._device.byte(byte) or b""

    def receive(self, timeout: float) -> bytes:
        data, self._answers = self._answers, b""
        self.received += len(data)
        return data

    def change_rate(self) -> bool:
        return False

    def close(self) -> None:
        pass


def count_transfer(
    program: Program, images: np.ndarray, *, tau: int, T: int, correction: str | None = None
) -> Transfer:
    """Load the program and classify the images, uint8 (N, C, H, W), as `residuum run` does."""
    from residuum.sw.host.classifier import Classifier
    from residuum.sw.host.device import Device

    link = CountingLink(program)
    with Device(link) as device:
        classifier = Classifier(device, program.network, tau=tau, T=T, correction=correction)
        before = link.sent
        classifier.load()
        load = link.sent - before
        sent, received = link.sent, link.received
        for _ in classifier.classify_all(images):
            pass
    return Transfer(
        load=load,
        sent=(link.sent - sent) / len(images),
        received=(link.received - received) / len(images),
    )


def transfer(
    network: IntegerNetwork,
    config: EngineConfig,
    images: np.ndarray,
    tau: int,
    T: int,
    correction: str,
) -> dict[str, float]:
    """`count_transfer` as a piece of work: the values of the `Transfer` by name."""
    program = compile_network(network, config, tau=tau, T=T, correction=correction)
    return asdict(count_transfer(program, images, tau=tau, T=T, correction=correction))
