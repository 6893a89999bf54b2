"""Answers the requests of the page: runs pictures, and keeps the last answers."""

from __future__ import annotations

import base64
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from residuum.demo.drawing import Drawing
from residuum.demo.engines import SMALLEST, by_size, engine_for, predicted
from residuum.demo.errors import NOT_FOUND, RequestError
from residuum.demo.jobs import Jobs
from residuum.demo.networks import Offer
from residuum.demo.pictures import png, prepare
from residuum.demo.request import MOST_STEPS, HeldOut, Request, Strokes
from residuum.demo.runs import Run, Runner, logits_by_step
from residuum.sw.errors import ResiduumError
from residuum.sw.golden.confidence import confidences
from residuum.sw.golden.golden_model import LayerTrace
from residuum.sw.network.corrections import check_correction
from residuum.sw.network.integer_network import IntegerNetwork

# Answers that are kept: the page often asks for one again, when a slider moves back.
_KEPT = 8


@dataclass(frozen=True)
class _Done:
    """A run with what it was of."""

    request: Request
    network: IntegerNetwork
    image: np.ndarray
    label: int | None
    correction: str
    run: Run


class Session:
    """One for the whole server; its methods may be called from several threads.

    Parameters
    ----------
    offered
        Networks by name, the first to be shown first.
    runner
        Where they run.
    jobs
        Calls the runner, from one thread.
    bits, board
        Bits of the weights and board of the first run; None: the usual.
    """

    def __init__(
        self,
        offered: Mapping[str, Offer],
        runner: Runner,
        jobs: Jobs,
        *,
        bits: int | None = None,
        board: str = SMALLEST,
    ):
        self._offered, self._runner = offered, runner
        self._bits, self._board = bits, board
        self._jobs = jobs
        self._cycles = threading.Lock()
        self._kept: OrderedDict[Request, _Done] = OrderedDict()

    def offers(self) -> dict[str, Any]:
        """Everything that can be chosen."""
        first = next(iter(self._offered.values()))
        return {
            "networks": [offer.described() for offer in self._offered.values()],
            "boards": [board.name for board in by_size()],
            "board": self._board,
            "bits": self._bits or first.usual_bits,
            "runner": self._runner.described(),
            "most_steps": MOST_STEPS,
        }

    def prepared(self, data: bytes, name: str, bits: int, *, inverted: bool) -> dict[str, Any]:
        """A picture file of the user as an image of a network, in PNG."""
        network = self._offer(name).network(bits)
        return {"picture": _text(png(prepare(data, network, inverted=inverted), network))}

    def run(self, request: Request) -> dict[str, Any]:
        """Spikes, logits and class of a run."""
        done = self._done(request)
        network, run = done.network, done.run
        trace, (tau, T) = run.trace, (request.tau, request.T)
        scale = self._offer(request.network).scale(request.bits, T)
        steps = logits_by_step(network, trace, tau=tau, T=T)
        return {
            "network": network.name,
            "code": network.code,
            "tau": tau,
            "T": T,
            "correction": done.correction,
            "image": _text(png(done.image, network)),
            "label": done.label,
            "class": int(trace.prediction[0]),
            "logits": trace.logits[0].tolist(),
            "logits_by_step": None if steps is None else steps.tolist(),
            "shares": None
            if scale is None
            else [round(float(s), 4) for s in confidences(trace.logits, scale, T)[0]],
            "layers": [
                _layer(layer.name, found)
                for layer, found in zip(network.layers, trace.layers, strict=False)
            ],
            "output": network.layers[-1].name,
            "cycles": run.cycles,
            "mismatches": run.mismatches,
            "difference": run.difference,
        }

    def cycles(self, request: Request, board: str) -> dict[str, Any]:
        """Cycles and time of a run on a board; of a device, those that it counted."""
        done = self._done(request)
        if done.run.cycles is not None:
            return done.run.cycles
        with self._cycles:
            stages: dict[str, Any] = {"tau": request.tau, "T": request.T}
            try:
                engine = engine_for(done.network, board, **stages, correction=done.correction)
            except ResiduumError as error:
                cure = self._cure(request, board, **stages, correction=done.correction)
                raise RequestError(f"{error}{cure}") from None
            return predicted(engine, done.image, done.run.trace)

    def _cure(self, request: Request, board: str, **stages: Any) -> str:
        """Where the network runs with other weights, as the end of a sentence; empty if nowhere."""
        offer = self._offer(request.network)
        for bits in reversed(offer.bits):
            try:
                engine = engine_for(offer.network(bits), board, **stages)
            except ResiduumError:
                continue
            return f"; with {bits}-bit weights it runs on {engine.board}"
        return ""

    def _offer(self, name: str) -> Offer:
        if name not in self._offered:
            known = ", ".join(self._offered)
            raise RequestError(f"there is no network {name!r}; there are {known}", NOT_FOUND)
        return self._offered[name]

    def _done(self, request: Request) -> _Done:
        offer = self._offer(request.network)
        network = offer.network(request.bits)
        try:
            network.check_stages(request.tau, request.T)
            correction = check_correction(network, request.correction, request.tau)
        except ResiduumError as error:
            raise RequestError(str(error)) from None
        return self._jobs.call(lambda: self._answer(request, offer, network, correction))

    def _answer(
        self, request: Request, offer: Offer, network: IntegerNetwork, correction: str
    ) -> _Done:
        """The kept answer or a new run; in the thread of the jobs only."""
        if request in self._kept:
            self._kept.move_to_end(request)
            return self._kept[request]
        image, label = _image(request, offer, network)
        run = self._runner.run(network, image, tau=request.tau, T=request.T, correction=correction)
        done = _Done(request, network, image, label, correction, run)
        self._kept[request] = done
        if len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        return done


def _image(
    request: Request, offer: Offer, network: IntegerNetwork
) -> tuple[np.ndarray, int | None]:
    """The image that a request is about, and its label if that is known."""
    source = request.source
    if isinstance(source, Strokes):
        return Drawing.parse(source.data).image(network.input_shape, offer.style), None
    if not isinstance(source, HeldOut):
        return prepare(source.data, network, ready=True), None
    images = offer.images()
    if source.index >= len(images):
        raise RequestError(
            f"there is no test image {source.index}; they are numbered 0 .. {len(images) - 1}",
            NOT_FOUND,
        )
    labels = images.labels
    return images.images[source.index], None if labels is None else int(labels[source.index])


def _layer(name: str, trace: LayerTrace) -> dict[str, Any]:
    """The spikes of a hidden layer as JSON values; bits in the order of the array, the lowest bit
    of a byte first."""
    trains, silenced = trace.trains[0], trace.silenced[0]
    masked = bool(silenced.any())
    return {
        "name": name,
        "shape": trains.shape[1:],
        "neurons": silenced.size,
        "worth": trace.worth.tolist(),
        "spikes": _bits(trains),
        "spikes_by_step": trains.sum(axis=(1, 2, 3)).tolist(),
        "silenced": _bits(silenced) if masked else None,
        "silenced_neurons": int(silenced.sum()),
    }


def _bits(values: np.ndarray) -> str:
    return _text(np.packbits(values, axis=None, bitorder="little").tobytes())


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
