"""A network on a device: load it once, classify images, read every spike train."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np

from residuum.hw.isa.host_map import COUNTER_WORDS, Region
from residuum.hw.isa.protocol import MAX_LOGITS
from residuum.sw.compiler.batching import best_batch
from residuum.sw.compiler.exact import engine_code
from residuum.sw.compiler.program import Program, compile_network
from residuum.sw.data.given import GivenPicture, as_image, as_images, is_one
from residuum.sw.errors import ResiduumError
from residuum.sw.host import external
from residuum.sw.host.device import Device, Done, RunResult, ignore
from residuum.sw.network.corrections import check_correction, most_steps
from residuum.sw.network.integer_network import IntegerNetwork
from residuum.sw.trace.engine_trace import EngineTrace


@dataclass(frozen=True)
class Classification:
    """Class of an image, the duration of the run, and the logits, int64 (classes,); None if they
    were not read."""

    prediction: int
    cycles: int
    logits: np.ndarray | None = None


class Classifier:
    """Runs one network, with tau probe steps, T steps of inference, and a correction (one of
    `residuum.sw.network.corrections`; None: mask, or none if tau = 0).

    The device must hold the network before images run: `load` writes it, and `differing_words`
    checks whether it is already there. Several classifiers may share a device; a classifier refuses
    to run while the device holds another network.

    A device and its classifiers are for one thread at a time: the calls of several threads must be
    under one lock, because a request and its reply share the link.

    With a ``batch`` of several images (None: as many as take the fewest cycles per image), weights
    from an external memory are read once for all of them; the answers come a batch at a time.

    Attributes
    ----------
    program : Program
        The network compiled for the engine of this device.

    Raises
    ------
    ResiduumError
        If the network does not fit the device, which names the need and the size, does not run for
        so many images at a time, or has no such correction on an engine.
    """

    def __init__(
        self,
        device: Device,
        network: IntegerNetwork,
        *,
        tau: int,
        T: int,
        correction: str | None = None,
        batch: int | None = 1,
    ):
        self.device = device
        self.tau, self.T = network.check_stages(tau, T)
        self.correction = check_correction(network, correction, self.tau, engine=True)
        try:
            config, steps = device.identity.config, most_steps(self.correction, tau, T)
            self.program: Program = compile_network(
                network,
                config,
                tau=tau,
                T=T,
                correction=self.correction,
                batch=best_batch(network, config, steps=steps, images=batch),
            )
        except ResiduumError as error:
            raise ResiduumError(
                f"{network.name} does not fit {device.link.name}: {error}"
            ) from None

    @property
    def loaded(self) -> bool:
        """Whether the device is known to hold this program; any classifier may have written it."""
        held = self.device.program
        return held is self.program or (
            held is not None
            and np.array_equal(held.addresses, self.program.addresses)
            and np.array_equal(held.words, self.program.words)
            and np.array_equal(held.external, self.program.external)
        )

    def load(self, *, done: Done = ignore) -> bool:
        """Write the program into the device; calls ``done(words)`` after every frame, with
        `Program.load_words` in all. Returns whether its external memory has the weights already,
        which are then not written again."""
        there = False
        if len(self.program.external):
            there = external.holds(self.device, self.program)
            if there:
                done(len(self.program.external) // 2)
            else:
                external.store(self.device, self.program, done=done)
        self.device.write_scattered(self.program.addresses, self.program.words, done=done)
        self.device.program = self.program
        return there

    def differing_words(self, *, done: Done = ignore) -> int:
        """Number of words in which device and program differ; with 0, the program is `loaded`. An
        external memory that does not hold the weights counts with all its words."""
        held = self.device.read_scattered(self.program.addresses, done=done)
        differing = int((held != self.program.words).sum())
        if pairs := len(self.program.external) // 2:
            if not external.holds(self.device, self.program):
                differing += pairs
            done(pairs)
        if not differing:
            self.device.program = self.program
        elif self.loaded:
            self.device.program = None
        return differing

    @overload
    def classify(self, images: GivenPicture, *, done: Done = ignore) -> Classification: ...

    @overload
    def classify(self, images: Any, *, done: Done = ignore) -> Any: ...

    def classify(
        self, images: Any, *, done: Done = ignore
    ) -> Classification | list[Classification]:
        """Classify an image, or several.

        Parameters
        ----------
        images
            An image: an array, a tensor or nested lists of whole numbers 0 .. 255, in the
            network's shape (C, H, W), as `residuum.load_images` gives them; or a picture of
            Pillow, or the path of a picture file, of any size and kind. Several: numbers in
            four dimensions (N, C, H, W), or an iterable of images, which are read one by one. For
            a network that reads spikes, trains of 0 and 1, (tau + T, C, H, W).
        done
            Called with 1 after each image, for a progress bar.

        Returns
        -------
        The result of the image; of several, a list in their order.

        Raises
        ------
        ResiduumError
            Unless the device is known to hold the network; if an image does not fit it, or a file
            cannot be read (the images before it have been classified); if the device does not
            answer.
        """
        network = self.program.network
        if is_one(network, images):
            (found,) = self.classify_all([as_image(network, images)])
            done(1)
            return found
        results = []
        for result in self.classify_all(as_images(network, images)):
            results.append(result)
            done(1)
        return results

    def classify_all(
        self, images: Iterable[np.ndarray], *, logits: bool = False, one_by_one: bool = False
    ) -> Iterator[Classification]:
        """Classify images as `classify` does; the answers come in their order, each when it is
        there.

        If the device takes the raw image (see `one_request`), the next images are on the way while
        one runs. Otherwise, or with ``one_by_one``, each image is written into the feature memory,
        run, and answered, before the next one is sent; logits are then read only if ``logits``.
        """
        if self.program.batch.images > 1:
            yield from self._in_batches(images)
            return
        many = logits and self.program.network.classes > MAX_LOGITS
        if self.one_request and not (one_by_one or many):
            yield from self._stream(images)
            return
        for image in images:
            self._write_image(image)
            result = self._run(0, len(self.program.layers) - 1)
            scores = self.logits() if logits else None
            yield Classification(result.best, result.cycles, scores)

    @property
    def one_request(self) -> bool:
        """Whether an image of the network is one request to the device."""
        network = self.program.network
        return self.program.takes_pixels and self.device.holds(math.prod(network.input_shape))

    def _stream(self, images: Iterable[np.ndarray]) -> Iterator[Classification]:
        for result in self._requests(images, self.program.runs):
            scores = None if result.logits is None else self.program.decode_logits(result.logits)
            yield Classification(result.best, result.cycles, scores)

    def _requests(self, images: Iterable[np.ndarray], runs: Sequence[range]) -> Iterator[RunResult]:
        """The results of images, each a request; ``runs`` by turns."""
        network = self.program.network
        self._require_loaded()
        yield from self.device.classify(
            (network.as_image(image).tobytes() for image in images),
            runs=runs,
            classes=network.classes,
            tau=self.tau,
            T=self.T,
            correction=engine_code(self.correction),
        )

    def _in_batches(self, images: Iterable[np.ndarray]) -> Iterator[Classification]:
        """The answers of a batch when all of its images are there; the last batch is filled up with
        its last image."""
        count, coming = self.program.batch.images, iter(images)
        while batch := list(itertools.islice(coming, count)):
            filled = batch + batch[-1:] * (count - len(batch))
            cycles = sum(self._run_batch(filled)) // count
            reads = [self.program.logit_reads(number) for number in range(len(batch))]
            words = self.device.read_scattered(np.concatenate(reads))
            for logits in self.program.decode_logits(words).reshape(len(batch), -1):
                yield Classification(int(logits.argmax()), cycles, logits)

    def _run_batch(self, images: Sequence[np.ndarray]) -> list[int]:
        """Run the images of a batch. Returns the cycles of each run.

        A request that was lost on the wire is executed after those that followed it. The last run
        reads the maps of all images, so it is asked for when all others have been answered.
        """
        cycles, runs = [], self.program.runs
        if self.one_request:
            for part in (slice(-1), slice(-1, None)):
                results = self._requests(images[part], runs[part])
                cycles += [result.cycles for result in results]
            return cycles
        for image, run in zip(images, runs, strict=True):
            self._write_image(image)
            cycles.append(self._run(run[0], run[-1]).cycles)
        return cycles

    def logits(self) -> np.ndarray:
        """The logits of the last image that ran, int64 (classes,)."""
        return self.program.decode_logits(self.device.read_scattered(self.program.logit_reads()))

    def trace(self, image: np.ndarray) -> EngineTrace:
        """The engine's trace of one image; see `classify`.

        One uninterrupted run gives logits, class and counters. A second run, layer by layer, gives
        the trains.
        """
        program, last = self.program, len(self.program.layers) - 1
        if program.batch.images > 1:
            raise ResiduumError("the trains of a batch cannot be read; take one image at a time")
        self._write_image(image)
        best = self._run(0, last).best
        logits = self.device.read_scattered(program.logit_reads())
        counters = self.device.read(
            self.device.host_map.address(Region.COUNTERS), (last + 1) * COUNTER_WORDS
        )
        self._write_image(image)
        layers = []
        for index in range(last):
            self._run(index, index)
            trains, occupancy = program.train_reads(index)
            layers.append(
                (self.device.read_scattered(trains), self.device.read_scattered(occupancy))
            )
        self._run(last, last)
        return EngineTrace.decode(
            program,
            self.tau + self.T,
            logits=logits,
            layered=self.device.read_scattered(program.logit_reads()),
            best=best,
            counters=counters,
            layers=layers,
        )

    def _require_loaded(self) -> None:
        if not self.loaded:
            raise ResiduumError(
                f"{self.device.link.name} is not known to hold {self.program.network.name} with "
                f"{self.program.network.weight_bits}-bit weights; load() it first"
            )

    def _write_image(self, image: np.ndarray) -> None:
        self._require_loaded()
        self.device.write_scattered(*self.program.input_writes(image))

    def _run(self, first: int, last: int) -> RunResult:
        code = engine_code(self.correction)
        return self.device.run(first, last, tau=self.tau, T=self.T, correction=code)
