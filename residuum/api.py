"""Functions of the public API that join several rooms; `residuum` has them all by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from residuum.sw.host.device import Device
    from residuum.sw.host.links import Link
    from residuum.sw.network.float_network import FloatNetwork
    from residuum.sw.network.integer_network import IntegerNetwork


def convert(network: FloatNetwork, *, bits: int = 8) -> IntegerNetwork:
    """The integer network of a float QCFS network.

    Weights, biases and thresholds are rounded as `docs/arithmetic.md` defines.

    Parameters
    ----------
    network
        As `FloatNetwork.load` reads it, or `residuum.sw.train.training.fold` makes it.
    bits
        Bits of the signed weights, 2 .. 16.

    Raises
    ------
    ResiduumError
        If a threshold is not positive, or the result breaks a rule of `IntegerNetwork`.
    """
    from residuum.sw.convert.to_integer import to_integer

    return to_integer(network, bits=bits)


def load_images(data_set: str, *, training: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Images, uint8 (N, C, H, W), and labels, int64 (N,), of a known data set.

    Parameters
    ----------
    data_set
        ``digits``, ``mnist``, ``fashion``, ``cifar10`` or ``cifar100``. Files are read from the
        folder in the variable ``RESIDUUM_DATA``, else downloaded once.
    training
        The training images instead of the held-out ones.

    Raises
    ------
    ResiduumError
        If the data set is unknown, or its files are missing or damaged.
    """
    from residuum.sw.data.data_sets import dataset

    source = dataset(data_set)
    return source.train() if training else source.test()


def open_device(
    address: str = "sim:", *, network: IntegerNetwork | None = None, steps: int | None = None
) -> Device:
    """Open a device; it is closed by ``with`` or `Device.close`.

    Parameters
    ----------
    address
        ``serial:PORT``, ``serial:PORT@BAUD``, or ``sim:``, the simulated accelerator, whose engine
        may have options as in ``sim:lanes=32,steps=16``.
    network, steps
        What a simulated engine is built for, which takes about a minute the first time. A board has
        its sizes already.

    Raises
    ------
    ResiduumError
        If nothing answers at that address, with what to do about it.
    """
    from residuum.sw.host.device import Device
    from residuum.sw.host.links import open_link

    return Device(open_link(address, network=network, steps=steps, openers={"sim": _simulated}))


def _simulated(options: str, *, network: IntegerNetwork | None, steps: int | None) -> Link:
    """Imports the simulation only for the addresses that want it."""
    from residuum.sim.link.simulated import open_simulated

    return open_simulated(options, network=network, steps=steps)
