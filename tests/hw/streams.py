"""Streams in Amaranth's simulator: values in and out, with pauses on either side."""

from collections.abc import Callable, Iterable
from itertools import cycle
from typing import Any

# Cycles to wait before each transfer, repeated forever.
NO_PAUSE = (0,)
PAUSES = {"at once": NO_PAUSE, "slow": (3,), "uneven": (0, 2, 0, 0, 5)}


async def wait(ctx, count: int) -> None:
    """Waits for `count` cycles, which may be 0."""
    for _ in range(count):
        await ctx.tick()


async def put(ctx, port, values: Iterable, pauses: Iterable[int] = NO_PAUSE) -> None:
    """Sends the values to a stream."""
    for value, pause in zip(values, cycle(pauses), strict=False):
        await wait(ctx, pause)
        ctx.set(port.payload, value)
        ctx.set(port.valid, 1)
        await ctx.tick().until(port.ready)
        ctx.set(port.valid, 0)


async def take(ctx, port, into: Callable[[Any], None], pauses: Iterable[int] = NO_PAUSE) -> None:
    """Takes values from a stream forever, as a background process.

    Fails if an offered value changes, or is withdrawn, before it is taken.
    """
    for pause in cycle(pauses):
        offered = None
        while True:
            ctx.set(port.ready, pause == 0)
            _, _, valid, value = await ctx.tick().sample(port.valid, port.payload)
            assert offered in (None, (valid, value))
            if valid and pause == 0:
                break
            if valid:
                offered = valid, value
                pause -= 1
        into(value)
