"""The host's description of a network for the engine: layer descriptors and axis tables.

Pure data, shared by the gateware (which decodes it) and the compiler (which makes it).
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from functools import cache

from residuum.hw.isa.config import DIMENSION_BITS, EngineConfig

# Host words of a descriptor in its memory.
DESCRIPTOR_WORDS = 16
# Words of a layer, but on huge engines; the others are for an image (`residuum.hw.isa.image`).
LAYER_WORDS = 8
_WORD_BITS = 32
# Width of the size of a max-pooling window, less one.
MAX_POOL_BITS = 4
MAX_POOL_KERNEL = 1 << MAX_POOL_BITS


@dataclass(frozen=True, kw_only=True)
class LayerDescriptor:
    """One layer, in the units of the hardware. Counts are stored less one.

    Rows are rows of the feature memory (``lanes`` neurons); all addresses wrap at its size. Slot s
    of a row is lane s // tiles of tile s % tiles, so that a layer with few channels keeps every
    tile busy for a short time instead of one tile for a long time.

    A layer reads its window in parts: the two passes over the bit-planes of an image when S < 8, or
    its first and its second source. A window of the second source is a single segment.
    """

    # Fields of the event scanner, loaded as soon as the previous layer has no more events.
    windows_y: int  # height of the output map - 1
    windows_x: int  # width of the output map - 1
    max_y: int  # lines of neurons in a window of the max-pooling - 1
    max_x: int  # positions along a line in a window of the max-pooling - 1
    table_y: int  # first entry of the vertical axis table
    table_x: int  # first entry of the horizontal axis table
    table_group: int  # first entry of the table of groups
    groups: int  # groups of output channels - 1
    parts: int  # passes over each window - 1 (bit-planes of pixels when S < 8), or sources - 1
    pool_y: int  # input rows per kernel row - 1
    pool_x: int  # input positions per kernel column - 1
    pass_pitch: int  # rows from one pass to the next
    pitch_y: int  # rows from one input line to the next
    pitch_x: int  # rows from one input position to the next
    weight_x: int  # weight rows from one kernel column to the next
    weight_y: int  # weight rows from one kernel row to the next
    two_sources: int  # 1: the parts are two sources
    second_shift: int  # 1: weights of the second source count 2**shift_bits times
    skip_empty: int  # 1: windows without events share one result
    chunks: int  # chunks of weight rows of each group in the external memory; 0: not there
    burst: int  # where they start there, in bursts; read at the start of a run
    last_lane: int  # lanes of each tile that are used - 1

    # Fields of the drain and the neurons, loaded when the previous layer is done.
    first_lane: int  # first lane of each tile that is used
    numbers: (
        int  # 1: the slots of the input are the bits of numbers: pixels, or a map in radix code
    )
    fraction: int  # 1: the sum over numbers counts 2**fraction_bits times
    bits: int  # K of the map in radix code; 1 for the output layer; 0: rate code
    start_zero: int  # 1: potentials start at 0 instead of TH >> 1; always in radix code
    strict: int  # 1: neurons fire at v > TH instead of v >= TH; their bias is stored less 1
    output: int  # 1: sum currents, find the largest
    output_row: int  # row where the output map starts
    output_empty_row: int  # row of the result of windows without events, in the output map
    output_pitch: int  # rows from one output position to the next
    position_lanes: (
        int  # lanes of each tile from one position of a row to the next; 0: one position
    )
    parameter_row: int  # first thresholds and biases
    classes: int  # output layer: classes - 1

    @staticmethod
    def widths(config: EngineConfig) -> dict[str, int]:
        """Width of every field, in bits."""
        row, weight = config.feature_row_bits, config.weight_row_bits
        named = {
            "max_y": MAX_POOL_BITS,
            "max_x": MAX_POOL_BITS,
            "table_y": config.table_bits,
            "table_x": config.table_bits,
            "table_group": config.table_bits,
            "groups": max(1, config.parameter_row_bits),
            "parts": 1,
            "weight_x": weight,
            "weight_y": weight,
            "last_lane": config.lane_bits,
            "first_lane": config.lane_bits,
            "bits": config.step_count_bits,
            "position_lanes": config.lane_bits,
            "parameter_row": config.parameter_row_bits,
            "classes": config.class_bits,
            "chunks": config.chunk_bits,
            "burst": config.burst_bits,
        }
        flags = ("two_sources", "second_shift", "skip_empty", "numbers", "fraction")
        named |= dict.fromkeys((*flags, "start_zero", "strict", "output"), 1)
        dimensions = ("windows_y", "windows_x", "pool_y", "pool_x")
        named |= dict.fromkeys(dimensions, DIMENSION_BITS)
        return {field.name: named.get(field.name, row) for field in fields(LayerDescriptor)}

    @staticmethod
    @cache
    def places(config: EngineConfig) -> tuple[dict[str, int], ...]:
        """The host words of a descriptor: the fields that each holds, with their lowest bit. In the
        order of the fields, if there are enough words for that; else the widest first, each in the
        first word that has room."""
        widths = LayerDescriptor.widths(config)
        words = _filled(widths, look_back=False)
        if len(words) > LAYER_WORDS:
            wide_first = dict(sorted(widths.items(), key=lambda item: -item[1]))
            words = _filled(wide_first, look_back=True)
        if len(words) > DESCRIPTOR_WORDS:
            raise ValueError(f"a descriptor of this engine takes {len(words)} words")
        return tuple(words)

    def words(self, config: EngineConfig) -> list[int]:
        """The host words; raises ValueError naming the field that does not fit."""
        widths = self.widths(config)
        return [
            pack_fields(self, {name: widths[name] for name in word}) for word in self.places(config)
        ]


def _filled(widths: Mapping[str, int], *, look_back: bool) -> list[dict[str, int]]:
    """Words with these fields: their lowest bits. With ``look_back``, a field goes to the first
    word that has room, else to the last one or a new one."""
    words: list[dict[str, int]] = [{}]
    used = [0]
    for name, width in widths.items():
        first = 0 if look_back else len(words) - 1
        rooms = (n for n in range(first, len(words)) if used[n] + width <= _WORD_BITS)
        number = next(rooms, len(words))
        if number == len(words):
            words.append({})
            used.append(0)
        words[number][name] = used[number]
        used[number] += width
    return words


FIELDS = tuple(field.name for field in fields(LayerDescriptor))
# `last_lane` is in both sets: the scanner derives from it how long the drain is busy.
DRAIN_FIELDS = FIELDS[FIELDS.index("last_lane") :]
SCAN_FIELDS = FIELDS[: FIELDS.index("last_lane") + 1]


@dataclass(frozen=True, kw_only=True)
class AxisEntry:
    """An entry of a layer's tables. A window is the sum of three of them: one for its group of
    output channels, one for its vertical and one for its horizontal position.

    A segment is a run of feature memory rows that one kernel position (or, in a packed map, one
    kernel line) covers: ``span`` rows less one, from slot ``head`` of the first to slot ``tail`` of
    the last.

    The table of groups has an entry for each group of output channels and, of a layer with two
    sources, one more for the second source:

    - ``row``: first row of the map, plus the first row of a position that the group reads;
    - ``weight``: first weight row; ``span`` and ``tail`` of a segment, where they do not depend on
      the position;
    - ``second_row``: row of the shared result of windows without events that stands for ``row``.

    A vertical entry has ``row``, ``weight``, ``count`` and ``second_row``, a horizontal one has all
    fields, clipped to the map. With max-pooling, the windows of each pooled position have entries
    of their own, one after the other.
    """

    row: int = 0  # rows from the start of the map
    weight: int = 0  # weight rows from the first one, modulo the store's address space
    count: int = 0  # input lines (vertical) or segments (horizontal) of the window - 1
    span: int = 0
    head: int = 0
    tail: int = 0
    second_row: int = 0  # rows from the start of the map of the second source
    second_head: int = 0  # first slot of the window in the second source

    @staticmethod
    def widths(config: EngineConfig) -> dict[str, int]:
        return {
            "row": config.feature_row_bits,
            "weight": config.weight_row_bits,
            "count": DIMENSION_BITS,
            "span": DIMENSION_BITS,
            "head": config.slot_bits,
            "tail": config.slot_bits,
            "second_row": config.feature_row_bits,
            "second_head": config.slot_bits,
        }

    @staticmethod
    def width(config: EngineConfig) -> int:
        return sum(AxisEntry.widths(config).values())

    def pack(self, config: EngineConfig) -> int:
        """The entry as one integer, first field lowest; ValueError if a field does not fit."""
        return pack_fields(self, self.widths(config))


def pack_fields(record: object, widths: Mapping[str, int], signed: Collection[str] = ()) -> int:
    """These fields of a record as one integer, first field lowest, negative ones of the ``signed``
    in two's complement; ValueError naming the field that does not fit."""
    value = shift = 0
    for name, width in widths.items():
        field = getattr(record, name)
        least = -(1 << width - 1) if name in signed else 0
        if not least <= field < least + (1 << width):
            raise ValueError(f"{name} must fit {width} bits, not {field!r}")
        value |= (field & (1 << width) - 1) << shift
        shift += width
    return value
