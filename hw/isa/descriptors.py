"""The host's description of a network for the engine: layer descriptors and axis tables.

Pure data, shared by the gateware (which decodes it) and the compiler (which makes it).
"""

from dataclasses import dataclass, fields

from residuum.hw.isa.config import DIMENSION_BITS, EngineConfig, bits_for_count

DESCRIPTOR_WORDS = 32


@dataclass(frozen=True, kw_only=True)
class LayerDescriptor:
    """One layer, in the units of the hardware. Counts are stored less one.

    Rows are rows of the feature memory (``lanes`` neurons); all addresses wrap at its size. Slot s
    of a row is lane s // tiles of tile s % tiles, so that a layer with few channels keeps every
    tile busy for a short time instead of one tile for a long time.
    """

    # Fields of the event scanner, loaded as soon as the previous layer has no more events.
    windows_y: int  # output height - 1
    windows_x: int  # output width - 1
    table_y: int  # first entry of the vertical axis table
    table_x: int  # first entry of the horizontal axis table
    groups: int  # groups of output channels - 1
    passes: int  # passes over each window - 1 (bit-planes of pixels when S < 8)
    pool_y: int  # input rows per kernel row - 1
    pool_x: int  # input positions per kernel column - 1
    input_row: int  # row where the input map starts
    pass_pitch: int  # rows from one pass to the next
    pitch_y: int  # rows from one input line to the next
    pitch_x: int  # rows from one input position to the next
    input_empty_row: int  # row of the result of windows without events, in the input map
    weight_row: int  # first weight row
    weight_x: int  # weight rows from one kernel column to the next
    weight_y: int  # weight rows from one kernel row to the next
    weight_group: int  # weight rows from one group of output channels to the next
    skip_empty: int  # 1: windows without events share one result
    last_lane: int  # lanes of each tile that are used - 1

    # Fields of the drain and the neurons, loaded when the previous layer is done.
    pixels: int  # 1: slots are bit-planes of pixels
    output: int  # 1: sum currents, find the largest
    output_row: int  # row where the output map starts
    output_empty_row: int  # row of the result of windows without events, in the output map
    output_pitch: int  # rows from one output position to the next
    parameter_group: int  # first group of thresholds and biases
    classes: int  # output layer: classes - 1

    @staticmethod
    def widths(config: EngineConfig) -> dict[str, int]:
        """Width of every field, in bits."""
        row, weight = config.feature_row_bits, config.weight_row_bits
        named = {
            "table_y": config.table_bits,
            "table_x": config.table_bits,
            "groups": max(1, config.group_bits),
            "passes": bits_for_count(8),
            "weight_row": weight,
            "weight_x": weight,
            "weight_y": weight,
            "weight_group": weight,
            "parameter_group": config.group_bits,
            "last_lane": config.lane_bits,
            "classes": config.group_bits + config.slot_bits,
            "skip_empty": 1,
            "pixels": 1,
            "output": 1,
        }
        dimensions = ("windows_y", "windows_x", "pool_y", "pool_x")
        named |= dict.fromkeys(dimensions, DIMENSION_BITS)
        return {field.name: named.get(field.name, row) for field in fields(LayerDescriptor)}

    def words(self, config: EngineConfig) -> list[int]:
        """One host word per field; raises ValueError naming the field that does not fit."""
        widths = self.widths(config)
        for name, width in widths.items():
            value = getattr(self, name)
            if not 0 <= value < 1 << width:
                raise ValueError(f"{name} must fit {width} bits, not {value!r}")
        return [getattr(self, name) for name in widths]


FIELDS = tuple(field.name for field in fields(LayerDescriptor))
# `last_lane` is in both sets: the scanner derives from it how long the drain is busy.
DRAIN_FIELDS = FIELDS[FIELDS.index("last_lane") :]
SCAN_FIELDS = FIELDS[: FIELDS.index("last_lane") + 1]


@dataclass(frozen=True, kw_only=True)
class AxisEntry:
    """Where the windows with one output coordinate start along one axis, clipped to the map.

    A segment is a run of feature memory rows that one kernel position (or, for packed pixels, one
    kernel line) covers: ``span`` rows less one, from slot ``head`` of the first to slot ``tail`` of
    the last. In a vertical table only ``row``, ``weight`` and ``count`` have a meaning.
    """

    row: int  # rows from the start of the map
    weight: int  # weight rows from the first one, modulo the store's address space
    count: int  # input lines (vertical) or segments (horizontal) of the window - 1
    span: int = 0
    head: int = 0
    tail: int = 0

    @staticmethod
    def widths(config: EngineConfig) -> dict[str, int]:
        return {
            "row": config.feature_row_bits,
            "weight": config.weight_row_bits,
            "count": DIMENSION_BITS,
            "span": DIMENSION_BITS,
            "head": config.slot_bits,
            "tail": config.slot_bits,
        }

    @staticmethod
    def width(config: EngineConfig) -> int:
        return sum(AxisEntry.widths(config).values())

    def pack(self, config: EngineConfig) -> int:
        """The entry as one integer, first field lowest; ValueError if a field does not fit."""
        value = shift = 0
        for name, width in self.widths(config).items():
            field = getattr(self, name)
            if not 0 <= field < 1 << width:
                raise ValueError(f"{name} must fit {width} bits, not {field!r}")
            value |= field << shift
            shift += width
        return value
