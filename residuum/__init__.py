"""Residuum: trained networks as bit-exact spiking networks on ECP5.

The public names of the project, with examples in `docs/python.md`::

    import residuum

    network = residuum.load_network("digits")
    images, labels = residuum.load_images("digits")
    trace = residuum.simulate(network, images, tau=4, T=4)
    print((trace.prediction == labels).mean())

A name is imported from its module at its first use, so ``import residuum`` is fast and needs
neither torch nor a simulator.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# Module of each public name.
_HOMES = {
    "Classification": "residuum.sw.host.classifier",
    "Classifier": "residuum.sw.host.classifier",
    "Device": "residuum.sw.host.device",
    "EngineConfig": "residuum.hw.isa.config",
    "FloatNetwork": "residuum.sw.network.float_network",
    "IntegerNetwork": "residuum.sw.network.integer_network",
    "PRESETS": "residuum.hw.isa.presets",
    "Preprocessing": "residuum.sw.network.graph",
    "Program": "residuum.sw.compiler.program",
    "ResiduumError": "residuum.sw.errors",
    "Trace": "residuum.sw.golden.golden_model",
    "compile_network": "residuum.sw.compiler.program",
    "convert": "residuum.api",
    "import_model": "residuum.api",
    "load_images": "residuum.api",
    "load_network": "residuum.sw.network.library",
    "open_device": "residuum.api",
    "simulate": "residuum.sw.golden.golden_model",
}

__all__ = [
    "PRESETS",
    "Classification",
    "Classifier",
    "Device",
    "EngineConfig",
    "FloatNetwork",
    "IntegerNetwork",
    "Preprocessing",
    "Program",
    "ResiduumError",
    "Trace",
    "__version__",
    "compile_network",
    "convert",
    "import_model",
    "load_images",
    "load_network",
    "open_device",
    "simulate",
]

if TYPE_CHECKING:
    from residuum.api import convert, import_model, load_images, open_device
    from residuum.hw.isa.config import EngineConfig
    from residuum.hw.isa.presets import PRESETS
    from residuum.sw.compiler.program import Program, compile_network
    from residuum.sw.errors import ResiduumError
    from residuum.sw.golden.golden_model import Trace, simulate
    from residuum.sw.host.classifier import Classification, Classifier
    from residuum.sw.host.device import Device
    from residuum.sw.network.float_network import FloatNetwork
    from residuum.sw.network.graph import Preprocessing
    from residuum.sw.network.integer_network import IntegerNetwork
    from residuum.sw.network.library import load_network


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
