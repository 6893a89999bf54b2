"""A run, on the golden model or on a device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from residuum.demo.engines import cycles_of
from residuum.sw.errors import ResiduumError
from residuum.sw.golden.golden_model import Trace, simulate
from residuum.sw.host.classifier import Classifier
from residuum.sw.host.device import Device, DeviceError
from residuum.sw.host.links import LinkError
from residuum.sw.network.corrections import check_correction
from residuum.sw.network.graph import INPUT, SPIKES
from residuum.sw.network.integer_network import RADIX, IntegerNetwork
from residuum.sw.trace.compare import compare

# Opens the device for a network and a number of steps; only a simulated engine looks at them.
Opener = Callable[[IntegerNetwork, int], Device]


@dataclass(frozen=True)
class Run:
    """What a run gave.

    Attributes
    ----------
    trace
        Of all layers, as the golden model or the device gave it; residual potentials, which a
        device does not tell, are always those of the golden model.
    cycles
        JSON values as of `residuum.demo.engines.cycles_of`; None without a device.
    mismatches, difference
        Values in which a device and the golden model differ, and a sentence on the first.
    """

    trace: Trace
    cycles: dict[str, Any] | None = None
    mismatches: int | None = None
    difference: str = ""


class Runner(Protocol):
    """What runs networks."""

    def run(
        self, network: IntegerNetwork, image: np.ndarray, *, tau: int, T: int, correction: str
    ) -> Run:
        """Run one image, uint8 (C, H, W); ``ResiduumError`` as of `Classifier`."""

    def described(self) -> dict[str, Any]:
        """What it is, for the page, as JSON values."""

    def close(self) -> None: ...


class OnGolden:
    """Runs on the golden model alone."""

    def run(
        self, network: IntegerNetwork, image: np.ndarray, *, tau: int, T: int, correction: str
    ) -> Run:
        return Run(simulate(network, image[None], tau=tau, T=T, correction=correction))

    def described(self) -> dict[str, Any]:
        return {"golden": True, "name": "golden model"}

    def close(self) -> None:
        pass


class OnDevice:
    """Runs on a device, and compares every spike with the golden model.

    Parameters
    ----------
    address
        The device; a simulated one is opened anew where a run needs a larger engine.
    open_device
        Opens it.
    """

    def __init__(self, address: str, open_device: Opener):
        self.address = address
        self._open = open_device
        self._device: Device | None = None
        self._classifier: Classifier | None = None
        self._for: tuple[object, ...] = ()

    def run(
        self, network: IntegerNetwork, image: np.ndarray, *, tau: int, T: int, correction: str
    ) -> Run:
        check_correction(network, correction, tau, engine=True)
        golden = simulate(network, image[None], tau=tau, T=T, correction=correction)
        try:
            classifier = self._prepared(network, tau=tau, T=T, correction=correction)
            engine = classifier.trace(image)
        except (DeviceError, LinkError):
            # Opened anew by the next run: the cable may be back in its place then.
            self.close()
            raise
        found = compare(network, engine, golden)
        clock = classifier.device.identity.clock_hz
        cycles = cycles_of(classifier.program, engine.counters[0], clock)
        where = {"where": self.address, "measured": True}
        layers = tuple(
            replace(layer, trains=trains, silenced=silenced)
            for layer, trains, silenced in zip(
                golden.layers, engine.trains, engine.silenced, strict=True
            )
        )
        trace = Trace(layers, engine.logits, engine.prediction)
        return Run(trace, cycles | where, found.mismatches, found.first)

    def open(self, network: IntegerNetwork, steps: int) -> None:
        """Open the device before the first run; ``ResiduumError`` if nothing answers."""
        self.close()
        self._device = self._open(network, steps)

    def _prepared(self, network: IntegerNetwork, **stages: Any) -> Classifier:
        """The classifier of a run, loaded into the device."""
        wanted = (network, *stages.values())
        if self._classifier is None or self._for != wanted:
            self._classifier = self._made(network, **stages)
            self._for = wanted
        if not self._classifier.loaded:
            self._classifier.load()
        return self._classifier

    def _made(self, network: IntegerNetwork, **stages: Any) -> Classifier:
        steps = stages["tau"] + stages["T"]
        if self._device is None:
            self.open(network, steps)
        assert self._device is not None
        try:
            return Classifier(self._device, network, **stages)
        except ResiduumError:
            if not self.address.startswith("sim:"):
                raise
        # Another simulated engine may be large enough.
        self.open(network, steps)
        return Classifier(self._device, network, **stages)

    def described(self) -> dict[str, Any]:
        return {"golden": False, "name": self.address}

    def close(self) -> None:
        device, self._device, self._classifier, self._for = self._device, None, None, ()
        if device is not None:
            device.link.close()


def logits_by_step(network: IntegerNetwork, trace: Trace, *, tau: int, T: int) -> np.ndarray | None:
    """The logits after each inference step, int64 (T, classes), of the last layer's spikes.

    None in radix code, whose logits are a single sum, and for an output layer that reads anything
    but the spikes of the last hidden layer.
    """
    output, hidden = network.layers[-1], len(network.layers) - 1
    if network.code == RADIX or not hidden or [s.map for s in output.sources] != [hidden - 1]:
        return None
    alone = _alone(network)
    # Each step is an image of its own, of one step.
    steps = trace.layers[-1].trains[0, tau:, None].astype(np.uint8)
    return simulate(alone, steps, tau=0, T=1).logits.cumsum(axis=0)


def _alone(network: IntegerNetwork) -> IntegerNetwork:
    """The output layer as a network of its own."""
    output = network.layers[-1]
    return IntegerNetwork(
        name=network.name,
        input_shape=network.shapes[-2],
        layers=(replace(output, sources=(replace(output.source, map=INPUT),)),),
        weight_bits=network.weight_bits,
        input=SPIKES,
    )
