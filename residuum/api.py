"""Functions of the public API that use several packages; `residuum` exports them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    import torch

    from residuum.sw.host.device import Device
    from residuum.sw.host.links import Link
    from residuum.sw.network.float_network import FloatNetwork
    from residuum.sw.network.graph import Preprocessing
    from residuum.sw.network.integer_network import IntegerNetwork


def convert(network: FloatNetwork, *, bits: int = 8) -> IntegerNetwork:
    """The integer network of a float QCFS network.

    Weights, biases and thresholds are rounded as `docs/arithmetic.md` defines.

    Parameters
    ----------
    network
        From `FloatNetwork.load` or `residuum.sw.train.folding.fold`.
    bits
        Bits of the signed weights, 2 .. 16.

    Raises
    ------
    ResiduumError
        If a threshold is not positive, or the result breaks a rule of `IntegerNetwork`.
    """
    from residuum.sw.convert.to_integer import to_integer

    return to_integer(network, bits=bits)


def import_model(
    model: torch.nn.Module | str,
    images: np.ndarray,
    *,
    bits: int = 8,
    map_bits: int = 6,
    weights: Path | None = None,
    preprocessing: Preprocessing | None = None,
    name: str | None = None,
) -> IntegerNetwork:
    """The integer network, in radix code, of a trained classifier; nothing is trained.

    Parameters
    ----------
    model
        A ``torch.nn.Module``, or what ``residuum import`` takes: "mynet.py:make", "mynet.onnx".
    images
        Some hundred training images, uint8 (N, C, H, W), in the size that the model reads. Ranges
        of activations are measured on them; labels are not needed.
    bits, map_bits
        Bits of the weights, 2 .. 8, and K, bits of a number in a map, 1 .. 8.
    weights
        State dict of the module that ``model`` names.
    preprocessing
        Scale, mean and std of the numbers that the model reads; None: u/255.

    Raises
    ------
    ResiduumError
        Names the part of the model that no layer computes, and what to use in its place.
    """
    from residuum.sw.frontend.models import module_to_network, open_model
    from residuum.sw.importing.pipeline import Options, to_integers

    shape = images.shape[1:]
    if isinstance(model, str):
        network = open_model(model, weights=weights).network(
            input_shape=shape, preprocessing=preprocessing, name=name
        )
    else:
        network = module_to_network(
            model, shape, name=name or type(model).__name__, preprocessing=preprocessing
        )
    options = Options(bits=bits, map_bits=map_bits)
    return to_integers(network, options, calibration=images).conversion.network


def load_images(
    source: str, network: FloatNetwork | IntegerNetwork | None = None, *, training: bool = False
) -> tuple[np.ndarray, np.ndarray | None]:
    """Images, uint8 (N, C, H, W), and labels, int64 (N,), of any data (`docs/data.md`).

    Parameters
    ----------
    source
        ``digits``, ``mnist``, ``fashion``, ``cifar10`` or ``cifar100``, whose files are read from
        the folder in the environment variable ``RESIDUUM_DATA``, else downloaded once; or the path
        of a folder of pictures, of a picture, or of a .npz file. Labels are None if it has none.
    network
        The images get the size and the channels that it reads, and the labels its order of the
        classes. Without it, all pictures must have the same size.
    training
        Return the training images instead of the held-out images.

    Raises
    ------
    ResiduumError
        If something cannot be read, or does not fit the network: names the file.
    """
    from residuum.sw.data import images

    found = images.load_images(
        source, network, split=images.TRAINING if training else images.HELD_OUT
    )
    return found.images, found.labels


def open_device(
    address: str = "sim:", *, network: IntegerNetwork | None = None, steps: int | None = None
) -> Device:
    """Open a device; ``with`` or `Device.close` closes it.

    A device is for one thread at a time (`residuum.Classifier`).

    Parameters
    ----------
    address
        ``serial:PORT``, ``serial:PORT@BAUD``, or ``sim:`` for the simulated accelerator, with
        options as in ``sim:lanes=32,steps=16``.
    network, steps
        Sizes of a simulated engine; the first build takes about a minute. A board has fixed sizes.

    Raises
    ------
    ResiduumError
        If nothing answers at the address; says what to do.
    """
    from residuum.sw.host.device import Device
    from residuum.sw.host.links import open_link

    return Device(open_link(address, network=network, steps=steps, openers={"sim": _simulated}))


def _simulated(options: str, *, network: IntegerNetwork | None, steps: int | None) -> Link:
    """Imports the simulation only for the addresses that want it."""
    from residuum.sim.link.simulated import open_simulated

    return open_simulated(options, network=network, steps=steps)
