"""How sure a network is of a class."""

import numpy as np

from residuum.sw.golden.reference import Reference, from_integers
from residuum.sw.network.integer_network import IntegerNetwork


def logit_scale(network: IntegerNetwork, reference: Reference | None) -> float | None:
    """What 1 of a logit, divided by T, is worth in the units of the original model.

    The network's own ``logit_scale``; without one, the scale that fits its output weights to those
    of a float network by least squares; None without a float network.
    """
    if network.logit_scale is not None or reference is None or reference.own:
        return network.logit_scale
    own = from_integers(network, 1, "", own=True).layers[-1]
    ours, theirs = (
        np.concatenate([source.weight.ravel() for source in layer.sources])
        for layer in (own, reference.layers[-1])
    )
    scale = float(ours @ theirs / max(ours @ ours, 1))
    return scale if scale > 0 else None


def confidences(logits: np.ndarray, scale: float, T: int) -> np.ndarray:
    """softmax(logits * scale / T), float (N, classes), of int64 (N, classes)."""
    scores = logits * (scale / T)
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    result: np.ndarray = powers / powers.sum(axis=1, keepdims=True)
    return result


def best_classes(logits: np.ndarray, count: int) -> list[int]:
    """The ``count`` classes with the largest logits (classes,), the best first.

    Of equal logits the lowest class is first, as in the golden model and the engine.
    """
    return [int(label) for label in np.argsort(-logits, kind="stable")[:count]]
