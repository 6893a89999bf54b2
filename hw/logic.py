"""Pieces of logic that several units use."""

from collections.abc import Iterable
from functools import reduce
from operator import or_
from typing import Any, TypeAlias

from amaranth.hdl import Const, Module, Mux, Signal, Value, ValueLike

# Assignments, as ``m.d.sync += ...`` takes them; Amaranth has no public type for one.
Statements: TypeAlias = list[Any]


def delayed(m: Module, value: Value, cycles: int, name: str) -> Value:
    """``value`` delayed by ``cycles`` registers ``name_0``, ``name_1``, ... without a reset."""
    for stage in range(cycles):
        register = Signal.like(value, name=f"{name}_{stage}", reset_less=True)
        m.d.sync += register.eq(value)
        value = register
    return value


def select(one_hot: Iterable[ValueLike], values: Iterable[ValueLike]) -> Value:
    """The value whose bit is set, 0 if none is: an OR of ANDs, no priority chain."""
    return reduce(or_, (Mux(bit, value, 0) for bit, value in zip(one_hot, values, strict=True)))


def gated(m: Module, when: ValueLike, value: Value, name: str) -> Signal:
    """A register ``name`` with ``value``, with 0 unless ``when``. An OR of such registers chooses
    one; the reset of the flip-flops does the work of LUTs."""
    register = Signal.like(value, name=name, reset_less=True)
    m.d.sync += register.eq(Mux(when, value, 0))
    return register


def below(value: Value, limit: int) -> Value:
    """Whether an unsigned ``value`` is less than a positive constant, by LUTs instead of a carry
    chain: a bit that is less decides, the highest one first."""
    if limit >> len(value):
        return Const(1)
    bits = limit.bit_length()
    less: Value = Const(0)
    for index, bit in enumerate(value[:bits]):
        less = (~bit | less) if limit >> index & 1 else (~bit & less)
    return less & ~value[bits:].any()
