"""The engine that a network is compiled for, by the name of its preset."""

from residuum.hw.isa.config import EngineConfig
from residuum.hw.isa.presets import preset
from residuum.sw.errors import ResiduumError


def preset_named(name: str) -> EngineConfig:
    """The preset that a user named; ResiduumError with the known names if there is none."""
    try:
        return preset(name)
    except ValueError as error:
        raise ResiduumError(str(error)) from None
