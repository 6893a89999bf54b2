"""Engine configurations by name, one for each size of ECP5."""

from collections.abc import Mapping

from residuum.hw.isa.config import EngineConfig

PRESETS: Mapping[str, EngineConfig] = {
    "12f": EngineConfig.for_lanes(16, weight_rows=2048, memory="ecp5"),
    "25f": EngineConfig.for_lanes(16, weight_rows=3072, memory="ecp5"),
    "45f": EngineConfig.for_lanes(32, weight_rows=2048, memory="ecp5"),
    "85f": EngineConfig.for_lanes(64, weight_rows=2048, memory="ecp5"),
    # Nearly all block memories of the device, for networks with up to 459,000 weights of 4 bits.
    "85f-4bit": EngineConfig.for_lanes(
        64,
        weight_bits=4,
        accumulator_bits=14,
        potential_bits=22,
        weight_rows=7168,
        feature_rows=1536,
        memory="ecp5",
    ),
}

# Target clocks in MHz of presets that do not reach the clock of their boards. 85f-4bit selects each
# weight from seven EBR, which are far apart on the device.
CLOCKS: Mapping[str, float] = {"85f-4bit": 120.0}


def preset(name: str) -> EngineConfig:
    """The configuration called ``name``; ValueError naming the known ones if there is none."""
    if name not in PRESETS:
        raise ValueError(f"there is no preset {name!r}; the presets are {', '.join(PRESETS)}")
    return PRESETS[name]
