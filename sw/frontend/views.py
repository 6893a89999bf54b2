"""Views: what a layer will read, before it is known which layer reads it.

A view stands for a value that follows from one or two maps (or the image) by operators that a
reader contains: average pooling, slices, borders, scales and offsets of channels, concatenation,
reshape and transpose. No neuron computes it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from residuum.sw.frontend.windows import Axis
from residuum.sw.network.graph import Pair, Shape


class Inexact(Exception):
    """A reader cannot contain an operator exactly; the key of a pattern in `supported`."""


@dataclass(frozen=True)
class Part:
    """The channels of one map in a view: pooled, then sliced or bordered."""

    map: int
    channels: int
    pool: Pair
    rows: Axis
    columns: Axis

    @property
    def axes(self) -> tuple[Axis, Axis]:
        return self.rows, self.columns

    @property
    def bordered(self) -> bool:
        return self.rows.bordered or self.columns.bordered


@dataclass(frozen=True, eq=False)
class Elements:
    """Numbers of a map in another order than channels, rows and columns.

    Attributes
    ----------
    index
        Position in the flat map of each number, of any shape; -1: zero.
    gain, offset
        Of the same shape: the number is ``gain * map + offset``.
    """

    index: np.ndarray
    gain: np.ndarray
    offset: np.ndarray


@dataclass(frozen=True, eq=False)
class View:
    """Channel c is ``gain[c] * x + offset[c]``, where x is channel ``channels[c]`` of the parts.

    Attributes
    ----------
    parts
        The maps that it shows, one after the other, all of one height and width.
    channels
        (C,): number of a channel in all parts together; -1: x = 0.
    gain, offset
        (C,).
    border
        (C,): the value at positions outside the maps.
    mixing
        Matrices (h, rows) and (w, columns) that multiply rows and columns behind all this: averages
        over windows of different sizes. None: none.
    flat
        Whether the axes of height and width, both 1, are gone.
    elements
        The numbers in another order; None: channels, rows, columns.
    """

    parts: tuple[Part, ...]
    channels: np.ndarray
    gain: np.ndarray
    offset: np.ndarray
    border: np.ndarray
    mixing: tuple[np.ndarray, np.ndarray] | None = None
    flat: bool = False
    elements: Elements | None = None

    @classmethod
    def of(cls, number: int, shape: Shape, flat: bool = False) -> View:
        """The whole map ``number`` as it is."""
        channels, height, width = shape
        part = Part(number, channels, (1, 1), Axis.whole(height), Axis.whole(width))
        zero, one = np.zeros(channels), np.ones(channels)
        return cls((part,), np.arange(channels), one, zero, zero, flat=flat)

    @property
    def unmixed(self) -> Shape:
        """(C, H, W) in front of `mixing`."""
        return len(self.channels), self.parts[0].rows.count, self.parts[0].columns.count

    @property
    def spatial(self) -> Shape:
        """(C, H, W) in front of any other order."""
        if self.mixing is None:
            return self.unmixed
        return len(self.channels), len(self.mixing[0]), len(self.mixing[1])

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the value, without the batch."""
        if self.elements is not None:
            return self.elements.index.shape
        return self.spatial[:1] if self.flat else self.spatial

    @property
    def ordered(self) -> bool:
        """Whether it has channels, rows and columns of single maps, in this order."""
        return self.elements is None and self.mixing is None

    @property
    def scaled(self) -> bool:
        """Whether a gain, an offset or a border changes the numbers of the maps."""
        return bool((self.gain != 1).any() or self.offset.any() or self.border.any())

    @property
    def signed(self) -> bool:
        """Whether numbers may be negative."""
        arrays = [self.gain, self.offset, self.border]
        if self.elements is not None:
            arrays += [self.elements.gain, self.elements.offset]
        return any((array < 0).any() for array in arrays)

    @property
    def whole_map(self) -> int | None:
        """Number of the map, if the view is the map and nothing else."""
        part = self.parts[0]
        same = (
            self.ordered
            and len(self.parts) == 1
            and not self.scaled
            and part.pool == (1, 1)
            and all(axis.plain for axis in part.axes)
            and np.array_equal(self.channels, np.arange(part.channels))
        )
        return part.map if same else None

    def renumbered(self, number: int) -> View:
        """The same view of the map ``number``; it must have one part."""
        (part,) = self.parts
        return replace(self, parts=(replace(part, map=number),))

    def unscaled(self) -> View:
        """The view without gains and offsets; only for views whose border is 0 then."""
        zero = np.zeros_like(self.offset)
        return replace(self, gain=np.ones_like(self.gain), offset=zero, border=zero)

    def with_scale_of(self, other: View) -> View:
        """This view with the gains and offsets of ``other``."""
        return replace(self, gain=other.gain, offset=other.offset, border=other.border)

    def natural(self) -> Elements:
        """The elements of the value as it is."""
        if self.elements is not None:
            return self.elements
        index = np.arange(math.prod(self.spatial)).reshape(self.shape)
        return Elements(index, np.ones(index.shape), np.zeros(index.shape))

    def reordered(self, elements: Elements) -> View:
        """The value with these elements, again with channels, rows and columns where possible."""
        plain = replace(self, elements=None, flat=False)
        channels, height, width = self.spatial
        index = elements.index
        if index.ndim == 1 and height == width == 1:
            index = index[:, None, None]
            flat = True
        else:
            flat = False
        if index.ndim == 3 and index.shape[1:] == (height, width) and index.size:
            area = height * width
            first = index[:, 0, 0]
            grid = np.where(first < 0, -1, 0)[:, None] + np.where(
                first[:, None] < 0, 0, np.arange(area) + first[:, None]
            )
            aligned = (first < 0) | (first % area == 0)
            gain, offset = (
                array.reshape(len(index), -1) for array in (elements.gain, elements.offset)
            )
            uniform = (gain == gain[:, :1]).all() and (offset == offset[:, :1]).all()
            if aligned.all() and uniform and np.array_equal(grid, index.reshape(len(index), -1)):
                taken = plain.taken(np.where(first < 0, -1, first // area))
                if self.mixing is None or not offset.any():
                    return replace(taken.scaled_by(gain[:, 0], offset[:, 0]), flat=flat)
        return replace(plain, elements=elements)

    def taken(self, channels: np.ndarray) -> View:
        """These channels of the value, -1: a channel of zeros."""
        zero = channels < 0
        at = np.where(zero, 0, channels)
        return replace(
            self,
            channels=np.where(zero, -1, self.channels[at]),
            gain=np.where(zero, 1.0, self.gain[at]),
            offset=np.where(zero, 0.0, self.offset[at]),
            border=np.where(zero, 0.0, self.border[at]),
        )

    def scaled_by(self, gain: np.ndarray, offset: np.ndarray) -> View:
        """``gain * x + offset`` with one value per channel, (C,)."""
        if self.mixing is not None and offset.any():
            elements = self.natural()
            return replace(self, elements=elements, flat=False).elements_scaled_by(
                *(array.reshape(-1, *(1,) * (elements.index.ndim - 1)) for array in (gain, offset))
            )
        return replace(
            self,
            gain=self.gain * gain,
            offset=self.offset * gain + offset,
            border=self.border * gain + offset,
        )

    def elements_scaled_by(self, gain: np.ndarray, offset: np.ndarray) -> View:
        """``gain * x + offset`` with arrays that broadcast against the value."""
        old = self.natural()
        new = Elements(old.index, old.gain * gain, old.offset * gain + offset)
        return self.reordered(new)

    def reshaped(self, shape: tuple[int, ...]) -> View:
        if shape == self.shape:
            return self
        channels, height, width = self.spatial
        if self.elements is None and (height, width) == (1, 1) and shape[:1] == (channels,):
            flat = len(shape) == 1
            if flat or shape[1:] == (1, 1):
                return replace(self, flat=flat)
        old = self.natural()
        return self.reordered(
            Elements(*(array.reshape(shape) for array in (old.index, old.gain, old.offset)))
        )

    def transposed(self, axes: tuple[int, ...]) -> View:
        """Axes without the batch."""
        if axes == tuple(range(len(axes))):
            return self
        old = self.natural()
        return self.reordered(
            Elements(*(array.transpose(axes) for array in (old.index, old.gain, old.offset)))
        )

    def sliced(self, axis: int, start: int, step: int, count: int) -> View:
        """Positions start, start + step, ... of an axis, counted without the batch."""
        if self.elements is None and axis == 0:
            return self.taken(start + step * np.arange(count))
        if self.ordered and not self.flat:
            return self.resliced(axis, start, step, count)
        old = self.natural()
        where = [slice(None)] * old.index.ndim
        where[axis] = slice(start, start + step * (count - 1) + 1, step)
        at = tuple(where)
        return self.reordered(Elements(old.index[at], old.gain[at], old.offset[at]))

    def resliced(self, axis: int, start: int, step: int, count: int) -> View:
        """As `sliced`, for rows (axis 1) or columns (axis 2); positions may lie outside."""
        parts = []
        for part in self.parts:
            axes = list(part.axes)
            axes[axis - 1] = axes[axis - 1].sliced(start, step, count)
            parts.append(replace(part, rows=axes[0], columns=axes[1]))
        return replace(self, parts=tuple(parts))

    def padded(self, sides: Sequence[Pair]) -> View:
        """Zeros around each axis; negative sides cut.

        Raises `Inexact` if the border cannot be one of zeros.
        """
        view = self
        for axis, (before, after) in enumerate(sides):
            cut = max(0, -before), max(0, -after)
            if any(cut):
                view = view.sliced(axis, cut[0], 1, view.shape[axis] - sum(cut))
        grown = [(max(0, before), max(0, after)) for before, after in sides]
        if not view.ordered or view.flat:
            return view._elements_padded(grown)
        if any(grown[0]):
            middle = np.arange(len(view.channels))
            view = view.taken(np.pad(middle, grown[0], constant_values=-1))
        if any(map(any, grown[1:])):
            view._check_border(grown[1:])
            for axis in (1, 2):
                before, after = grown[axis]
                view = view.resliced(axis, -before, 1, view.shape[axis] + before + after)
            view = replace(view, border=np.zeros_like(view.border))
        return view

    def _check_border(self, sides: Sequence[Pair]) -> None:
        for part in self.parts:
            for axis, (before, after) in zip(part.axes, sides, strict=True):
                if axis.cuts(before, after):
                    raise Inexact("layout")
            if part.bordered and self.border.any():
                raise Inexact("borders")

    def _elements_padded(self, sides: Sequence[Pair]) -> View:
        old = self.natural()
        return self.reordered(
            Elements(
                np.pad(old.index, sides, constant_values=-1),
                np.pad(old.gain, sides, constant_values=1),
                np.pad(old.offset, sides),
            )
        )

    def pooled(self, window: Pair) -> View | None:
        """Averages over windows side by side, as pooling of the parts; None if not exact."""
        if not self.ordered or self.flat:
            return None
        parts = []
        for part in self.parts:
            for axis, size in zip(part.axes, window, strict=True):
                if size > 1 and (axis.start, axis.stride) != (0, 1) or axis.bordered:
                    return None
                # Pooling drops a remainder, so a stride or start of its own must not follow.
            if any(
                size == 1 and not axis.plain for axis, size in zip(part.axes, window, strict=True)
            ):
                return None
            rows, columns = (a.pooled(size) for a, size in zip(part.axes, window, strict=True))
            pool = part.pool[0] * window[0], part.pool[1] * window[1]
            parts.append(replace(part, pool=pool, rows=rows, columns=columns))
        return replace(self, parts=tuple(parts))

    def mixed(self, rows: np.ndarray, columns: np.ndarray) -> View:
        """Rows and columns multiplied by matrices."""
        if self.mixing is not None:
            rows, columns = rows @ self.mixing[0], columns @ self.mixing[1]
        return replace(self, mixing=(rows, columns))


def concatenated(views: Sequence[View], axis: int) -> View:
    """Values one after the other along an axis, counted without the batch.

    Raises `Inexact` if their maps have different heights or widths.
    """
    if any(view.spatial[1:] != views[0].spatial[1:] or view.mixing for view in views):
        raise Inexact("layout")
    parts: list[Part] = []
    channels = []
    for view in views:
        # A map that is there already is not read twice.
        first = []
        for part in view.parts:
            if part not in parts:
                parts.append(part)
            first.append(sum(each.channels for each in parts[: parts.index(part)]))
        ends = np.cumsum([0] + [part.channels for part in view.parts])
        moved = view.channels.copy()
        for number, start in enumerate(first):
            inside = (view.channels >= ends[number]) & (view.channels < ends[number + 1])
            moved[inside] += start - ends[number]
        channels.append(moved)
    joined = View(
        tuple(parts),
        np.concatenate(channels),
        np.concatenate([view.gain for view in views]),
        np.concatenate([view.offset for view in views]),
        np.concatenate([view.border for view in views]),
    )
    if axis == 0 and all(view.elements is None for view in views):
        return replace(joined, flat=views[0].flat)
    naturals = [view.natural() for view in views]
    offsets = np.cumsum([0] + [math.prod(view.spatial) for view in views])
    index = [
        np.where(each.index < 0, -1, each.index + start)
        for each, start in zip(naturals, offsets, strict=False)
    ]
    return joined.reordered(
        Elements(
            np.concatenate(index, axis),
            np.concatenate([each.gain for each in naturals], axis),
            np.concatenate([each.offset for each in naturals], axis),
        )
    )
