"""A `Core` in Amaranth's simulator: images in, results out, and a bus."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from residuum.hw.core import Core
from residuum.sw.compiler.exact import engine_code
from residuum.sw.compiler.program import Program
from residuum.sw.golden.golden_model import simulate as golden
from tests.hw.simulation import plain, simulate
from tests.hw.streams import NO_PAUSE, put, take

ERROR = "error"


def memory_of(program: Program) -> dict[int, int]:
    return dict(zip(program.addresses.tolist(), program.words.tolist(), strict=True))


def transfers(images: Iterable[bytes]) -> list[dict[str, int]]:
    return [
        {"value": value, "last": index == len(image) - 1}
        for image in images
        for index, value in enumerate(image)
    ]


class Bench:
    """Images for a core, its results, and accesses of its bus."""

    def __init__(self, core: Core, *, pauses: Iterable[int] = NO_PAUSE):
        self.core = core
        self.pauses = pauses
        self.results: list[tuple[int, list[int]] | str] = []
        self._words: list[dict[str, Any]] = []

    async def take(self, ctx) -> None:
        await take(ctx, self.core.results, self._took, self.pauses)

    def _took(self, payload) -> None:  # type: ignore[no-untyped-def]
        self._words.append(plain(payload))
        if not self._words[-1]["last"]:
            return
        words, self._words = self._words, []
        (best,) = {word["best"] for word in words}
        bad = [word["error"] for word in words]
        assert bad in ([1], [0] * len(bad))
        self.results.append(ERROR if bad[0] else (best, [word["logit"] for word in words]))

    async def send(self, ctx, images: Iterable[bytes]) -> None:
        await put(ctx, self.core.pixels, transfers(images), self.pauses)

    async def until(self, ctx, count: int, limit: int = 100_000) -> None:
        """Waits until this number of results has come."""
        for _ in range(limit):
            if len(self.results) >= count:
                return
            await ctx.tick()
        raise TimeoutError(f"{len(self.results)} results instead of {count}")

    async def access(self, ctx, address: int, word: int | None = None) -> None:
        """A write, or, without a word, a read, when the bus is ready."""
        bus = self.core.bus
        ctx.set(bus.address, address)
        ctx.set(bus.write_data, word or 0)
        strobe = bus.read if word is None else bus.write
        ctx.set(strobe, 1)
        await ctx.tick().until(bus.ready)
        ctx.set(strobe, 0)

    async def write(self, ctx, words: Mapping[int, int]) -> None:
        for address, word in words.items():
            await self.access(ctx, address, word)

    async def read(self, ctx, addresses: Sequence[int]) -> list[int]:
        """Words read one after another without a pause."""
        found: list[int] = []
        bus = self.core.bus
        for index in range(len(addresses) + 50):
            if index < len(addresses):
                ctx.set(bus.address, addresses[index])
            ctx.set(bus.read, index < len(addresses))
            _, _, ready, valid, word = await ctx.tick().sample(
                bus.ready, bus.read_valid, bus.read_data
            )
            assert ready or index >= len(addresses)
            if valid:
                found.append(word)
        return found

    def run(self, testbench, *, reset=None) -> None:
        simulate(self.core, testbench, background=[self.take], reset=reset)


def core_of(program: Program, *, tau: int, T: int, correction: str | None, **options: Any) -> Core:
    """A core with a program inside."""
    pixels = int(np.prod(program.network.input_shape))
    return Core(
        program.config,
        image_bytes=max(2, 1 << (pixels - 1).bit_length()),
        program=memory_of(program),
        tau=tau,
        T=T,
        correction=engine_code(correction),
        **options,
    )


def classify(core: Core, images: np.ndarray, *, pauses: Iterable[int] = NO_PAUSE) -> list:
    """The results of images that follow each other without a break."""
    bench = Bench(core, pauses=pauses)

    async def testbench(ctx):
        await bench.send(ctx, [image.tobytes() for image in images])
        await bench.until(ctx, len(images))

    bench.run(testbench)
    return bench.results


def expected(network, images: np.ndarray, **steps: Any) -> list:
    """The results of the golden model."""
    trace = golden(network, images, **steps)
    return [
        (int(best), [int(logit) for logit in logits])
        for best, logits in zip(trace.prediction, trace.logits, strict=True)
    ]
