"""The one configuration object of the engine.

Every size of the hardware follows from an `EngineConfig`. The compiler in ``sw/`` reads the same
object, so hardware and software agree on every width and address.
"""

import dataclasses
from dataclasses import dataclass
from functools import cached_property
from typing import Any

PIXEL_BITS = 8
MAX_TILE_LANES = 16
# A host word of 32 bits holds a spike train and, above it, the bit of a silenced neuron.
MAX_STEPS = 31

# Words of a block memory of 36 bits.
RECEIVE_UNIT = 512

# An external memory of weight rows has words of 16 bits, and is read in bursts of 8 words.
EXTERNAL_WORD_BITS = 16
EXTERNAL_BURST_WORDS = 8
# Bursts at the end of an external memory, for a label of what it holds.
LABEL_BURSTS = 2
# Weight rows of a chunk, the unit in which rows are read ahead, claimed and released.
CHUNK_ROWS = EXTERNAL_BURST_WORDS


def bits_for_count(count: int) -> int:
    """Width of an unsigned field that holds 0 .. count - 1 (0 bits for a single value)."""
    return (count - 1).bit_length()


def _ceil_power_of_two(value: int) -> int:
    return 1 << bits_for_count(value)


@dataclass(frozen=True, kw_only=True)
class EngineConfig:
    """Sizes of an engine.

    Parameters
    ----------
    lanes : int
        P, output channels that are accumulated in parallel.
    tile_lanes : int
        Lanes that share one integrate-and-fire pipeline; divides ``lanes``. A window drains in
        at most ``tile_lanes`` cycles. Must be a power of two when there is more than one tile.
    event_width : int
        Events per cycle, 1 or 2: the banks of the feature memory take turns in giving them, so two
        need two tiles or more.
    steps : int
        S, time steps (slots of a spike train) that are processed in parallel; tau + T <= S. At most
        31: a train and its mask bit share a host word.
    weight_bits, accumulator_bits, potential_bits : int
        Widths of the signed weights, sums of weights, and potentials (also of the logits).
    fraction_bits : int
        f, fraction bits of the potential. In radix code, and for layers fed by an image, each layer
        has f or none, because a number counts up to 255 weight units.
    shift_bits : int
        H, the shift of the weights of a second source whose layer asks for one; 0: the engine has
        no such shift.
    weight_rows : int
        Rows of the on-chip weight store; one row is one weight for each lane.
    feature_rows : int
        Rows of the feature memory; one row holds the trains of ``lanes`` neurons.
    parameter_rows : int
        Thresholds and biases that each tile stores, all layers together. A layer takes as many as
        the tile has lanes in use, for each group of output channels.
    logit_rows : int
        Logits that each tile stores.
    table_entries : int
        Entries of the axis tables, all layers together.
    layers : int
        Layer descriptors that the engine stores.
    masks : int
        1: neurons can be silenced (the correction mask), and the feature memory keeps whether they
        were, for the host to read; 0: a run with a probe and this correction is refused.
    external : int
        Bits of the address of a word of 16 bits in an external memory (24: 32 MB), from which
        weight rows come; 0: the engine has none. The weight store is a ring of the rows that are
        read ahead; ``weight_rows`` is a power of two then, and there are two events per cycle. A
        network whose weights fit the store does not need the external memory.
    receive_words : int
        Words of 32 bits for requests that have arrived and are not yet executed, a multiple of 512:
        as many images are on the way at a time as fit in here, up to four. A larger image is
        written in parts.
    memory : str
        ``"inferred"``: memories described behaviourally, for simulation and any device;
        ``"ecp5"``: DP16KD primitives with their output registers.

    Raises
    ------
    TypeError, ValueError
        If a size is not an integer, or is outside its range.
    """

    lanes: int = 16
    tile_lanes: int = 8
    event_width: int = 1
    steps: int = 8
    weight_bits: int = 8
    accumulator_bits: int = 16
    potential_bits: int = 24
    fraction_bits: int = 4
    shift_bits: int = 4
    weight_rows: int = 2048
    feature_rows: int = 512
    parameter_rows: int = 512
    logit_rows: int = 64
    table_entries: int = 512
    layers: int = 16
    masks: int = 1
    external: int = 0
    receive_words: int = 2560
    memory: str = "inferred"

    def __post_init__(self) -> None:
        limits = {
            "lanes": (1, 1024),
            "tile_lanes": (1, MAX_TILE_LANES),
            "event_width": (1, 2),
            "steps": (1, MAX_STEPS),
            "weight_bits": (2, 16),
            "accumulator_bits": (4, 32),
            "potential_bits": (8, 32),
            "fraction_bits": (0, 12),
            "shift_bits": (0, 12),
            "weight_rows": (1, 1 << 20),
            "feature_rows": (2, 1 << 20),
            "parameter_rows": (1, 1 << 16),
            "logit_rows": (1, 1 << 12),
            "table_entries": (2, 1 << 16),
            "layers": (1, 64),
            "masks": (0, 1),
            "external": (0, 26),
            "receive_words": (RECEIVE_UNIT, 32 * RECEIVE_UNIT),
        }
        reasons = {"steps": " (a spike train and its mask bit share a host word of 32 bits)"}
        for name, (low, high) in limits.items():
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool):
                raise TypeError(f"{name} must be an integer, not {value!r}")
            if not low <= value <= high:
                reason = reasons.get(name, "")
                raise ValueError(f"{name} must be in {low}..{high}{reason}, not {value!r}")
        if self.lanes % self.tile_lanes:
            raise ValueError(
                f"lanes must be a multiple of tile_lanes {self.tile_lanes}, not {self.lanes!r}"
            )
        if self.tiles > 1 and self.tile_lanes & (self.tile_lanes - 1):
            raise ValueError(
                "tile_lanes must be a power of two when there are several tiles, "
                f"not {self.tile_lanes!r}"
            )
        if self.receive_words % RECEIVE_UNIT:
            raise ValueError(
                f"receive_words must be a multiple of {RECEIVE_UNIT}, not {self.receive_words!r}"
            )
        if self.event_width > self.tiles:
            raise ValueError(
                f"event_width 2 needs two tiles; {self.lanes} lanes in tiles of {self.tile_lanes} "
                "are one"
            )
        if self.accumulator_bits < self.weight_bits + self.shift_bits:
            raise ValueError(
                "accumulator_bits must be at least weight_bits + shift_bits = "
                f"{self.weight_bits + self.shift_bits}, not {self.accumulator_bits!r}"
            )
        if self.potential_bits < self.accumulator_bits + self.fraction_bits:
            raise ValueError(
                "potential_bits must be at least accumulator_bits + fraction_bits = "
                f"{self.accumulator_bits + self.fraction_bits}, not {self.potential_bits!r}"
            )
        if self.external and (
            self.external < 10
            or self.event_width != 2
            or self.weight_rows < 2 * CHUNK_ROWS
            or self.weight_rows & (self.weight_rows - 1)
        ):
            raise ValueError(
                "an engine with an external memory needs external to be 10 or more, event_width 2, "
                f"and a power of two of at least {2 * CHUNK_ROWS} weight_rows, not "
                f"{self.external}, {self.event_width} and {self.weight_rows}"
            )
        if self.memory not in ("inferred", "ecp5"):
            raise ValueError(f'memory must be "inferred" or "ecp5", not {self.memory!r}')

    @cached_property
    def tiles(self) -> int:
        """Tiles of lanes, each with its own weight columns and integrate-and-fire pipeline."""
        return self.lanes // self.tile_lanes

    @cached_property
    def bank_slots(self) -> int:
        """Neurons of one row in one bank of the feature memory."""
        return _ceil_power_of_two(self.tile_lanes)

    @cached_property
    def banks(self) -> int:
        """Banks of the feature memory; tile t writes bank t."""
        return self.tiles

    @cached_property
    def stream_banks(self) -> int:
        """Banks that give the events of one stream: bank b those of stream b % event_width."""
        return -(-self.banks // self.event_width)

    @cached_property
    def sums_latency(self) -> int:
        """Cycles from a lane of the drain to its sums; with two events they are differences."""
        return 1 + self.event_width

    @cached_property
    def row_slots(self) -> int:
        """Slots of one row of the feature memory; the first ``lanes`` slots hold neurons."""
        return self.bank_slots * self.banks

    @cached_property
    def lane_bits(self) -> int:
        return bits_for_count(self.bank_slots)

    @cached_property
    def bank_bits(self) -> int:
        return bits_for_count(self.banks)

    @cached_property
    def stream_bank_bits(self) -> int:
        return bits_for_count(self.stream_banks)

    @cached_property
    def slot_bits(self) -> int:
        return self.lane_bits + self.bank_bits

    @cached_property
    def feature_row_bits(self) -> int:
        return bits_for_count(self.feature_rows)

    @cached_property
    def weight_row_bits(self) -> int:
        return max(1, bits_for_count(self.weight_rows))

    @cached_property
    def tile_words(self) -> int:
        """Words of the external memory for a weight row of one tile."""
        return -(-self.tile_lanes * self.weight_bits // EXTERNAL_WORD_BITS)

    @cached_property
    def row_words(self) -> int:
        """Words of the external memory for a weight row: those of the last tile first. A chunk
        takes as many bursts."""
        return self.tiles * self.tile_words

    @cached_property
    def burst_bits(self) -> int:
        """Width of the address of a burst in the external memory; 0 without one."""
        return max(0, self.external - bits_for_count(EXTERNAL_BURST_WORDS))

    @cached_property
    def external_rows(self) -> int:
        """Weight rows that the external memory holds beside its label; 0 without one."""
        if not self.external:
            return 0
        return ((1 << self.burst_bits) - LABEL_BURSTS) // self.row_words * CHUNK_ROWS

    @cached_property
    def chunk_bits(self) -> int:
        """Width of a number of chunks, up to all that the weight store holds; 0 without an external
        memory."""
        return bits_for_count(self.weight_rows // CHUNK_ROWS + 1) if self.external else 0

    @cached_property
    def parameter_row_bits(self) -> int:
        return bits_for_count(self.parameter_rows)

    @cached_property
    def logit_row_bits(self) -> int:
        return bits_for_count(self.logit_rows)

    @cached_property
    def class_bits(self) -> int:
        """Width of the index of a class: class n has logit row n // tiles of tile n % tiles."""
        return self.logit_row_bits + self.bank_bits

    @cached_property
    def table_bits(self) -> int:
        return bits_for_count(self.table_entries)

    @cached_property
    def layer_bits(self) -> int:
        return bits_for_count(self.layers)

    @cached_property
    def step_count_bits(self) -> int:
        """Width of a number of steps, 0 .. S."""
        return bits_for_count(self.steps + 1)

    @cached_property
    def planes(self) -> int:
        """Most bits of a number in a train."""
        return min(self.steps, PIXEL_BITS)

    @cached_property
    def pixel_planes(self) -> int:
        """Bit-planes of a pixel in one pass over a window; 0: the engine cannot read images.

        With fewer than 8 steps a pixel takes two passes, the first one for the upper four planes,
        whose weights count 2**shift_bits = 16 times.
        """
        if self.steps >= PIXEL_BITS:
            return PIXEL_BITS
        half = PIXEL_BITS // 2
        return half if self.steps >= half == self.shift_bits else 0

    @cached_property
    def passes(self) -> int:
        """Passes over a window for all bit-planes of a pixel."""
        return 2 if 0 < self.pixel_planes < PIXEL_BITS else 1

    @classmethod
    def for_lanes(cls, lanes: int, **changes: int | str) -> "EngineConfig":
        """A configuration with ``lanes`` lanes, as the presets have them.

        Up to 8 lanes are a single tile. More are tiles of 8, or of 16 from 64 lanes on, or else of
        the largest power of two that divides them. An odd number of lanes is a single tile if it
        fits one, else tiles of one lane. From 32 lanes on there are two events per cycle.
        """
        if lanes <= cls.tile_lanes:
            tile_lanes = lanes
        else:
            sizes = (16, 8, 4, 2) if lanes >= 64 else (8, 4, 2)
            tile_lanes = next((size for size in sizes if lanes % size == 0), 1)
            if tile_lanes == 1 and lanes <= MAX_TILE_LANES:
                tile_lanes = lanes
        usual: dict[str, Any] = {
            "lanes": lanes,
            "tile_lanes": tile_lanes,
            "event_width": 2 if lanes >= 32 else 1,
        }
        return cls(**usual | changes)

    def with_changes(self, **changes: int | str) -> "EngineConfig":
        """The same configuration with some parameters replaced."""
        return dataclasses.replace(self, **changes)  # type: ignore[arg-type]


# Bits of the descriptor fields that count positions along one axis of a map.
DIMENSION_BITS = 8
MAX_DIMENSION = 1 << DIMENSION_BITS
