"""The images of a network: of its own data set, or of what the user names."""

from __future__ import annotations

from residuum.sw.data.data_sets import PUBLISHED_ONLY, Access, dataset
from residuum.sw.data.formats import Split
from residuum.sw.data.images import HELD_OUT, TRAINING, Images, Reader, load_images
from residuum.sw.errors import ResiduumError


def held_out(
    network: Reader, model: str, count: int | None = None, access: Access = PUBLISHED_ONLY
) -> Split:
    """The first ``count`` (None: all) held-out images and labels of a network's data set.

    ``model`` is the user's name for the network. Raises ``ResiduumError`` if the network names no
    known data set, or if the set has fewer images.
    """
    return _labelled(data_of(network, model, count=count, access=access))


def training(
    network: Reader, model: str, count: int | None = None, access: Access = PUBLISHED_ONLY
) -> Split:
    """As `held_out`, for the training images."""
    return _labelled(data_of(network, model, split=TRAINING, count=count, access=access))


def data_of(
    network: Reader,
    model: str,
    source: str | None = None,
    *,
    split: str = HELD_OUT,
    count: int | None = None,
    at_most: int | None = None,
    access: Access = PUBLISHED_ONLY,
) -> Images:
    """`load_images` of ``source``, or of the network's data set if that is None."""
    return load_images(
        own_data_set(network, model) if source is None else source,
        network,
        split=split,
        count=count,
        at_most=at_most,
        access=access,
    )


def own_data_set(network: Reader, model: str) -> str:
    """The known data set that a network is for; ``model`` is the user's name for the network.

    Raises ``ResiduumError`` if the network does not say, or names none that is known.
    """
    name = network.metadata.get("dataset")
    if name is None:
        raise ResiduumError(f"{model} does not say which data set it is for; name one with --data")
    dataset(name)
    return name


def _labelled(images: Images) -> Split:
    return images.images, images.need_labels("this")
