"""The images of a network's data set."""

from __future__ import annotations

from typing import TYPE_CHECKING

from residuum.sw.data.data_sets import PUBLISHED_ONLY, Access, DataSet, dataset
from residuum.sw.data.formats import Split
from residuum.sw.errors import ResiduumError

if TYPE_CHECKING:
    from residuum.sw.network.integer_network import IntegerNetwork


def held_out(
    network: IntegerNetwork, model: str, count: int | None = None, access: Access = PUBLISHED_ONLY
) -> Split:
    """The first ``count`` (None: all) held-out images and labels of a network's data set.

    ``model`` is the user's name for the network. Raises ``ResiduumError`` if the network names no
    data set, or if the set has fewer images.
    """
    name, source = _set_of(network, model)
    return first_images(source.test(access), count, f"{name} has {{}} held-out images")


def training(
    network: IntegerNetwork, model: str, count: int | None = None, access: Access = PUBLISHED_ONLY
) -> Split:
    """As `held_out`, for the training images."""
    name, source = _set_of(network, model)
    return first_images(source.train(access), count, f"{name} has {{}} training images")


def first_images(split: Split, count: int | None, there: str) -> Split:
    """The first ``count`` images and labels; ``ResiduumError`` if the split has fewer.

    ``there`` is the message template for their number, such as "digits has {} images".
    """
    images, labels = split
    if count is not None and count > len(labels):
        raise ResiduumError(f"{count} images are wanted, but {there.format(len(labels))}")
    return images[:count], labels[:count]


def _set_of(network: IntegerNetwork, model: str) -> tuple[str, DataSet]:
    name = network.metadata.get("dataset")
    if name is None:
        raise ResiduumError(f"{model} does not say which data set it is for")
    return name, dataset(name)
