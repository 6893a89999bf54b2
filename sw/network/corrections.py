"""What a run in rate code does with the residual potential v(tau) when its probe ends.

| correction | hidden layers after step tau | output layer |
|---|---|---|
| none | there is no probe, tau = 0 | sums all steps |
| mask | v <- V0; a neuron with v(tau) < 0 sends no spike any more | sums the T steps after tau |
| carry | nothing: v goes on | sums the T steps after tau |
| offset | v <- V0 + TH, V0 - TH or V0, see below | sums the T steps after tau |

None is the plain conversion of QCFS (Bu et al., ICLR 2022). Mask is SRP (Hao et al., AAAI 2023).
Carry keeps the residual potential, and leaves out the steps in which the layers are not yet filled.
Offset is after COS (Hao et al., "Bridging the gap between ANNs and SNNs by calibrating offset
spikes", ICLR 2023), simplified to one spike that the probe gave too few or too many:

    v <- V0 + TH if v(tau) >= TH;  V0 - TH if v(tau) < 0 and the neuron has fired;  else V0

The golden model and the float spiking network run all four, the engine the first three.
"""

from residuum.sw.errors import ResiduumError
from residuum.sw.network.float_network import FloatNetwork
from residuum.sw.network.integer_network import RADIX, IntegerNetwork, Layer

NONE, MASK, CARRY, OFFSET = "none", "mask", "carry", "offset"
CORRECTIONS = (NONE, MASK, CARRY, OFFSET)
# Offset would cost the engine another subtraction in every stage of its neurons.
ON_ENGINE = (NONE, MASK, CARRY)


def default_correction(network: IntegerNetwork | FloatNetwork, tau: int) -> str:
    """The correction of a run for which none is chosen: mask, or none without a probe."""
    return MASK if tau else NONE


def check_correction(
    network: IntegerNetwork | FloatNetwork,
    correction: str | None,
    tau: int,
    *,
    engine: bool = False,
) -> str:
    """The correction that a run with ``tau`` steps of probe has.

    Parameters
    ----------
    correction
        One of ``CORRECTIONS``, or None: `default_correction`. With tau = 0 there is nothing to
        correct, and the result is none.
    engine
        Whether the run is on an engine.

    Raises
    ------
    ResiduumError
        Unless ``correction`` exists; none has tau = 0; a network in radix code has none; mask and
        offset have no neurons that fire strictly above their threshold; the engine, if it is to run
        it, has it.
    """
    if correction is None:
        correction = default_correction(network, tau)
    if correction not in CORRECTIONS:
        raise ResiduumError(
            f"there is no correction {correction!r}; the corrections are {', '.join(CORRECTIONS)}"
        )
    if isinstance(network, IntegerNetwork) and network.code == RADIX and correction != NONE:
        raise ResiduumError(
            f"network {network.name!r} is in radix code, which has no probe and so no correction "
            f"{correction!r}; leave the correction out"
        )
    if engine and correction not in ON_ENGINE:
        raise ResiduumError(
            f"the engine does not have the correction {correction!r}, which is for the golden "
            f"model only; the engine runs {', '.join(ON_ENGINE)}"
        )
    if tau == 0:
        return NONE
    if correction == NONE:
        raise ResiduumError(
            f"the correction {NONE!r} is for runs without a probe, tau = 0, and tau is {tau}; take "
            f"{MASK} or {CARRY}"
        )
    _check_strict(network, correction, tau)
    return correction


def _check_strict(network: IntegerNetwork | FloatNetwork, correction: str, tau: int) -> None:
    strict = [
        layer.name for layer in network.layers if layer.strict and layer.threshold is not None
    ]
    if strict and correction != CARRY:
        raise ResiduumError(
            f"layer {strict[0]!r} fires strictly above its threshold, where the sign of the "
            f"residual potential says nothing, so it has no correction {correction!r}: tau must be "
            f"0, not {tau}, or the correction {CARRY}"
        )


def longest_stage(layer: Layer, correction: str, tau: int, T: int) -> int:
    """Steps for which a layer adds up its currents at most, without a restart.

    This is what `residuum.sw.network.bounds` takes: the larger of tau and T; with carry, whose
    hidden layers never restart, their sum.
    """
    return most_steps(correction, tau, T) if not layer.output else max(tau, T)


def most_steps(correction: str, tau: int, T: int) -> int:
    """The largest `longest_stage` of the layers of a network."""
    return tau + T if correction == CARRY else max(tau, T)


def describe_run(network: IntegerNetwork, tau: int, T: int, correction: str) -> str:
    """A run for the reader: "radix code"; "tau 4, T 4" with the default correction; or with its
    name, "tau 4, T 4, carry"."""
    if network.code == RADIX:
        return "radix code"
    named = "" if correction == default_correction(network, tau) else f", {correction}"
    return f"tau {tau}, T {T}{named}"
