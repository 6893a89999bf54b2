"""Memory contents of an engine at power-up, from the equivalent host writes."""

import hashlib
import struct
from collections import defaultdict
from collections.abc import Mapping

from residuum.hw.isa.config import EngineConfig
from residuum.hw.isa.host_map import HOST_WORD_BITS, HostMap, Region

# Regions that a bitstream can initialise. Trains are excluded, because only a host write computes
# their occupancy.
STORED = frozenset({Region.DESCRIPTORS, Region.TABLES, Region.PARAMETERS, Region.WEIGHTS})

# Bytes of a digest of contents, which is the second half of the digest in a device's identity.
CONTENTS_DIGEST_BYTES = 8


def contents_digest(writes: Mapping[int, int]) -> bytes:
    """The start of the SHA-256 of a network's words in the memories, sorted by host address; zeros
    if there are none.

    ``writes`` are those of `Contents`. Each address and each word counts as 32 bits, lowest byte
    first.
    """
    if not writes:
        return bytes(CONTENTS_DIGEST_BYTES)
    pairs = b"".join(struct.pack("<II", *pair) for pair in sorted(writes.items()))
    return hashlib.sha256(pairs).digest()[:CONTENTS_DIGEST_BYTES]


class Contents:
    """Initial words of every memory of an engine.

    Parameters
    ----------
    config : EngineConfig
        The engine.
    writes : mapping of int to int
        Host address to host word, as a host would write them: descriptors, axis tables, parameters
        and weights. Other words are 0.

    Raises
    ------
    ValueError
        If an address is in none of these memories, or a word does not fit 32 bits.
    """

    def __init__(self, config: EngineConfig, writes: Mapping[int, int]):
        host_map = HostMap(config)
        self._memories: dict[tuple[Region, int], dict[int, int]] = defaultdict(dict)
        for address, word in writes.items():
            number, offset = divmod(address, 1 << host_map.offset_bits)
            if number not in STORED or offset >= host_map.size(Region(number)):
                raise ValueError(f"address must be that of a stored memory, not {address!r}")
            if not 0 <= word < 1 << HOST_WORD_BITS:
                raise ValueError(f"word must fit {HOST_WORD_BITS} bits, not {word!r}")
            bank = part = index = shift = 0
            for name, width in host_map.fields(Region(number)):
                value = offset & (1 << width) - 1
                offset >>= width
                if name == "bank":
                    bank = value
                elif name == "part":
                    part = value
                else:
                    index |= value << shift
                    shift += width
            memory = self._memories[Region(number), bank]
            memory[index] = memory.get(index, 0) | word << part * HOST_WORD_BITS

    def words(self, region: Region, width: int, *, bank: int = 0) -> list[int]:
        """The words of a memory up to the last one written, each cut to its lowest ``width``
        bits."""
        memory = self._memories[region, bank]
        mask = (1 << width) - 1
        return [memory.get(index, 0) & mask for index in range(max(memory, default=-1) + 1)]
