"""Engine configurations by name, one for each size of ECP5."""

from collections.abc import Mapping
from typing import Any

from residuum.hw.isa.config import EngineConfig

# Layers of the deepest network. Their descriptors cost one block memory more than those of 16.
_DEEP = 64
# Four images of MNIST, or one of CIFAR-10, may wait; or two of CIFAR-10. Both are as deep as their
# block memories, so no multiplexer follows them.
_FEW: Any = {"receive_words": 1024}
_TWO: Any = {"receive_words": 2048}
# 64 lanes in tiles of 16: fewer neuron stages and memories than with 8, and hardly more cycles.
_WIDE: Any = {
    "lanes": 64,
    "tile_lanes": 16,
    "event_width": 2,
    "logit_rows": 32,
    "layers": _DEEP,
    "memory": "ecp5",
    **_TWO,
}

# Weights of 4 bits from an SDRAM, numbers of 4 bits.
_SDRAM: Any = {
    "event_width": 2,
    "steps": 4,
    "weight_bits": 4,
    "accumulator_bits": 16,
    "potential_bits": 22,
    "logit_rows": 32,
    "layers": _DEEP,
    "masks": 0,
    "external": 24,
    "memory": "ecp5",
    **_FEW,
}
# A group of output channels may read 454 input channels with a kernel of 3x3, and maps are small.
_SMALL_SDRAM: Any = {
    "lanes": 16,
    "tile_lanes": 8,
    "weight_rows": 4096,
    "feature_rows": 1024,
    "parameter_rows": 1024,
    **_SDRAM,
}

PRESETS: Mapping[str, EngineConfig] = {
    "12f": EngineConfig.for_lanes(16, weight_rows=2048, layers=_DEEP, memory="ecp5", **_FEW),
    # Twice the lanes with half the slots, for networks in radix code with up to 65,000 weights of 4
    # bits: numbers of 4 bits; pixels take two passes.
    "12f-4bit": EngineConfig(
        lanes=32,
        tile_lanes=16,
        event_width=2,
        steps=4,
        weight_bits=4,
        accumulator_bits=11,
        potential_bits=18,
        logit_rows=16,
        layers=_DEEP,
        memory="ecp5",
        **_FEW,
    ),
    "12f-sdram": EngineConfig(**_SMALL_SDRAM),
    "25f": EngineConfig.for_lanes(16, weight_rows=3072, layers=_DEEP, memory="ecp5", **_TWO),
    "25f-sdram": EngineConfig(**_SMALL_SDRAM),
    "45f": EngineConfig.for_lanes(32, weight_rows=2048, layers=_DEEP, memory="ecp5", **_TWO),
    "45f-sdram": EngineConfig(
        lanes=32,
        tile_lanes=16,
        weight_rows=8192,
        feature_rows=1280,
        parameter_rows=1536,
        **_SDRAM,
    ),
    "85f": EngineConfig(weight_rows=2048, **_WIDE),
    # For networks with up to 524,000 weights of 4 bits; a ResNet-20 fits with all its maps. In the
    # geometry 8192 x 2, no multiplexer follows the block memories.
    "85f-4bit": EngineConfig(
        weight_bits=4, accumulator_bits=14, weight_rows=8192, feature_rows=1536, **_WIDE
    ),
    # A group of 64 output channels may read 910 input channels with a kernel of 3x3: VGG-16 and
    # ResNet-18 fit, with all their maps.
    "85f-sdram": EngineConfig(
        lanes=64,
        tile_lanes=16,
        weight_rows=8192,
        feature_rows=2560,
        parameter_rows=1152,
        **_SDRAM,
    ),
    # For a ResNet-20 with wider weights: the three maps of 16 channels that a residual block needs
    # at a time take 768 rows, if they are packed, and the weights 4,448 rows of 64 lanes.
    "85f-5bit": EngineConfig(
        weight_bits=5, accumulator_bits=15, weight_rows=6144, feature_rows=1024, **_WIDE
    ),
    "85f-6bit": EngineConfig(
        weight_bits=6, accumulator_bits=16, weight_rows=6144, feature_rows=1024, **_WIDE
    ),
    "85f-8bit": EngineConfig(
        accumulator_bits=18, weight_rows=4608, feature_rows=896, **(_WIDE | _FEW)
    ),
}

# Target clocks in MHz of presets that do not reach the clock of their boards.
CLOCKS: Mapping[str, float] = {
    **dict.fromkeys(("12f", "12f-4bit"), 140.0),
    **dict.fromkeys(("25f", "45f", "85f"), 125.0),
    "85f-4bit": 130.0,
    **dict.fromkeys(("12f-sdram", "25f-sdram", "45f-sdram"), 125.0),
    "85f-sdram": 115.0,
    **dict.fromkeys(("85f-5bit", "85f-6bit", "85f-8bit"), 120.0),
}


def preset(name: str) -> EngineConfig:
    """The configuration called ``name``; ValueError naming the known ones if there is none."""
    if name not in PRESETS:
        raise ValueError(f"there is no preset {name!r}; the presets are {', '.join(PRESETS)}")
    return PRESETS[name]
