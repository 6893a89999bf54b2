"""The results of an engine, decoded from host words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from residuum.hw.isa.host_map import COUNTER_WORDS
from residuum.sw.compiler.program import Program
from residuum.sw.errors import ResiduumError


@dataclass(frozen=True)
class EngineTrace:
    """The results of an engine for N images.

    Attributes
    ----------
    trains, silenced
        Per hidden layer: bool (N, S, C, H, W) and bool (N, C, H, W).
    logits
        int64 (N, classes).
    prediction
        int64 (N,), the engine's own argmax; of a batch, that of its logits.
    counters
        int64 (N, layers, COUNTER_WORDS), words as in `Counter`, from uninterrupted runs; those of a
        batch are with its first image, and the others have zeros.
    """

    trains: tuple[np.ndarray, ...]
    silenced: tuple[np.ndarray, ...]
    logits: np.ndarray
    prediction: np.ndarray
    counters: np.ndarray

    @classmethod
    def stack(cls, traces: Sequence[EngineTrace]) -> EngineTrace:
        """Concatenate several traces of the same network."""

        def joined(parts: Sequence[Sequence[np.ndarray]]) -> tuple[np.ndarray, ...]:
            return tuple(np.concatenate(layer) for layer in zip(*parts, strict=True))

        return cls(
            joined([trace.trains for trace in traces]),
            joined([trace.silenced for trace in traces]),
            np.concatenate([trace.logits for trace in traces]),
            np.concatenate([trace.prediction for trace in traces]),
            np.concatenate([trace.counters for trace in traces]),
        )

    def to_arrays(self) -> dict[str, np.ndarray]:
        """All arrays by name; a network of one layer has no ``trains`` and ``silenced``."""
        named = {"logits": self.logits, "prediction": self.prediction, "counters": self.counters}
        for index, (trains, silenced) in enumerate(zip(self.trains, self.silenced, strict=True)):
            named |= {f"trains_{index}": trains, f"silenced_{index}": silenced}
        return named

    @classmethod
    def from_arrays(cls, named: Mapping[str, np.ndarray]) -> EngineTrace:
        """The trace from the arrays of `to_arrays`."""
        hidden = range(sum(name.startswith("trains_") for name in named))
        return cls(
            tuple(named[f"trains_{index}"] for index in hidden),
            tuple(named[f"silenced_{index}"] for index in hidden),
            named["logits"],
            named["prediction"],
            named["counters"],
        )

    @classmethod
    def decode(
        cls,
        program: Program,
        steps: int,
        *,
        logits: np.ndarray,
        layered: np.ndarray,
        best: int | None,
        counters: np.ndarray,
        layers: Sequence[tuple[np.ndarray, np.ndarray]],
    ) -> EngineTrace:
        """The trace of one image, from host words.

        Parameters
        ----------
        steps
            tau + T.
        logits, layered
            Words read at `Program.logit_reads` after an uninterrupted run, and after a run layer by
            layer.
        best, counters
            Class, and counters of all `Program.layers`, of the uninterrupted run. Without a class,
            as of a batch, it is the first one with the largest logit.
        layers
            Per hidden layer the words read at `Program.train_reads` before the next layer ran.

        Raises
        ------
        ResiduumError
            If the logits of the two runs differ.
        """
        whole, again = (program.decode_logits(words) for words in (logits, layered))
        if not np.array_equal(whole, again):
            raise ResiduumError(
                f"one run gave the logits {whole.tolist()}, the same layer by layer "
                f"{again.tolist()}"
            )
        decoded = [
            program.decode_trains(index, trains, occupancy, steps)
            for index, (trains, occupancy) in enumerate(layers)
        ]
        counted = counters.astype(np.int64).reshape(-1, COUNTER_WORDS)
        return cls(
            trains=tuple(trains[None] for trains, _ in decoded),
            silenced=tuple(silenced[None] for _, silenced in decoded),
            logits=whole[None],
            prediction=np.array([whole.argmax() if best is None else best], np.int64),
            counters=program.by_layer(counted)[None],
        )
