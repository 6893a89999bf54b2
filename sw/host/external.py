"""The network in the external memory of a device: written once, it stays there from run to run.

A label in the last words of the memory says what it holds. The device computes the CRC of the words
itself, so a network that is damaged, or only half there, is noticed before it runs.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import or_

import numpy as np

from residuum.hw.isa.config import EXTERNAL_BURST_WORDS, LABEL_BURSTS
from residuum.hw.isa.host_map import MemoryTest, Pattern, Region
from residuum.hw.isa.protocol import WORD_BYTES, pack_words, unpack_words
from residuum.sw.compiler.program import Program
from residuum.sw.errors import ResiduumError
from residuum.sw.host.device import Device, Done, ignore

MAGIC = int.from_bytes(b"RSNW", "little")
NAME_BYTES = 16
# Host words of a burst.
PAIRS = EXTERNAL_BURST_WORDS // 2
# Host words of a label: magic, bursts, CRC, zero, name.
LABEL_WORDS = LABEL_BURSTS * PAIRS
BURST_BYTES = PAIRS * WORD_BYTES
# Bits of `MemoryTest.RUN`.
_WRITE, _READ = 0b01, 0b10
# The patterns of a memory test, by name.
PATTERNS = {pattern.name.lower().replace("_", " "): pattern for pattern in Pattern}


@dataclass(frozen=True)
class Held:
    """What an external memory holds, from its start on.

    Attributes
    ----------
    name
        Of the network; at most 16 characters.
    bursts, crc
        Number of bursts of 8 words, and their CRC-32, as labelled.
    intact
        Whether the words have this CRC.
    """

    name: str
    bursts: int
    crc: int
    intact: bool


def held(device: Device) -> Held | None:
    """What the external memory of a device holds; None without a label."""
    label = _label(device)
    if label is None:
        return None
    name, bursts, crc = label
    return Held(name, bursts, crc, crc_of(device, bursts) == crc)


def holds(device: Device, program: Program) -> bool:
    """Whether the external memory holds the weights of a program, intact."""
    label, (bursts, crc) = _label(device), _of(program)
    return label is not None and label[1:] == (bursts, crc) and crc_of(device, bursts) == crc


def store(device: Device, program: Program, *, done: Done = ignore) -> None:
    """Write the weights of a program; calls ``done(words)`` after every frame. ``ResiduumError`` if
    the memory then holds something else."""
    bursts, crc = _of(program)
    label = _label_address(device)
    # Interrupted from here on, the memory has no network.
    device.write(label, np.zeros(1, np.uint32))
    words = program.external.view("<u4")
    device.write(device.host_map.address(Region.EXTERNAL), words, done=done)
    name = program.network.name.encode("ascii", errors="replace")[:NAME_BYTES]
    parts = (MAGIC, bursts, crc, 0, *unpack_words(name.ljust(NAME_BYTES, b"\0")))
    if crc_of(device, bursts) != crc:
        raise ResiduumError(
            f"the external memory of {device.link.name} does not keep what is written to it; "
            "`residuum memtest` tells more"
        )
    device.write(label, np.array(parts, np.uint32))


def crc_of(device: Device, bursts: int) -> int:
    """The CRC-32 of the words of the first bursts."""
    address = device.host_map.address(Region.MEMORY_TEST)
    device.write(address + MemoryTest.FIRST, np.array([0, bursts], np.uint32))
    device.write(address, np.array([_READ], np.uint32))
    _wait(device)
    return int(device.read(address + MemoryTest.CRC, 1)[0])


@dataclass(frozen=True)
class TestResult:
    """What the memory tester found: number of wrong words, the bits that were wrong in some word,
    and of the first wrong word its address, what it should be, and what it was."""

    errors: int
    bad_bits: int
    address: int
    expected: int
    read: int

    @property
    def bits(self) -> str:
        """The numbers of the wrong bits."""
        return ", ".join(str(bit) for bit in range(16) if self.bad_bits >> bit & 1)

    @property
    def place(self) -> str:
        """The first wrong word in words."""
        if not self.errors:
            return ""
        return f"word {self.address:#x}: {self.read:#06x} instead of {self.expected:#06x}"


def test(device: Device, pattern: Pattern, bursts: int, *, seed: int) -> TestResult:
    """Write a pattern to the first bursts of the external memory, read and compare it. The network
    in it is lost."""
    device.program = None
    address = device.host_map.address(Region.MEMORY_TEST)
    device.write(address + MemoryTest.SEED, np.array([seed, 0, bursts], np.uint32))
    device.write(address, np.array([_WRITE | _READ | pattern << 2], np.uint32))
    _wait(device)
    errors, bad_bits, first, words = device.read(address + MemoryTest.ERRORS, 4).tolist()
    return TestResult(errors, bad_bits, first, words & 0xFFFF, words >> 16)


def combined(results: Sequence[TestResult]) -> TestResult:
    """All wrong words of several tests, with all their bits, and the first one of them."""
    first = next((result for result in results if result.errors), results[0])
    bits = reduce(or_, (result.bad_bits for result in results))
    return replace(first, errors=sum(result.errors for result in results), bad_bits=bits)


def _wait(device: Device) -> None:
    """Wait for the memory tester."""
    while device.read(device.host_map.address(Region.MEMORY_TEST), 1)[0]:
        pass


def _of(program: Program) -> tuple[int, int]:
    """Bursts and CRC-32 of the weights of a program."""
    words = program.external.astype("<u2", copy=False)
    return len(words) // EXTERNAL_BURST_WORDS, zlib.crc32(words.tobytes())


def _label(device: Device) -> tuple[str, int, int] | None:
    """Name, bursts and CRC-32 on the label; None without one."""
    magic, bursts, crc, _, *name = device.read(_label_address(device), LABEL_WORDS).tolist()
    most = (1 << device.identity.config.burst_bits) - LABEL_BURSTS
    if magic != MAGIC or not 0 < bursts <= most:
        return None
    return pack_words(name).rstrip(b"\0").decode("ascii", errors="replace"), bursts, crc


def _label_address(device: Device) -> int:
    host_map = device.host_map
    return host_map.address(Region.EXTERNAL) + host_map.size(Region.EXTERNAL) - LABEL_WORDS
