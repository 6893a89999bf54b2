"""The held-out images that belong to a network."""

from __future__ import annotations

from typing import TYPE_CHECKING

from residuum.sw.data.data_sets import Split, load_held_out
from residuum.sw.errors import ResiduumError

if TYPE_CHECKING:
    from residuum.sw.network.integer_network import IntegerNetwork


def held_out(network: IntegerNetwork, model: str, count: int | None = None) -> Split:
    """The first ``count`` (None: all) held-out images and labels of a network's data set.

    ``model`` is what the user calls the network. Raises ``ResiduumError`` if the network names no
    data set, or if the set has fewer images.
    """
    dataset = network.metadata.get("dataset")
    if dataset is None:
        raise ResiduumError(f"{model} does not say which data set it is for")
    images, labels = load_held_out(dataset)
    there = len(labels)
    if count is not None and count > there:
        raise ResiduumError(f"{count} images are wanted, but {dataset} has {there} held-out images")
    return images[:count], labels[:count]
