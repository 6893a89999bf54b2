"""The measurements: correctly classified images, neurons that fire too often, range of v.

Every function measures some images. Its arrays can be joined over portions of the images.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from residuum.sw.files import Arrays
from residuum.sw.network.corrections import CARRY, MASK
from residuum.sw.network.integer_network import IntegerNetwork
from residuum.sw.study.simulator import Inference, PlainRun, Reset, Simulator, qcfs_levels

# Spike count N of a neuron against q, the level of the ANN with L = T. The first four cases are the
# unevenness error.
CASES = (
    "fires, ANN silent",  # N > q = 0
    "fires too often",  # N > q > 0
    "silent, ANN active",  # N = 0 < q
    "fires too rarely",  # 0 < N < q
    "both silent",  # N = q = 0
    "exact",  # N = q > 0
)
ERRORS = CASES[:4]


def right_images(
    network: IntegerNetwork,
    images: np.ndarray,
    labels: np.ndarray,
    *,
    plain_steps: int,
    stages: Mapping[int, int],
    correction: str = MASK,
    record: bool = False,
) -> Arrays:
    """The images that each setting of tau and T classifies correctly.

    Parameters
    ----------
    plain_steps
        Longest run without a probe.
    stages
        Largest T for each tau >= 1; neither tau nor T exceeds ``plain_steps``, and with the
        correction carry tau + T does not.
    correction
        Mask, carry or offset, for tau >= 1.
    record
        Also return the smallest and largest potentials of all runs.

    Returns
    -------
    Arrays
        ``plain``, bool (plain_steps, N), for T = 1 .. plain_steps; ``srp_TAU``, bool (T, N), for
        every tau; with ``record`` also ``low`` and ``high``, int64 (layers,).
    """
    simulator = Simulator(network, plain_steps)
    extremes = simulator.record_extremes() if record else None
    result: Arrays = {"plain": np.zeros((plain_steps, len(images)), bool)}
    result |= {f"srp_{tau}": np.zeros((T, len(images)), bool) for tau, T in stages.items()}
    with torch.inference_mode():
        for place, batch in simulator.batches(images):
            probe = simulator.plain(batch, plain_steps, keep=stages)
            result["plain"][:, place] = _right(probe.logits, labels[place])
            for tau, T in stages.items():
                if correction == CARRY:
                    logits = simulator.carried(probe, tau=tau)[:T]
                else:
                    steps = {"tau": tau, "T": T}
                    inference = simulator.inference(batch, probe, **steps, correction=correction)
                    logits = inference.logits
                result[f"srp_{tau}"][:, place] = _right(logits, labels[place])
    if extremes is not None:
        result |= {"low": extremes.low, "high": extremes.high}
    return result


def right_with_reset(
    network: IntegerNetwork,
    images: np.ndarray,
    labels: np.ndarray,
    *,
    steps: int,
    resets: Sequence[Reset],
) -> Arrays:
    """The images that plain conversion classifies correctly, bool (steps, N) for each reset."""
    simulator = Simulator(network, steps)
    result: Arrays = {reset: np.zeros((steps, len(images)), bool) for reset in resets}
    with torch.inference_mode():
        for place, batch in simulator.batches(images):
            for reset in resets:
                logits = simulator.plain(batch, steps, reset=reset).logits
                result[reset][:, place] = _right(logits, labels[place])
    return result


def right_ann(
    network: IntegerNetwork, images: np.ndarray, labels: np.ndarray, *, levels: Sequence[int]
) -> Arrays:
    """The images that the ANN of the same integers classifies correctly: ``right``, bool (levels,
    N)."""
    simulator = Simulator(network, 1)
    right = np.zeros((len(levels), len(images)), bool)
    with torch.inference_mode():
        for place, batch in simulator.batches(images):
            for row, count in enumerate(levels):
                _, logits = qcfs_levels(network, batch, count)
                right[row, place] = _right(logits, labels[place])
    return {"right": right}


def unevenness(
    network: IntegerNetwork, images: np.ndarray, *, T: int, taus: Sequence[int]
) -> Arrays:
    """Counts of neurons, summed over the images, before and after SRP.

    The ANN is the QCFS network of the same integers with L = T. Without unevenness, every neuron
    would fire exactly q times in T steps. So the counts are free of errors of quantization,
    clipping and weight rounding.

    Returns
    -------
    Arrays
        int64. ``plain`` (layers, ``CASES``): a plain run of T steps. ``own`` (layers, 2): neurons
        of the plain run that fire more, and less, than their actual input justifies.
        ``srp`` (taus, layers, ``CASES``): the T steps of inference. ``silenced`` (taus, layers, 4):
        silenced neurons; silenced neurons with q = 0; silenced neurons that would have fired; the
        latter with q = 0.
    """
    layers = len(network.layers) - 1
    result: Arrays = {
        "plain": np.zeros((layers, len(CASES)), np.int64),
        "own": np.zeros((layers, 2), np.int64),
        "srp": np.zeros((len(taus), layers, len(CASES)), np.int64),
        "silenced": np.zeros((len(taus), layers, 4), np.int64),
    }
    simulator = Simulator(network, max(T, *taus))
    with torch.inference_mode():
        for _, batch in simulator.batches(images):
            levels, _ = qcfs_levels(network, batch, T)
            probe = simulator.plain(batch, max(T, *taus), keep={T, *taus})
            _count_plain(result, network, probe, levels, T)
            for row, tau in enumerate(taus):
                inference = simulator.inference(batch, probe, tau=tau, T=T)
                _count_inference(result, row, inference, levels)
    return result


def _count_plain(
    result: Arrays, network: IntegerNetwork, probe: PlainRun, levels: list[Tensor], T: int
) -> None:
    for index, (fired, level) in enumerate(zip(probe.layers, levels, strict=True)):
        count = fired.spikes[:T].sum(dim=0)
        result["plain"][index] += _cases(count, level)
        # Spikes subtract from v, the rest of the input is still in v. So the input justifies
        # floor((V0 + sum of I)/TH) = N + floor(v/TH) spikes: fewer than N if v < 0, more if
        # v >= TH.
        potential = fired.potentials[T]
        threshold = network.layers[index].threshold
        assert threshold is not None
        limit = torch.from_numpy(threshold.copy())[:, None, None]
        result["own"][index] += [
            int(((potential < 0) & (count > 0)).sum()),
            int(((potential >= limit) & (count < T)).sum()),
        ]


def _count_inference(result: Arrays, row: int, inference: Inference, levels: list[Tensor]) -> None:
    layers = zip(inference.silenced, inference.unmasked, levels, strict=True)
    for index, (silenced, unmasked, level) in enumerate(layers):
        count = unmasked.sum(dim=0)
        result["srp"][row, index] += _cases(count * ~silenced, level)
        rightly = silenced & (level == 0)
        result["silenced"][row, index] += [
            int(chosen.sum())
            for chosen in (silenced, rightly, silenced & (count > 0), rightly & (count > 0))
        ]


def _cases(count: Tensor, level: Tensor) -> list[int]:
    """Number of neurons in each of ``CASES``; N and q are integers of the same shape."""
    more, less, silent = count > level, count < level, level == 0
    quiet = count == 0
    return [
        int(chosen.sum())
        for chosen in (
            more & silent,
            more & ~silent,
            less & quiet,
            less & ~quiet,
            quiet & silent,
            (count == level) & ~silent,
        )
    ]


def _right(logits: Tensor, labels: np.ndarray) -> np.ndarray:
    """Whether the (first) largest of ``logits`` (..., N, classes) is the label: bool (..., N)."""
    predicted: np.ndarray = logits.numpy().argmax(axis=-1)
    right: np.ndarray = predicted == labels
    return right
