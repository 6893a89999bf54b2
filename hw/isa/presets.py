"""Engine configurations by name, one for each size of ECP5."""

from collections.abc import Mapping

from residuum.hw.isa.config import EngineConfig

# Layers of the deepest network. Their descriptors cost one block memory more than those of 16.
_DEEP = 64

PRESETS: Mapping[str, EngineConfig] = {
    "12f": EngineConfig.for_lanes(16, weight_rows=2048, layers=_DEEP, memory="ecp5"),
    "25f": EngineConfig.for_lanes(16, weight_rows=3072, layers=_DEEP, memory="ecp5"),
    "45f": EngineConfig.for_lanes(32, weight_rows=2048, layers=_DEEP, memory="ecp5"),
    "85f": EngineConfig.for_lanes(64, weight_rows=2048, layers=_DEEP, memory="ecp5"),
    # Nearly all block memories of the device, for networks with up to 459,000 weights of 4 bits.
    "85f-4bit": EngineConfig.for_lanes(
        64,
        weight_bits=4,
        accumulator_bits=14,
        potential_bits=22,
        weight_rows=7168,
        feature_rows=1536,
        layers=_DEEP,
        memory="ecp5",
    ),
    # Deep networks of 32 x 32 pixels. The three maps of 16 channels that a residual block needs at
    # a time take 768 rows, if they are packed. Numbers of 6 bits need potentials of 24 bits. 8,192
    # weight rows of 4 bits: in the geometry 8192 x 2, no multiplexer follows the block memories.
    "85f-4bit-deep": EngineConfig.for_lanes(
        64,
        weight_bits=4,
        accumulator_bits=14,
        weight_rows=8192,
        feature_rows=768,
        layers=_DEEP,
        memory="ecp5",
    ),
    # The same for weights of 5 bits: 182 block memories.
    "85f-5bit": EngineConfig.for_lanes(
        64,
        weight_bits=5,
        accumulator_bits=15,
        weight_rows=6144,
        feature_rows=768,
        layers=_DEEP,
        memory="ecp5",
    ),
    # The same for weights of 6 bits: 206 of the 208 block memories.
    "85f-6bit": EngineConfig.for_lanes(
        64,
        weight_bits=6,
        accumulator_bits=16,
        weight_rows=6144,
        feature_rows=768,
        layers=_DEEP,
        memory="ecp5",
    ),
    # A ResNet-20 takes 4,432 weight rows, because narrow layers share them. 4,608 rows of 8 bits
    # fill block memories of 512 x 36, and the whole engine takes 206 of the 208.
    "85f-8bit": EngineConfig.for_lanes(
        64,
        accumulator_bits=18,
        weight_rows=4608,
        feature_rows=768,
        layers=_DEEP,
        memory="ecp5",
    ),
}

# Target clocks in MHz of presets that do not reach the clock of their boards. They select each
# weight from seven or more EBR, which are far apart on the device.
CLOCKS: Mapping[str, float] = {
    "85f-4bit": 120.0,
    **dict.fromkeys(("85f-4bit-deep", "85f-5bit", "85f-6bit", "85f-8bit"), 112.5),
}


def preset(name: str) -> EngineConfig:
    """The configuration called ``name``; ValueError naming the known ones if there is none."""
    if name not in PRESETS:
        raise ValueError(f"there is no preset {name!r}; the presets are {', '.join(PRESETS)}")
    return PRESETS[name]
