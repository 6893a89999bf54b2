"""The networks that the page offers, and their test images."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from residuum.demo.drawing import FREE, Style, style_for
from residuum.demo.errors import NOT_FOUND, RequestError
from residuum.sw.data.classes import names_of
from residuum.sw.data.data_sets import DATASETS
from residuum.sw.data.held_out import data_of, own_data_set
from residuum.sw.data.images import Images
from residuum.sw.errors import ResiduumError
from residuum.sw.golden.confidence import logit_scale
from residuum.sw.golden.reference import find_reference
from residuum.sw.network.corrections import CARRY, MASK, OFFSET
from residuum.sw.network.graph import IMAGE
from residuum.sw.network.integer_network import RATE, IntegerNetwork
from residuum.sw.network.library import (
    DEFAULT_BITS,
    is_path,
    load_network,
    network_file,
    network_name,
    zoo_names,
)

# Images of a source that the user names; a page steps through no more.
MOST_IMAGES = 1000


@dataclass(frozen=True)
class Offer:
    """A network that can be chosen.

    Attributes
    ----------
    name
        Name of a committed network, or of the file.
    model
        As `load_network` takes it.
    bits
        The bits of the weights that it is there with, ascending.
    data
        Source of the test images; None: the data set of the network.
    """

    name: str
    model: str
    bits: tuple[int, ...]
    data: str | None = None

    def network(self, bits: int) -> IntegerNetwork:
        """The network with weights of so many bits; ``RequestError`` if there is none."""
        if bits not in self.bits:
            known = " and ".join(map(str, self.bits))
            raise RequestError(f"there is no {bits}-bit {self.name}; there are {known} bits")
        return _load(self.model, bits)

    @property
    def usual_bits(self) -> int:
        return DEFAULT_BITS if DEFAULT_BITS in self.bits else self.bits[-1]

    @property
    def style(self) -> Style:
        """How drawings for this network are made."""
        network = self.network(self.usual_bits)
        return style_for(network.metadata.get("dataset", ""), names_of(network))

    def images(self) -> Images:
        """The test images; ``RequestError`` says why there are none."""
        if missing := self._missing():
            raise RequestError(missing, NOT_FOUND)
        return _images(self)

    def _missing(self) -> str:
        """Why there are no test images, without a look at their files; else empty."""
        if self.data is not None:
            return ""
        try:
            name = own_data_set(self.network(self.usual_bits), self.name)
        except ResiduumError as error:
            return str(error)
        if DATASETS[name].is_here():
            return ""
        return (
            f"the test images of {name} are not on this computer; the command "
            f"'residuum eval {name}' downloads them once"
        )

    def scale(self, bits: int, T: int) -> float | None:
        """See `logit_scale`."""
        return _scale(self.model, bits, T)

    def described(self) -> dict[str, Any]:
        """What the page needs to know, as JSON values."""
        network = self.network(self.usual_bits)
        tests: dict[str, Any]
        try:
            tests = {"count": len(self.images())}
        except ResiduumError as error:
            tests = {"count": 0, "missing": str(error)}
        strict = any(layer.strict for layer in network.layers)
        corrections = [CARRY] if strict else [MASK, CARRY, OFFSET]
        return {
            "name": self.name,
            "bits": self.bits,
            "usual_bits": self.usual_bits,
            "code": network.code,
            "layers": len(network.layers),
            "shape": network.input_shape,
            "classes": [
                *(names_of(network) or map(str, range(network.classes))),
            ],
            "corrections": corrections if network.code == RATE else [],
            "draws_digits": self.style is not FREE,
            "test": tests,
        }


def offers(model: str, bits: int | None = None, data: str | None = None) -> dict[str, Offer]:
    """All offered networks by name, the chosen one first: ``model`` as `load_network` takes it.

    Raises ``ResiduumError`` if it cannot be loaded, or reads no pictures.
    """
    network = load_network(model, bits)
    if network.input != IMAGE:
        raise ResiduumError(
            f"network {network.name!r} reads spike trains, and the page shows pictures; "
            "`residuum show` draws a run of it"
        )
    if is_path(model):
        name = network_name(model)
        first = Offer(name, str(network_file(model)), (network.weight_bits,), data)
    else:
        name, first = model, Offer(model, model, tuple(zoo_names()[model]), data)
    others = {other: Offer(other, other, tuple(known)) for other, known in zoo_names().items()}
    return {name: first} | {other: offer for other, offer in others.items() if other != name}


@cache
def _load(model: str, bits: int) -> IntegerNetwork:
    return load_network(model, bits)


@cache
def _images(offer: Offer) -> Images:
    network = offer.network(offer.usual_bits)
    most = None if offer.data is None else MOST_IMAGES
    return data_of(network, offer.name, offer.data, at_most=most)


@cache
def _scale(model: str, bits: int, T: int) -> float | None:
    network = _load(model, bits)
    try:
        reference = find_reference(network, model, against=None, T=T)
    except ResiduumError:
        # A float network of other layers may lie in the folder; it is not needed.
        reference = None
    return logit_scale(network, reference)
