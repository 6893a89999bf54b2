"""A float network of any origin to integers: calibration, fine-tuning, rounding, and the ladder."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from residuum.sw.convert.balance import balanced
from residuum.sw.convert.calibrate import calibrate
from residuum.sw.convert.to_integer import MAP_BITS, POTENTIAL_BITS, Conversion, convert
from residuum.sw.data.images import Images
from residuum.sw.errors import ResiduumError
from residuum.sw.importing.ladder import (
    Rung,
    Step,
    climb,
    float_steps,
    integer_step,
    spiking_step,
)
from residuum.sw.network.corrections import CARRY
from residuum.sw.network.float_network import FloatNetwork
from residuum.sw.network.graph import SPIKES
from residuum.sw.network.integer_network import RADIX, RATE, IntegerNetwork
from residuum.sw.progress import SILENT, Reporter
from residuum.sw.train.rounded import fine_tune_rounded

# Peak rate of the fine-tuning of compensated weights. A larger one undoes the compensation.
_FINE_RATE = 1e-4


@dataclass(frozen=True)
class Options:
    """How a float network becomes integers.

    Attributes
    ----------
    bits
        Bits of the weights, 2 .. 8.
    code
        "radix" or "rate".
    map_bits
        K of the maps, in radix code.
    tau, T, correction
        Steps and correction (`residuum.sw.network.corrections`) of the runs, in rate code.
    potential_bits
        Bits of the membrane potential of the engine.
    compensate
        Round the weights with compensation.
    fine_tune
        Epochs of fine-tuning with rounded weights and activations; 0 for none.
    seed
        Of the fine-tuning.
    augment
        Shift and mirror the pictures in the fine-tuning.
    """

    bits: int = 8
    code: str = RADIX
    map_bits: int = MAP_BITS
    tau: int = 0
    T: int = 8
    correction: str | None = None
    potential_bits: int = POTENTIAL_BITS
    compensate: bool = True
    fine_tune: int = 0
    seed: int = 0
    augment: bool = False

    @property
    def stages(self) -> dict[str, Any]:
        """tau, T and correction of a run, as keyword arguments."""
        if self.code == RADIX:
            return {"tau": 0, "T": 1}
        return {"tau": self.tau, "T": self.T, "correction": self.correction}

    @property
    def steps(self) -> int:
        """Most steps of a run in rate code in which a potential does not restart."""
        return self.tau + self.T if self.correction == CARRY else max(self.tau, self.T)

    @property
    def levels(self) -> int:
        """Levels above zero of every activation."""
        return (1 << self.map_bits) - 1 if self.code == RADIX else self.T


@dataclass(frozen=True)
class Imported:
    """What an import gives.

    Attributes
    ----------
    folded
        The float network as it came in.
    calibrated
        The same with the range of every activation; after fine-tuning.
    conversion
        The integer network, and the losses of its layers.
    """

    folded: FloatNetwork
    calibrated: FloatNetwork
    conversion: Conversion


def to_integers(
    network: FloatNetwork,
    options: Options,
    *,
    calibration: np.ndarray | None,
    training: Images | None = None,
    checkpoint: Path | None = None,
    exact: IntegerNetwork | None = None,
    metadata: dict[str, str] | None = None,
    reporter: Reporter = SILENT,
) -> Imported:
    """Calibrate, fine-tune if asked for, and round.

    Parameters
    ----------
    calibration
        Some hundred training images, uint8 (N, C, H, W). None only for networks that read spikes.
    training, checkpoint
        Images for the fine-tuning, and the file from which it resumes. Without labels the float
        network teaches.
    exact
        The integers that a network of spikes has already: they are kept as they are.

    Raises
    ------
    ResiduumError
        If images are missing, or the network does not become integers.
    """
    if network.input == SPIKES:
        if options.code != RATE:
            raise ResiduumError(
                f"network {network.name!r} reads spike trains, which only exist in rate code; "
                "give --code rate"
            )
        if exact is not None:
            exact = replace(exact, metadata={**exact.metadata, **(metadata or {})})
            return Imported(network, network, Conversion(exact, network, ()))
        conversion = convert(
            network,
            bits=options.bits,
            code=RATE,
            potential_bits=options.potential_bits,
            steps=1 if options.code == RADIX else options.steps,
            metadata=metadata,
            reporter=reporter,
        )
        return Imported(network, network, conversion)
    if calibration is None:
        raise ResiduumError(
            "the ranges of the activations are measured on images: name them with --data"
        )
    calibrated = calibrate(network, calibration, bits=_range_bits(options), reporter=reporter)
    calibrated = balanced(calibrated, calibration, levels=(1 << _range_bits(options)) - 1)
    rounding: dict[str, Any] = {
        "bits": options.bits,
        "code": options.code,
        "map_bits": options.map_bits,
        "potential_bits": options.potential_bits,
        "steps": None if options.code == RADIX else options.steps,
        "images": calibration,
        "metadata": metadata,
        "reporter": reporter,
    }
    conversion = convert(calibrated, compensate=options.compensate, **rounding)
    if options.fine_tune:
        assert training is not None
        assert checkpoint is not None
        calibrated = fine_tune_rounded(
            calibrated,
            training.images,
            training.labels,
            epochs=options.fine_tune,
            weight_bits=options.bits,
            map_bits=_range_bits(options),
            start=conversion.rounded,
            learning_rate=_FINE_RATE,
            seed=options.seed,
            checkpoint=checkpoint,
            augment=options.augment,
            reporter=reporter,
        )
        # Fine-tuned weights are rounded as they were in the training.
        conversion = convert(calibrated, compensate=False, **rounding)
    return Imported(network, calibrated, conversion)


def _range_bits(options: Options) -> int:
    """Bits for whose rounding the ranges are chosen; in rate code those of T levels."""
    return options.map_bits if options.code == RADIX else max(options.T.bit_length(), 1)


def ladder(
    imported: Imported,
    options: Options,
    images: np.ndarray,
    labels: np.ndarray | None,
    *,
    before: Sequence[Step] = (),
    beside: IntegerNetwork | None = None,
    reporter: Reporter = SILENT,
) -> list[Rung]:
    """The rungs of an import on held-out images.

    ``before`` are the steps of the front end; ``beside`` is the same network with wider weights,
    which is the last rung.
    """
    network = imported.conversion.network
    if network.input == SPIKES:
        steps = [spiking_step(imported.folded, **options.stages)]
    else:
        steps = float_steps(
            imported.folded, imported.calibrated, imported.conversion, levels=options.levels
        )
    steps.append(integer_step(network, **options.stages))
    if beside is not None:
        wider = f"integers, weights of {beside.weight_bits} bits"
        steps.append(replace(integer_step(beside, **options.stages), name=wider))
    return climb([*before, *steps], images, labels, reporter=reporter)
