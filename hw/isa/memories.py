"""Block memories of ECP5 devices (EBR, 18 Kbit each): their geometries, and how many a design
takes."""

from collections.abc import Mapping

from residuum.hw.isa.config import EngineConfig
from residuum.hw.isa.descriptors import DESCRIPTOR_WORDS, AxisEntry
from residuum.hw.isa.host_map import COUNTER_WORDS, HOST_WORD_BITS

# Words x bits of one DP16KD (Lattice TN-02204, ECP5 memory usage guide); 36 bits are available only
# with one write and one read port.
EBR_GEOMETRIES = ((512, 36), (1024, 18), (2048, 9), (4096, 4), (8192, 2), (16384, 1))

# Logits of so many rows at most are in LUTs: a DP16KD for a few words is a waste.
LUT_ROWS = 32

# Block memories of the devices, by the size in their names (FPGA-DS-02012). The tools use all of
# the 12F's die, which is that of the 25F; its data sheet names 32.
DEVICE_EBR: Mapping[str, int] = {"12": 56, "25": 56, "45": 108, "85": 208}
# LUTs that the data sheet names.
DEVICE_LUT: Mapping[str, int] = {"12": 12_000, "25": 24_288, "45": 43_848, "85": 83_640}


def ebr_geometry(*, width: int, depth: int, dual: bool = False) -> tuple[int, int]:
    """The geometry (words, bits) with the fewest DP16KD for a memory, then with the fewest in
    depth; ``dual``: two words are read in a cycle."""
    return min(
        [shape for shape in EBR_GEOMETRIES if not (dual and shape[1] == 36)],
        key=lambda shape: (-(-depth // shape[0]) * -(-width // shape[1]), -(-depth // shape[0])),
    )


def ebr_count(*, width: int, depth: int, dual: bool = False) -> int:
    """Number of DP16KD of a memory with `depth` words of `width` bits."""
    words, bits = ebr_geometry(width=width, depth=depth, dual=dual)
    return -(-depth // words) * -(-width // bits)


def train_memories(config: EngineConfig) -> tuple[int, ...]:
    """Widths of the memories of a bank's trains: one of trains with their mask bits, or two where
    they take fewer DP16KD; without masks one of trains."""
    if not config.masks:
        return (config.steps,)
    depth = config.feature_rows * config.bank_slots
    ways = (config.steps + 1,), (config.steps, 1)
    return min(ways, key=lambda widths: sum(ebr_count(width=w, depth=depth) for w in widths))


def block_memories(config: EngineConfig) -> dict[str, int]:
    """DP16KD of a whole design, by what they hold; each tile has its own weights, trains,
    occupancies, parameters and logits."""
    depth = config.feature_rows * config.bank_slots
    of_a_tile = {
        "occupancies": (config.bank_slots + 1, config.feature_rows),
        "parameters": (2 * config.potential_bits, max(2, config.parameter_rows)),
    }
    if config.logit_rows > LUT_ROWS:
        of_a_tile["logits"] = (config.potential_bits, config.logit_rows)
    of_the_design = {
        "axis tables": (AxisEntry.width(config), config.table_entries),
        "descriptors": (HOST_WORD_BITS, config.layers * DESCRIPTOR_WORDS),
        "counters": (HOST_WORD_BITS, config.layers * COUNTER_WORDS),
        "requests": (HOST_WORD_BITS, config.receive_words),
        "replies": (HOST_WORD_BITS, 512),
    }
    weights = ebr_count(
        width=config.tile_lanes * config.weight_bits,
        depth=max(2, config.weight_rows),
        dual=config.event_width == 2,
    )
    trains = sum(ebr_count(width=width, depth=depth) for width in train_memories(config))
    return {
        "weights": config.tiles * weights,
        "trains": config.tiles * trains,
        **{
            what: config.tiles * ebr_count(width=width, depth=depth)
            for what, (width, depth) in of_a_tile.items()
        },
        **{
            what: ebr_count(width=width, depth=depth)
            for what, (width, depth) in of_the_design.items()
        },
    }
