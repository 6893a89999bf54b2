"""Accuracy of the golden model: one piece of work."""

import numpy as np

from residuum.sw.golden.accuracy import evaluate
from residuum.sw.network.integer_network import IntegerNetwork


def accuracy(
    network: IntegerNetwork,
    images: np.ndarray,
    labels: np.ndarray,
    tau: int,
    T: int,
    correction: str,
) -> float:
    """Accuracy in percent, as `evaluate` finds it."""
    return evaluate(network, images, labels, tau=tau, T=T, correction=correction).accuracy
