"""The engine that a network is compiled for, by the name of its preset."""

from residuum.hw.isa.config import EngineConfig
from residuum.hw.isa.presets import preset
from residuum.sw.errors import ResiduumError


def preset_named(name: str) -> EngineConfig:
    """The preset called ``name``; ``ResiduumError`` lists the known ones."""
    try:
        return preset(name)
    except ValueError as error:
        raise ResiduumError(str(error)) from None
