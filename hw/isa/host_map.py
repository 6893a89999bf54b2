"""The host address map of an engine: regions, control words, counters.

Pure data, shared by the gateware (which decodes addresses) and the software (which makes them).
"""

import enum
from collections.abc import Iterator
from dataclasses import dataclass

from residuum.hw.isa.config import EngineConfig, bits_for_count
from residuum.hw.isa.descriptors import DESCRIPTOR_WORDS, AxisEntry

HOST_WORD_BITS = 32


class Region(enum.IntEnum):
    """Regions of the host address space, selected by the four highest address bits."""

    CONTROL = 0
    DESCRIPTORS = 1
    TABLES = 2
    PARAMETERS = 3
    WEIGHTS = 4
    TRAINS = 5
    OCCUPANCY = 6
    LOGITS = 7
    COUNTERS = 8
    EXTERNAL = 9
    MEMORY_TEST = 10


REGION_BITS = 4

# Regions that READ and WRITE requests may access. The request RUN writes CONTROL.
READABLE = frozenset(Region) - {Region.CONTROL}
WRITABLE = frozenset(
    {
        Region.DESCRIPTORS,
        Region.TABLES,
        Region.PARAMETERS,
        Region.WEIGHTS,
        Region.TRAINS,
        Region.EXTERNAL,
        Region.MEMORY_TEST,
    }
)


class Control(enum.IntEnum):
    """Words of `Region.CONTROL`."""

    RUN = 0  # write: first layer in bits 7..0, last layer in bits 15..8; starts the engine
    STEPS = 1  # write: tau in bits 7..0, T in bits 15..8, the `Correction` in bit 16
    STATUS = 2  # read: bit 0 busy, bit 1 the last RUN was refused: T = 0, tau + T > S, or a mask
    # after the probe of an engine without masks
    CLASS = 3  # read: index of the largest logit of the last output layer


class Pattern(enum.IntEnum):
    """What the memory tester writes: a word for each address. ADDRESS and PAGE together are
    different at any two addresses."""

    WALKING_ONE = 0  # bit address % 16
    WALKING_ZERO = 1
    ADDRESS = 2  # the lower 16 bits of the address
    PAGE = 3  # the bits above
    RANDOM = 4
    INVERTED = 5  # the complement of RANDOM


class MemoryTest(enum.IntEnum):
    """Words of `Region.MEMORY_TEST`. A write to RUN starts the tester; only RUN may be accessed
    while it is busy."""

    RUN = 0  # write: bit 0 write, bit 1 read and compare, bits 4..2 `Pattern`; read: bit 0 busy
    SEED = 1  # of the random words, not 0
    FIRST = 2  # first burst of 8 words
    COUNT = 3  # number of bursts, not 0
    ERRORS = 4  # read: number of wrong words
    BAD_BITS = 5  # read: bits that were wrong in some word
    FIRST_BAD = 6  # read: address of the first wrong word
    WORDS = 7  # read: what it should be, and from bit 16 on what it was
    CRC = 8  # read: CRC-32 of the words read, the lower byte of each first


class Correction(enum.IntEnum):
    """What the residual potential decides after the probe, in rate code."""

    MASK = 0  # v(tau) < 0 silences a neuron in the inference; v starts anew
    CARRY = 1  # v goes on; only the output layer leaves the probe out of its sums


def steps_word(tau: int, T: int, correction: Correction) -> int:
    """The word of `Control.STEPS`."""
    return tau | T << 8 | correction << 16


class Counter(enum.IntEnum):
    """Words of a layer in `Region.COUNTERS`, in the order in which they become final. From the last
    event of a layer on, one word is stored per cycle; word 1 is unused, because the counters lag by
    some cycles, but for word 0, which is final with the last group of output channels."""

    WEIGHT_STALLS = 0  # a group of output channels waits for its weight rows
    EVENTS = 2  # weight rows added
    WINDOWS = 3  # windows taken over by the drain: results, and empty ones
    DRAIN_STALLS = 4  # array idle: window complete, drain still busy with the one before
    SCAN_STALLS = 5  # array idle: no event found yet
    SPIKES = 6  # spike bits of the trains of all events; bits of the pixels, for an image
    CYCLES = 7  # from the last result of the layer before (or the start of the run) to its own


