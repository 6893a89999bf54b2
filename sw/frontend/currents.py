"""Currents: sums of convolutions that no neuron has read yet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from residuum.sw.frontend.operators import Operator
from residuum.sw.frontend.views import Inexact, Part, View
from residuum.sw.frontend.windows import Windows, averaged, dense, gathered, undilated
from residuum.sw.network.graph import INPUT, MAX_SOURCES, MaxPool, Pair, Shape, Sides, Source


@dataclass(frozen=True, eq=False)
class Term:
    """A convolution over one map.

    Attributes
    ----------
    map, pool
        The map, and its average pooling.
    weight
        (O, I / groups, kh, kw).
    rows, columns
        Windows along both axes.
    pixel
        What positions outside the map hold, per channel of the map, in its units; None: zeros.
    """

    map: int
    pool: Pair
    weight: np.ndarray
    groups: int
    rows: Windows
    columns: Windows
    pixel: np.ndarray | None = None

    @property
    def shape(self) -> Shape:
        return len(self.weight), self.rows.count, self.columns.count

    @property
    def small(self) -> bool:
        """Whether it is a 1x1 convolution inside the map: what a second source should be."""
        return self.weight.shape[2:] == (1, 1) and not (self.reaches_out or self.pool != (1, 1))

    @property
    def reaches_out(self) -> bool:
        """Whether windows read positions outside the map."""
        return any(axis.before or axis.after for axis in (self.rows, self.columns))

    @property
    def identity(self) -> bool:
        """Whether each output channel is one channel of the map, or zero."""
        flat = self.weight.reshape(len(self.weight), -1)
        return bool(
            self.weight.shape[2:] == (1, 1)
            and (np.count_nonzero(flat, axis=1) <= 1).all()
            and np.isin(flat, (0, 1)).all()
        )

    def expanded(self) -> Term:
        """The same with groups and dilation as zeros in its weights."""
        weight = undilated(
            dense(self.weight, self.groups), self.rows.dilation, self.columns.dilation
        )
        rows = replace(self.rows, dilation=1, kernel=weight.shape[2])
        columns = replace(self.columns, dilation=1, kernel=weight.shape[3])
        return replace(self, weight=weight, groups=1, rows=rows, columns=columns)

    def source(self) -> Source:
        """The source of a layer; its padding is of zeros."""
        rows, top, bottom, vertical = self.rows.fitted()
        columns, left, right, horizontal = self.columns.fitted()
        weight = undilated(
            self.weight,
            self.rows.dilation if top or bottom else 1,
            self.columns.dilation if left or right else 1,
        )
        weight = np.pad(weight, ((0, 0), (0, 0), (top, bottom), (left, right)))
        return Source(
            weight=weight,
            map=self.map,
            stride=(rows.stride, columns.stride),
            padding=(*vertical, *horizontal),
            dilation=(
                rows.dilation if weight.shape[2] > 1 else 1,
                columns.dilation if weight.shape[3] > 1 else 1,
            ),
            groups=self.groups,
            pool=self.pool,
        )


@dataclass(frozen=True, eq=False)
class Current:
    """A sum of terms and a bias, with what follows before the neurons.

    Attributes
    ----------
    terms
        All of one shape.
    bias
        (C,).
    name
        Of the layer that it will be.
    origin
        The operator that made it.
    max_pool
        Maximum over windows; the order of maximum and ReLU does not matter.
    view
        How the map that the neurons will write is read: reshaped, for example.
    """

    terms: tuple[Term, ...]
    bias: np.ndarray
    name: str
    origin: Operator
    view: View
    max_pool: MaxPool | None = None

    @classmethod
    def of(
        cls,
        terms: Sequence[Term],
        bias: np.ndarray,
        origin: Operator,
        *,
        name: str = "",
        flat: bool = False,
    ) -> Current:
        view = View.of(INPUT, terms[0].shape, flat)
        return cls(tuple(terms), bias, name or origin.name, origin, view)

    @property
    def neurons(self) -> Shape:
        """(C, H, W) before max-pooling."""
        return self.terms[0].shape

    @property
    def shape(self) -> tuple[int, ...]:
        return self.view.shape

    @property
    def untouched(self) -> bool:
        """Whether nothing but the removal of axes follows the sum."""
        return self.max_pool is None and self.view.whole_map is not None

    @property
    def signed(self) -> bool:
        """Whether it may be negative."""
        arrays = [self.bias, *(term.weight for term in self.terms)]
        return any((array < 0).any() for array in arrays)

    def scaled_by(self, gain: np.ndarray, offset: np.ndarray) -> Current:
        """``gain * x + offset`` per channel."""
        terms = tuple(
            replace(term, weight=term.weight * gain[:, None, None, None]) for term in self.terms
        )
        return replace(self, terms=terms, bias=self.bias * gain + offset)

    def taken(self, channels: np.ndarray) -> Current:
        """These channels, from 0 on; the current must be untouched."""
        if np.array_equal(channels, np.arange(len(self.bias))):
            return self
        terms = [
            replace(term, weight=dense(term.weight, term.groups)[channels], groups=1)
            for term in self.terms
        ]
        flat = self.view.flat
        return Current.of(terms, self.bias[channels], self.origin, name=self.name, flat=flat)

    def resliced(self, axis: int, start: int, step: int, count: int) -> Current:
        """Rows (axis 1) or columns (axis 2) start, start + step, ...; must be untouched."""
        field = ("rows", "columns")[axis - 1]
        terms = [
            replace(term, **{field: getattr(term, field).sliced(start, step, count)})  # type: ignore[arg-type]
            for term in self.terms
        ]
        return Current.of(terms, self.bias, self.origin, name=self.name)

    def averaged(self, window: Pair, stride: Pair, shape: Shape) -> Current:
        """Averages over windows inside the map, as larger kernels; must be untouched."""
        return Current.of(
            [_averaged(term, window, stride, shape) for term in self.terms],
            self.bias,
            self.origin,
            name=self.name,
        )


def _averaged(term: Term, window: Pair, stride: Pair, shape: Shape) -> Term:
    axes = (term.rows, term.columns)
    pointwise = term.weight.shape[2:] == (1, 1) and not term.reaches_out and stride == window
    if pointwise and all(axis.stride == 1 and axis.start == 0 for axis in axes):
        rows, columns = (
            Windows(axis.size // size, 0, 1, 1, 1, count)
            for axis, size, count in zip(axes, window, shape[1:], strict=True)
        )
        pool = term.pool[0] * window[0], term.pool[1] * window[1]
        return replace(term, pool=pool, rows=rows, columns=columns)
    rows, columns = (
        axis.averaged(size, step, count)
        for axis, size, step, count in zip(axes, window, stride, shape[1:], strict=True)
    )
    weight = undilated(term.weight, term.rows.dilation, term.columns.dilation)
    weight = averaged(weight, window, (term.rows.stride, term.columns.stride))
    return replace(term, weight=weight, rows=rows, columns=columns)


def convolved(
    view: View,
    weight: np.ndarray,
    bias: np.ndarray,
    origin: Operator,
    *,
    stride: Pair = (1, 1),
    padding: Sides = (0, 0, 0, 0),
    dilation: Pair = (1, 1),
    groups: int = 1,
    name: str = "",
) -> Current:
    """The convolution of an ordered view, whose gains and offsets go into weights and bias.

    Raises `Inexact` if zeros around the view are not zeros, or one pixel, around the maps.
    """
    full = dense(weight, groups)
    used = view.channels >= 0
    terms = []
    start = 0
    for part in view.parts:
        inside = used & (view.channels >= start) & (view.channels < start + part.channels)
        if inside.any() or len(view.parts) == 1:
            rows, columns = (
                Windows.of(axis, size, step, spread, before, after)
                for axis, size, step, spread, (before, after) in zip(
                    part.axes,
                    weight.shape[2:],
                    stride,
                    dilation,
                    (padding[:2], padding[2:]),
                    strict=True,
                )
            )
            straight = len(view.parts) == 1 and np.array_equal(
                view.channels, np.arange(part.channels)
            )
            if straight and groups > 1:
                gains = np.repeat(view.gain.reshape(groups, -1), len(weight) // groups, axis=0)
                weights = weight * gains[:, :, None, None]
            else:
                at = np.where(inside, view.channels - start, -1)
                weights = gathered(full, at, view.gain, part.channels)
            term = Term(
                map=part.map,
                pool=part.pool,
                weight=weights,
                groups=groups if straight else 1,
                rows=rows,
                columns=columns,
            )
            terms.append(_bordered(term, view, part, padding, inside, start))
        start += part.channels
    if not terms:
        raise Inexact("layout")
    constants = ~used
    if view.offset[constants].any() and any(padding):
        raise Inexact("padded normalisation")
    total = bias + full.sum(axis=(2, 3)) @ view.offset
    terms = _at_most_two(terms)
    return Current.of(terms, total, origin, name=name)


def _bordered(
    term: Term, view: View, part: Part, padding: Sides, inside: np.ndarray, start: int
) -> Term:
    """The term with the pixel that positions outside its map hold."""
    outer = [padding[2 * number : 2 * number + 2] for number in range(2)]
    windows = (term.rows, term.columns)
    read_outer = False
    for axis, (before, after), window in zip(part.axes, outer, windows, strict=True):
        # Zeros behind the view that no window reads do not count.
        last = window.start + window.stride * (window.count - 1) + window.reach - 1
        behind = after > 0 and last > axis.start + axis.stride * (axis.count - 1)
        if axis.cuts(before, int(behind)):
            raise Inexact("layout")
        read_outer |= before > 0 or behind
    if not term.reaches_out:
        return term
    border = view.border[inside]
    if read_outer:
        if part.bordered and border.any():
            raise Inexact("borders")
        border = np.zeros_like(border)
    gain, offset = view.gain[inside], view.offset[inside]
    if np.array_equal(border, offset):
        return term
    if (gain == 0).any():
        raise Inexact("padded normalisation")
    values = (border - offset) / gain
    at = view.channels[inside] - start
    pixel = np.zeros(part.channels)
    pixel[at] = values
    if part.map != INPUT:
        raise Inexact("padded normalisation")
    if not np.allclose(pixel[at], values, rtol=1e-9, atol=1e-12):
        raise Inexact("borders")
    return replace(term, pixel=pixel)


def identity(view: View, origin: Operator, name: str = "") -> Current:
    """The ordered view itself as a current: one weight of 1 per channel."""
    channels = len(view.channels)
    weight = np.eye(channels)[:, :, None, None]
    current = convolved(view, weight, np.zeros(channels), origin, name=name)
    return replace(current, view=replace(current.view, flat=view.flat))


def summed(first: Current, second: Current, origin: Operator) -> Current:
    """The sum of two untouched currents of one shape.

    Raises `Inexact` if more than two terms remain.
    """
    terms = [*first.terms, *second.terms]
    terms = _at_most_two(terms)
    # The engine wants a small second source, and the conversion keeps an identity there exact.
    terms.sort(key=lambda term: (term.small, term.identity))
    named = first if _leads(first, second) else second
    return Current.of(
        terms, first.bias + second.bias, origin, name=named.name, flat=first.view.flat
    )


def _leads(first: Current, second: Current) -> bool:
    """Whether the layer of a sum is named after the first of two currents."""
    small = [all(term.small for term in current.terms) for current in (first, second)]
    plain = [all(term.identity for term in current.terms) for current in (first, second)]
    return (small[0], plain[0]) <= (small[1], plain[1])


def stacked(currents: Sequence[Current]) -> Current:
    """Currents of one height and width, one channel after the other, as a sum.

    Raises `Inexact` if more than two terms remain.
    """
    total = sum(len(current.bias) for current in currents)
    terms = []
    start = 0
    for current in currents:
        channels = len(current.bias)
        for term in current.terms:
            weight = dense(term.weight, term.groups)
            rows = np.zeros((total, *weight.shape[1:]))
            rows[start : start + channels] = weight
            terms.append(replace(term, weight=rows, groups=1))
        start += channels
    terms = _at_most_two(terms)
    bias = np.concatenate([current.bias for current in currents])
    first = currents[0]
    return Current.of(terms, bias, first.origin, name=first.name, flat=first.view.flat)


def _at_most_two(terms: list[Term]) -> list[Term]:
    """The terms, merged if they are more than a layer reads; `Inexact` if they stay more."""
    if len(terms) > MAX_SOURCES:
        terms = merged(terms)
    if len(terms) > MAX_SOURCES:
        raise Inexact("terms")
    return terms


def merged(terms: Sequence[Term]) -> list[Term]:
    """Terms over the same map with the same steps as one term of a larger kernel."""
    result: list[Term] = []
    for term in terms:
        for number, other in enumerate(result):
            if (sum_ := _merged(other, term)) is not None:
                result[number] = sum_
                break
        else:
            result.append(term)
    return result


def _merged(first: Term, second: Term) -> Term | None:
    for axes in ((first.rows, second.rows), (first.columns, second.columns)):
        if axes[0].stride != axes[1].stride:
            return None
    outside = [term.pixel for term in (first, second) if term.reaches_out]
    known = [np.zeros(1) if pixel is None else pixel for pixel in outside]
    if (first.map, first.pool) != (second.map, second.pool) or (
        len(known) == 2 and not np.array_equal(known[0], known[1])
    ):
        return None
    first, second = first.expanded(), second.expanded()
    windows = [
        _union(a, b) for a, b in ((first.rows, second.rows), (first.columns, second.columns))
    ]
    out, channels = first.weight.shape[:2]
    weight = np.zeros((out, channels, windows[0].kernel, windows[1].kernel))
    for term in (first, second):
        top, left = (
            axis.start - whole.start
            for axis, whole in zip((term.rows, term.columns), windows, strict=True)
        )
        height, width = term.weight.shape[2:]
        weight[:, :, top : top + height, left : left + width] += term.weight
    pixel = next((pixel for pixel in outside if pixel is not None), None)
    return replace(first, weight=weight, rows=windows[0], columns=windows[1], pixel=pixel)


def _union(first: Windows, second: Windows) -> Windows:
    start = min(first.start, second.start)
    end = max(first.start + first.kernel, second.start + second.kernel)
    return replace(first, start=start, kernel=end - start)
