"""Streams in Amaranth's simulator: values in and out, with pauses on either side."""

from collections.abc import Callable, Iterable
from itertools import cycle
from typing import Any

# How many cycles to wait before each transfer, over and over.
NO_PAUSE = (0,)
PAUSES = {"at once": NO_PAUSE, "slow": (3,), "uneven": (0, 2, 0, 0, 5)}


async def wait(ctx, count: int) -> None:
    """Lets some cycles pass, or none."""
    for _ in range(count):
        await ctx.tick()


async def put(ctx, port, values: Iterable, pauses: Iterable[int] = NO_PAUSE) -> None:
    """Gives the values to a stream."""
    for value, pause in zip(values, cycle(pauses), strict=False):
        await wait(ctx, pause)
        ctx.set(port.payload, value)
        ctx.set(port.valid, 1)
        await ctx.tick().until(port.ready)
        ctx.set(port.valid, 0)


async def take(ctx, port, into: Callable[[Any], None], pauses: Iterable[int] = NO_PAUSE) -> None:
    """Hands on the values of a stream, for ever. Fails if one changes, or goes, before it is taken.

    Runs in the background: the simulator can't end what waits with ``until``.
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