COUNTER_WORDS = 8


def host_words(width: int) -> int:
    """Host words that a memory word of `width` bits takes."""
    return -(-width // HOST_WORD_BITS)


def split_words(value: int, width: int) -> Iterator[int]:
    """The host words of one memory word, lowest first."""
    for index in range(host_words(width)):
        yield value >> index * HOST_WORD_BITS & (1 << HOST_WORD_BITS) - 1


@dataclass(frozen=True)
class HostMap:
    """Host addresses of all memories and registers of an engine.

    A memory word that is wider than a host word is written in consecutive parts in ascending order;
    the last part stores the whole word.
    """

    config: EngineConfig

    def fields(self, region: Region) -> tuple[tuple[str, int], ...]:
        """Address fields of a region, lowest first, with their widths."""
        c = self.config
        layer, lane, bank = c.layer_bits, c.lane_bits, c.bank_bits
        return {
            Region.CONTROL: (("word", 2),),
            Region.DESCRIPTORS: (("word", bits_for_count(DESCRIPTOR_WORDS)), ("layer", layer)),
            Region.TABLES: (("part", self._part_bits(AxisEntry.width(c))), ("entry", c.table_bits)),
            Region.PARAMETERS: (
                ("part", self._part_bits(2 * HOST_WORD_BITS)),
                ("bank", bank),
                ("row", c.parameter_row_bits),
            ),
            Region.WEIGHTS: (
                ("part", self._part_bits(c.tile_lanes * c.weight_bits)),
                ("bank", bank),
                ("row", c.weight_row_bits),
            ),
            Region.TRAINS: (("lane", lane), ("bank", bank), ("row", c.feature_row_bits)),
            Region.OCCUPANCY: (("bank", bank), ("row", c.feature_row_bits)),
            Region.LOGITS: (("bank", bank), ("row", c.logit_row_bits)),
            Region.COUNTERS: (("word", bits_for_count(COUNTER_WORDS)), ("layer", layer)),
            # A host word is two words, the first one in the lower half.
            Region.EXTERNAL: (("pair", max(0, c.external - 1)),),
            Region.MEMORY_TEST: (("word", bits_for_count(len(MemoryTest))),),
        }[region]

    def size(self, region: Region) -> int:
        """Number of host addresses of a region, from its first address on. Some may select no
        memory, where a lower field (lane, bank, part) has unused values."""
        c = self.config
        if region in (Region.EXTERNAL, Region.MEMORY_TEST) and not c.external:
            return 0
        *lower, (_, highest) = self.fields(region)
        count = {
            Region.DESCRIPTORS: c.layers,
            Region.TABLES: c.table_entries,
            Region.PARAMETERS: c.parameter_rows,
            Region.WEIGHTS: c.weight_rows,
            Region.TRAINS: c.feature_rows,
            Region.OCCUPANCY: c.feature_rows,
            Region.LOGITS: c.logit_rows,
            Region.COUNTERS: c.layers,
        }.get(region, 1 << highest)
        return count << sum(width for _, width in lower)

    @staticmethod
    def _part_bits(width: int) -> int:
        return bits_for_count(host_words(width))

    @property
    def offset_bits(self) -> int:
        return max(sum(width for _, width in self.fields(region)) for region in Region)

    @property
    def address_bits(self) -> int:
        return REGION_BITS + self.offset_bits

    def address(self, region: Region, /, **values: int) -> int:
        """The host address with the named fields, the others zero."""
        result = shift = 0
        for name, width in self.fields(region):
            value = values.pop(name, 0)
            if not 0 <= value < 1 << width:
                raise ValueError(f"{name} must fit {width} bits, not {value!r}")
            result |= value << shift
            shift += width
        if values:
            raise ValueError(f"region {region.name} has no field {next(iter(values))!r}")
        return result | region << self.offset_bits
