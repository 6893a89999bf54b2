"""What the commands say about the network in the bitstream of a device."""

from types import SimpleNamespace

import numpy as np
import pytest

from residuum.commands.devices import bitstream_note
from residuum.hw.isa.contents import contents_digest

PROGRAM = SimpleNamespace(addresses=np.array([5, 3]), words=np.array([7, 1]))
SAME = contents_digest({3: 1, 5: 7})


@pytest.mark.parametrize(
    ("digest", "name", "note"),
    [
        (bytes(16), "", ""),
        (bytes([1] * 8) + SAME, "mine", " since power-up, although its bitstream has it"),
        (bytes([1] * 16), "mine", ", and its bitstream has mine (digest 0101010101010101)"),
        (bytes([1] * 8) + bytes(8), "", ", and its bitstream has no network"),
    ],
    ids=["simulated", "same", "another", "none"],
)
def test_the_network_of_the_bitstream_is_told(digest: bytes, name: str, note: str) -> None:
    identity = SimpleNamespace(digest=digest, name=name)
    classifier = SimpleNamespace(device=SimpleNamespace(identity=identity), program=PROGRAM)
    assert bitstream_note(classifier).startswith(note)  # type: ignore[arg-type]
    assert bool(bitstream_note(classifier)) == bool(note)  # type: ignore[arg-type]
