"""Runs a component in Amaranth's own simulator: signals in, plain integers out."""

import gc
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from amaranth.hdl import ResetInserter, Signal, UnusedElaboratable
from amaranth.lib import data
from amaranth.sim import Simulator


def simulate(dut, *testbenches, reset=None, background=()) -> None:
    """Runs all testbenches to their end; those in `background` may run forever. `reset` is an
    optional signal that resets `dut`."""
    simulator = Simulator(dut if reset is None else ResetInserter(reset)(dut))
    simulator.add_clock(1e-6)
    for testbench in testbenches:
        simulator.add_testbench(testbench)
    for testbench in background:
        simulator.add_testbench(testbench, background=True)
    simulator.run()


def plain(value: Any) -> Any:
    """A value from `ctx.get`, as integers, dicts and lists."""
    if isinstance(value, data.Const):
        layout = value.shape()
        if isinstance(layout, data.StructLayout):
            return {name: plain(value[name]) for name in layout.members}
        return [plain(value[index]) for index in range(layout.length)]
    return value


def trace(dut, cycles: Iterable[Mapping[str, Any]], outputs: Iterable[str]) -> list[dict]:
    """The outputs in every cycle. `cycles` has the nonzero inputs of each cycle, among them
    ``reset``, which resets the component."""
    reset = Signal()
    outputs = tuple(outputs)
    seen = []

    def port(name: str):  # type: ignore[no-untyped-def]
        return reset if name == "reset" else getattr(dut, name)

    async def testbench(ctx):
        driven: dict = {}
        for cycle in cycles:
            for name, before in driven.items():
                if name not in cycle:
                    ctx.set(port(name), _zero(before))
            for name, value in cycle.items():
                ctx.set(port(name), value)
            driven = dict(cycle)
            seen.append({name: plain(ctx.get(getattr(dut, name))) for name in outputs})
            await ctx.tick()

    simulate(dut, testbench, reset=reset)
    return seen


def _zero(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _zero(member) for name, member in value.items()}
    if isinstance(value, list):
        return [_zero(member) for member in value]
    return 0


def refusal(make: Callable[[], Any]) -> tuple[type[Exception], str]:
    """The exception that a component's constructor raises, and its message."""
    with warnings.catch_warnings():
        # Amaranth warns about unused components, even if their constructor failed.
        warnings.simplefilter("ignore", UnusedElaboratable)
        try:
            make()
        except Exception as error:
            refused = type(error), str(error)
        gc.collect()
    return refused


def idle(count: int) -> list[dict]:
    """Cycles in which all inputs are zero."""
    return [{}] * count
