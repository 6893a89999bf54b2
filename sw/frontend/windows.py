"""Windows along one axis, and kernels that do the work of several operators."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True)
class Axis:
    """Which positions of a map's axis a view holds: position i of the view is position
    ``start + stride * i`` of the map, for i = 0 .. count - 1.

    Positions outside 0 .. size - 1 are a border around the map.
    """

    size: int
    start: int
    stride: int
    count: int

    @classmethod
    def whole(cls, size: int) -> Axis:
        return cls(size, 0, 1, size)

    @property
    def plain(self) -> bool:
        """Whether the view is the map itself."""
        return self == Axis.whole(self.size)

    @property
    def bordered(self) -> bool:
        """Whether the view holds positions outside the map."""
        return self.start < 0 or self.start + self.stride * (self.count - 1) >= self.size

    def cuts(self, before: int, after: int) -> bool:
        """Whether one of ``before`` positions in front of the view, or ``after`` positions behind
        it, is a position of the map, which the view left out."""
        return (before > 0 and self.start - self.stride >= 0) or (
            after > 0 and self.start + self.stride * self.count < self.size
        )

    def sliced(self, start: int, stride: int, count: int) -> Axis:
        """Positions start, start + stride, ... of the view; they may lie outside."""
        return Axis(self.size, self.start + self.stride * start, self.stride * stride, count)

    def pooled(self, window: int) -> Axis:
        """The axis behind average pooling; the view must start at 0 with stride 1."""
        return Axis(self.size // window, 0, 1, self.count // window)


@dataclass(frozen=True)
class Windows:
    """Windows of a convolution along the axis of a map: output o and kernel index k read position
    ``start + stride * o + dilation * k``, for o = 0 .. count - 1."""

    size: int
    start: int
    stride: int
    dilation: int
    kernel: int
    count: int

    @classmethod
    def of(
        cls, axis: Axis, kernel: int, stride: int, dilation: int, before: int, after: int
    ) -> Windows:
        """Windows over a view with zeros before and after it; no window: count below 1."""
        reach = dilation * (kernel - 1) + 1
        count = (axis.count + before + after - reach) // stride + 1
        moved = axis.sliced(-before, 1, axis.count)
        return cls(
            axis.size, moved.start, axis.stride * stride, axis.stride * dilation, kernel, count
        )

    @property
    def reach(self) -> int:
        """Positions from the first to the last of a window."""
        return self.dilation * (self.kernel - 1) + 1

    @property
    def before(self) -> int:
        """Positions that the windows read in front of the map."""
        return max(0, -self.start)

    @property
    def after(self) -> int:
        """Positions that the windows read behind the map."""
        return max(0, self.start + self.stride * (self.count - 1) + self.reach - self.size)

    def sliced(self, start: int, step: int, count: int) -> Windows:
        """Outputs start, start + step, ..."""
        return replace(
            self, start=self.start + self.stride * start, stride=self.stride * step, count=count
        )

    def moved(self, before: int, after: int) -> Windows:
        """The same windows over a map with a border of its own."""
        return replace(self, size=self.size + before + after, start=self.start + before)

    def averaged(self, window: int, step: int, count: int) -> Windows:
        """Windows of a dense kernel that averages ``window`` outputs, ``step`` apart."""
        kernel = self.reach + self.stride * (window - 1)
        return replace(self, dilation=1, kernel=kernel, stride=self.stride * step, count=count)

    def fitted(self) -> tuple[Windows, int, int, tuple[int, int]]:
        """The same outputs with padding from 0 on: (windows, zero rows in front of the kernel, zero
        rows behind it, padding before and after).

        Zero rows make up for a view that begins inside the map, that ends in front of its end, or
        whose first or last windows lie outside the map. With zero rows the kernel has dilation 1.
        """
        front = max(0, self.start)
        before = max(0, -self.start)
        reach = self.reach + front
        last = self.stride * (self.count - 1) - before
        after = max(0, last + reach - self.size)
        # Without padding behind the map one more window may fit.
        back = max(0, self.size - last - self.stride + 1 - reach) if after == 0 else 0
        # Every window must touch the map.
        back = max(back, before + 1 - reach)
        reach += back
        after = max(0, last + reach - self.size)
        extra = max(0, after + 1 - reach)
        front, before, reach = front + extra, before + extra, reach + extra
        # Padding of equal sides wherever the last positions do not matter.
        if after < before < reach:
            spare = self.size + 2 * before - reach
            after = before if spare // self.stride + 1 == self.count else after
        if front or back:
            windows = replace(self, dilation=1, kernel=reach, start=-before)
        else:
            windows = replace(self, start=-before)
        return windows, front, back, (before, after)


def undilated(weight: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """The kernel (O, I, kh, kw) with zeros in place of its dilation."""
    if (rows, columns) == (1, 1):
        return weight
    out, channels, height, width = weight.shape
    result = np.zeros((out, channels, rows * (height - 1) + 1, columns * (width - 1) + 1))
    result[:, :, ::rows, ::columns] = weight
    return result


def averaged(weight: np.ndarray, windows: tuple[int, int], steps: tuple[int, int]) -> np.ndarray:
    """The kernel of an average over h x w outputs, whose windows lie ``steps`` apart."""
    out, channels, height, width = weight.shape
    tall, wide = windows
    result = np.zeros(
        (out, channels, height + steps[0] * (tall - 1), width + steps[1] * (wide - 1))
    )
    for i in range(tall):
        for j in range(wide):
            top, left = steps[0] * i, steps[1] * j
            result[:, :, top : top + height, left : left + width] += weight
    return result / (tall * wide)


def dense(weight: np.ndarray, groups: int) -> np.ndarray:
    """The weights (O, I, kh, kw) of a grouped convolution, with blocks of zeros."""
    if groups == 1:
        return weight
    out, channels = weight.shape[:2]
    result = np.zeros((out, channels * groups, *weight.shape[2:]))
    for group in range(groups):
        rows = slice(group * out // groups, (group + 1) * out // groups)
        result[rows, group * channels : (group + 1) * channels] = weight[rows]
    return result


def gathered(weight: np.ndarray, at: np.ndarray, gain: np.ndarray, count: int) -> np.ndarray:
    """Weights (O, count, ...) of numbers that are read as ``gain[i] * x[at[i]]`` by the weights
    (O, I, ...); ``at`` is -1 for zeros."""
    if np.array_equal(at, np.arange(count)):
        return weight if (gain == 1).all() else weight * gain.reshape(-1, *(1,) * (weight.ndim - 2))
    used = at >= 0
    scaled = weight[:, used] * gain[used].reshape(-1, *(1,) * (weight.ndim - 2))
    result = np.zeros((len(weight), count, *weight.shape[2:]))
    if len(np.unique(at[used])) == np.count_nonzero(used):
        result[:, at[used]] = scaled
    else:
        np.add.at(result.swapaxes(0, 1), at[used], scaled.swapaxes(0, 1))
    return result
