"""A graph of operators becomes a float network.

Every value of the graph is one of three things: a *view* of maps that neurons have written (or of
the image), a *current*, which neurons have yet to read, or a *stack* of several of them, one behind
the other in channels. Operators change views and currents symbolically; a ReLU makes neurons of a
current, and with them a layer. What no layer computes ends in one sentence that names the operator
and the cure.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from residuum.sw.errors import ResiduumError
from residuum.sw.frontend import operators as op
from residuum.sw.frontend import supported
from residuum.sw.frontend.assembly import Draft, assembled
from residuum.sw.frontend.currents import Current, convolved, identity, stacked, summed
from residuum.sw.frontend.operators import Operator, OperatorGraph
from residuum.sw.frontend.pooling import adaptive, averages, max_pool_of, unequal, window_counts
from residuum.sw.frontend.supported import refuse
from residuum.sw.frontend.views import Inexact, View, concatenated
from residuum.sw.frontend.windows import dense, gathered
from residuum.sw.network.float_network import FloatNetwork
from residuum.sw.network.graph import INPUT, MaxPool, Pair, Preprocessing, Shape, Sides

NOTES = "notes"
# Why layers exist that no ReLU of the model made.
_MAP = "what it reads must be a map"
_AVERAGE = "averages over windows that overlap or have a border"
_MAXIMUM = "maxima of what no single layer writes"


@dataclass(frozen=True, eq=False)
class Stack:
    """Currents and views, one channel after the other; at least one of them is a current."""

    blocks: tuple[Current | View, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        channels = sum(block.shape[0] for block in self.blocks)
        return channels, *self.blocks[0].shape[1:]


Value = View | Current | Stack


def lower(
    graph: OperatorGraph,
    *,
    preprocessing: Preprocessing | None = None,
    class_names: Sequence[str] = (),
    metadata: dict[str, str] | None = None,
) -> FloatNetwork:
    """The float network that computes what the operators compute.

    Parameters
    ----------
    preprocessing
        What the model wants as numbers: its scale, mean and std go into the first layer. None:
        u/255.
    metadata
        Goes into the network, with a key "notes" if something was left out or added.

    Raises
    ------
    ResiduumError
        Names the first operator or pattern that no layer computes, and what to use in its place.
    """
    output, notes = _without_final(graph)
    needed = _needed(graph, output)
    lowering = _Lowering()
    lowering.values[graph.input] = _picture(graph.input_shape, preprocessing)
    for operator in graph.operators:
        if operator.output in needed:
            lowering.run(operator)
    if output not in lowering.values or output == graph.input:
        raise ResiduumError(f"model {graph.name!r} returns nothing that follows from the image")
    last = lowering.output(output)
    layers, pad, more = assembled(lowering.drafts, last, graph.input_shape)
    notes += more
    texts = dict(metadata or {})
    if notes:
        texts[NOTES] = "; ".join(notes)
    return FloatNetwork(
        name=graph.name,
        input_shape=graph.input_shape,
        layers=layers,
        levels=None,
        pad=pad,
        class_names=tuple(class_names),
        preprocessing=preprocessing,
        metadata=texts,
    )


def _without_final(graph: OperatorGraph) -> tuple[str, list[str]]:
    """The output without softmax and the like behind it, and notes about them."""
    by_output = {operator.output: operator for operator in graph.operators}
    output, notes = graph.output, []
    end = graph.output
    while (operator := by_output.get(end)) and operator.kind in (op.FINAL, op.IDENTITY):
        end = operator.inputs[0]
        if operator.kind == op.FINAL:
            notes.append(f"dropped at the end: {operator}")
            output = end
    return output, notes


def _needed(graph: OperatorGraph, output: str) -> set[str]:
    needed = {output}
    for operator in reversed(graph.operators):
        if operator.output in needed:
            needed.update(operator.inputs)
    return needed


def _picture(shape: Shape, preprocessing: Preprocessing | None) -> View:
    """The image u/255 as the numbers that the model wants, ``(u * scale - mean) / std``."""
    view = View.of(INPUT, shape)
    if preprocessing is None:
        return view
    std = np.array(preprocessing.std or (1.0,) * shape[0])
    mean = np.array(preprocessing.mean or (0.0,) * shape[0])
    return view.scaled_by(255 * preprocessing.scale / std, -mean / std)


class _Lowering:
    """The layers so far, and the value of each name."""

    def __init__(self) -> None:
        self.values: dict[str, Value] = {}
        self.drafts: list[Draft] = []
        # Layers that exist already, with other pooling or range: (draft, pooling, threshold).
        self.variants: dict[tuple[int, MaxPool | None, float], int] = {}
        self.emitted: dict[tuple[int, float], tuple[Current, View]] = {}

    # -- operators ------------------------------------------------------------------------------

    def run(self, operator: Operator) -> None:
        """Compute the value of an operator."""
        handlers: dict[str, Callable[[Operator], Value]] = {
            op.CONVOLUTION: self._convolution,
            op.LINEAR: self._linear,
            op.AFFINE: self._affine,
            op.CLIP: self._clip,
            op.MAX_POOL: self._max_pool,
            op.ADAPTIVE_MAX_POOL: self._adaptive_max_pool,
            op.AVERAGE_POOL: self._average_pool,
            op.ADAPTIVE_AVERAGE_POOL: self._adaptive_average_pool,
            op.MEAN: self._mean,
            op.ADD: self._add,
            op.CONCAT: self._concat,
            op.RESHAPE: self._reshape,
            op.TRANSPOSE: self._transpose,
            op.SLICE: self._slice,
            op.PAD: self._pad,
            op.IDENTITY: lambda operator: self.values[operator.inputs[0]],
            op.FINAL: lambda operator: refuse(operator, supported.ACTIVATION),
            op.REFUSED: lambda operator: refuse(operator, operator.attributes["key"]),
        }
        try:
            self.values[operator.output] = handlers[operator.kind](operator)
        except Inexact as error:
            refuse(operator, str(error))

    def _input(self, operator: Operator, number: int = 0) -> Value:
        return self.values[operator.inputs[number]]

    def _convolution(self, operator: Operator) -> Value:
        view = self._readable(operator, self._input(operator))
        weight, bias = operator.weights["weight"], operator.weights["bias"]
        attributes = operator.attributes
        if view.elements is not None or view.flat:
            raise Inexact(supported.LAYOUT)
        if view.shape[0] != weight.shape[1] * attributes["groups"]:
            raise ResiduumError(
                f"{operator} has weights for {weight.shape[1] * attributes['groups']} channels, "
                f"but its input has {view.shape[0]}"
            )
        if view.mixing is not None:
            if any(attributes["padding"]) or weight.shape[2:] != view.shape[1:]:
                raise Inexact(supported.UNEQUAL_WINDOWS)
            kernel = dense(weight, attributes["groups"])
            return self._whole(operator, view, kernel, bias)
        current = self._convolved(operator, view, weight, bias)
        if min(current.neurons) < 1:
            raise ResiduumError(
                f"{operator} has a window larger than its {view.shape[1]} x {view.shape[2]} input; "
                "use a larger input shape"
            )
        return current

    def _convolved(
        self, operator: Operator, view: View, weight: np.ndarray, bias: np.ndarray
    ) -> Current:
        """The convolution of an ordered view, with a layer between them where it must be."""
        attributes = operator.attributes
        try:
            return convolved(view, weight, bias, operator, **attributes)
        except Inexact as error:
            if view.signed:
                if _shows_image(view) and str(error) == supported.PADDED_NORM:
                    raise Inexact(supported.BORDERS) from None
                raise
        return convolved(self._layer_of(operator, view), weight, bias, operator, **attributes)

    def _linear(self, operator: Operator) -> Value:
        value = self._input(operator)
        weight, bias = operator.weights["weight"], operator.weights["bias"]
        if isinstance(value, Current | Stack) and len(value.shape) == 1:
            value = self._readable(operator, value)
        if len(value.shape) != 1:
            raise Inexact(supported.LAYOUT)
        view = self._readable(operator, value)
        if view.shape[0] != weight.shape[1]:
            raise ResiduumError(
                f"{operator} has weights for {weight.shape[1]} inputs, but its input has "
                f"{view.shape[0]}; is this the input shape that the model was made for?"
            )
        elements = view.natural()
        kernel = gathered(weight, elements.index, elements.gain, math.prod(view.spatial))
        bias = bias + weight @ elements.offset
        plain = replace(view, elements=None, flat=False)
        whole = kernel.reshape(len(weight), *view.spatial)
        current = self._whole(operator, plain, whole, bias)
        return replace(current, view=replace(current.view, flat=True))

    def _whole(
        self, operator: Operator, view: View, kernel: np.ndarray, bias: np.ndarray
    ) -> Current:
        """A convolution whose kernel is the whole view."""
        if view.mixing is not None:
            rows, columns = view.mixing
            kernel = np.einsum("ocij,ih,jw->ochw", kernel, rows, columns)
            view = replace(view, mixing=None)
        return convolved(view, kernel, bias, operator)

    def _affine(self, operator: Operator) -> Value:
        value = self._input(operator)
        gain, offset = (
            _broadcast(operator, operator.weights[name], value.shape) for name in ("gain", "offset")
        )
        return self._scaled(operator, value, gain, offset)

    def _scaled(
        self, operator: Operator, value: Value, gain: np.ndarray, offset: np.ndarray
    ) -> Value:
        """``gain * x + offset`` with arrays of as many axes as the value."""
        if isinstance(value, Stack):
            ends = np.cumsum([block.shape[0] for block in value.blocks])[:-1]
            split = [
                np.split(np.broadcast_to(a, (value.shape[0], *a.shape[1:])), ends)
                for a in (gain, offset)
            ]
            blocks = [
                self._scaled(operator, block, *pair)
                for block, *pair in zip(value.blocks, *split, strict=True)
            ]
            return Stack(tuple(blocks))  # type: ignore[arg-type]
        per_channel = all(array.size == array.shape[0] for array in (gain, offset))
        if isinstance(value, View):
            if value.elements is None and per_channel:
                return value.scaled_by(*_rows(value.shape[0], gain, offset))
            if value.elements is None and value.ordered and not value.flat:
                raise ResiduumError(
                    f"{operator} has constants of their own for each position of a map; use one "
                    "value per channel and fine-tune"
                )
            return value.elements_scaled_by(gain, offset)
        if not (per_channel and value.view.whole_map is not None):
            raise ResiduumError(
                f"{operator} has constants of their own for each position of a map; use one value "
                "per channel and fine-tune"
            )
        gains, offsets = _rows(value.shape[0], gain, offset)
        if value.max_pool is not None and (gains < 0).any():
            raise Inexact(supported.MIRRORED_MAXIMUM)
        return value.scaled_by(gains, offsets)

    def _clip(self, operator: Operator) -> Value:
        upper = operator.attributes["upper"]
        if not upper > 0:
            refuse(operator, supported.CLIPPING)
        return self._clipped(operator, self._input(operator), upper)

    def _clipped(self, operator: Operator, value: Value, upper: float) -> View:
        if isinstance(value, Stack):
            return concatenated([self._clipped(operator, b, upper) for b in value.blocks], 0)
        if isinstance(value, Current):
            return self._emit(value, upper)
        if not value.signed:
            if upper >= self._largest(value):
                return value
            number = value.whole_map
            if number is not None and number != INPUT:
                threshold = min(upper, self.drafts[number].threshold)
                variant = self._variant(number, self.drafts[number].max_pool, threshold)
                return value.renumbered(variant)
        return self._layer_of(operator, value, upper)

    def _largest(self, view: View) -> float:
        """Upper bound of a view that is not signed."""
        if view.mixing is not None or view.elements is not None:
            return math.inf
        largest = max(
            1.0 if part.map == INPUT else self.drafts[part.map].threshold for part in view.parts
        )
        with np.errstate(invalid="ignore"):
            bounds = np.where(view.gain > 0, view.gain * largest, 0) + view.offset
        return float(max(bounds.max(), view.border.max()))

    def _max_pool(self, operator: Operator) -> Value:
        attributes = operator.attributes
        value = self._input(operator)
        if attributes["dilation"] != (1, 1):
            raise Inexact(supported.DILATED_MAXIMUM)
        shape = _map_shape(value)
        counts = window_counts(operator, shape)
        pool = max_pool_of(
            shape, attributes["kernel"], attributes["stride"], attributes["padding"], counts
        )
        return self._maximum(operator, value, pool)

    def _adaptive_max_pool(self, operator: Operator) -> Value:
        value = self._input(operator)
        _, *sizes = _map_shape(value)
        counts = operator.attributes["size"]
        if any(size % count for size, count in zip(sizes, counts, strict=True)):
            raise Inexact(supported.UNEQUAL_WINDOWS)
        kernel = sizes[0] // counts[0], sizes[1] // counts[1]
        return self._maximum(operator, value, MaxPool(kernel, kernel))

    def _maximum(self, operator: Operator, value: Value, pool: MaxPool) -> Value:
        if isinstance(value, Stack):
            blocks = [self._maximum(operator, block, pool) for block in value.blocks]
            return Stack(tuple(blocks))  # type: ignore[arg-type]
        if (pool.kernel, pool.stride, pool.padding) == ((1, 1), (1, 1), (0, 0, 0, 0)):
            return value
        if isinstance(value, Current):
            if not value.untouched:
                value = self._readable(operator, value)
            else:
                shape = pool.output_shape(value.neurons)
                return replace(value, max_pool=pool, view=View.of(INPUT, shape))
        if _shows_image(value):
            raise Inexact(supported.IMAGE_MAXIMUM)
        if value.mixing is not None:
            raise Inexact(supported.UNEQUAL_WINDOWS)
        if not value.ordered or value.flat:
            raise Inexact(supported.LAYOUT)
        if (value.gain < 0).any():
            raise Inexact(supported.MIRRORED_MAXIMUM)
        if value.scaled and any(part.bordered for part in value.parts):
            raise Inexact(supported.BORDERS)
        return self._pooled_by_maximum(operator, value.unscaled(), pool).with_scale_of(value)

    def _pooled_by_maximum(self, operator: Operator, view: View, pool: MaxPool) -> View:
        number = view.whole_map
        if number is not None and self.drafts[number].max_pool is None:
            variant = self._variant(number, pool, self.drafts[number].threshold)
            return View.of(variant, pool.output_shape(view.spatial))
        current = identity(view, operator)
        shape = pool.output_shape(current.neurons)
        return self._emit(
            replace(current, max_pool=pool, view=View.of(INPUT, shape)),
            self._largest(view),
            _MAXIMUM,
        )

    def _average_pool(self, operator: Operator) -> Value:
        attributes = operator.attributes
        kernel, stride, padding = (attributes[key] for key in ("kernel", "stride", "padding"))
        value = self._input(operator)
        shape = _map_shape(value)
        counts = window_counts(operator, shape)
        inside = [
            step * (count - 1) + size <= extent
            for step, count, size, extent in zip(stride, counts, kernel, shape[1:], strict=True)
        ]
        divisor = attributes["divisor"]
        if not any(padding) and all(inside):
            result = self._averaged(operator, value, kernel, stride, counts)
        elif isinstance(value, View) and value.ordered and self._even(operator, shape, counts):
            result = self._padded_average(operator, value, counts)
        else:
            if divisor is not None:
                raise Inexact(supported.UNEQUAL_WINDOWS)
            return self._mixed(value, *unequal(operator, shape, counts))
        if divisor is None:
            return result
        gain = np.full((1, 1, 1), math.prod(kernel) / divisor)
        return self._scaled(operator, result, gain, np.zeros((1, 1, 1)))

    def _even(self, operator: Operator, shape: Shape, counts: Pair) -> bool:
        """Whether all windows have one divisor, padding included."""
        attributes = operator.attributes
        padding = attributes["padding"]
        inside = [
            step * (count - 1) + size <= extent + sum(sides)
            for step, count, size, extent, sides in zip(
                attributes["stride"],
                counts,
                attributes["kernel"],
                shape[1:],
                (padding[:2], padding[2:]),
                strict=True,
            )
        ]
        included = attributes["count_include_pad"] or attributes["divisor"] is not None
        return all(inside) and included

    def _averaged(
        self, operator: Operator, value: Value, kernel: Pair, stride: Pair, counts: Pair
    ) -> Value:
        """Averages over windows inside the map."""
        shape = _map_shape(value)
        # The step of a single window does not matter.
        step = (
            kernel[0] if counts[0] == 1 else stride[0],
            kernel[1] if counts[1] == 1 else stride[1],
        )
        if isinstance(value, Stack):
            blocks = [
                self._averaged(operator, block, kernel, stride, counts) for block in value.blocks
            ]
            return Stack(tuple(blocks))  # type: ignore[arg-type]
        if isinstance(value, Current):
            if value.untouched:
                return value.averaged(kernel, step, (shape[0], *counts))
            value = self._readable(operator, value)
        if value.elements is not None:
            raise Inexact(supported.LAYOUT)
        if value.mixing is not None:
            return self._mixed(
                value,
                *(
                    averages(size, window, by, count)
                    for size, window, by, count in zip(shape[1:], kernel, step, counts, strict=True)
                ),
            )
        if step == kernel and (pooled := value.pooled(kernel)) is not None:
            # A remainder is not read.
            return pooled
        if value.scaled and any(part.bordered for part in value.parts):
            raise Inexact(supported.BORDERS)
        plain = self._window_layer(operator, value.unscaled(), kernel, step, (0, 0, 0, 0))
        return plain.with_scale_of(value)

    def _padded_average(self, operator: Operator, view: View, counts: Pair) -> View:
        attributes = operator.attributes
        if view.offset.any() or view.border.any():
            raise Inexact(supported.PADDED_NORM)
        kernel, stride, padding = (attributes[key] for key in ("kernel", "stride", "padding"))
        plain = self._window_layer(operator, view.unscaled(), kernel, stride, padding)
        return plain.with_scale_of(view)

    def _window_layer(
        self, operator: Operator, view: View, kernel: Pair, stride: Pair, padding: Sides
    ) -> View:
        """A layer that averages windows of a view without gains and offsets."""
        channels = len(view.channels)
        weight = np.full((channels, 1, *kernel), 1 / math.prod(kernel))
        current = convolved(
            view,
            weight,
            np.zeros(channels),
            operator,
            stride=stride,
            padding=padding,
            groups=channels,
        )
        return self._emit(current, self._largest(view), _AVERAGE)

    def _adaptive_average_pool(self, operator: Operator) -> Value:
        value = self._input(operator)
        shape = _map_shape(value)
        counts = operator.attributes["size"]
        sizes = shape[1:]
        if not any(size % count for size, count in zip(sizes, counts, strict=True)):
            kernel = sizes[0] // counts[0], sizes[1] // counts[1]
            return self._averaged(operator, value, kernel, kernel, counts)
        matrices = (adaptive(size, count) for size, count in zip(sizes, counts, strict=True))
        return self._mixed(value, *matrices)

    def _mixed(self, value: Value, rows: np.ndarray, columns: np.ndarray) -> View:
        if not isinstance(value, View) or value.elements is not None:
            raise Inexact(supported.UNEQUAL_WINDOWS)
        return value.mixed(rows, columns)

    def _mean(self, operator: Operator) -> Value:
        value = self._input(operator)
        axes, keep = operator.attributes["axes"], operator.attributes["keep"]
        shape = value.shape
        windows = set(axes)
        if len(shape) == 2 and axes == (2,) and math.prod(shape) == math.prod(_spatial(value)):
            # Rows and columns as one axis, or what a mean over columns left.
            value = self._reshaped(value, _spatial(value))
            windows = {2, 3}
        elif len(shape) != 3 or not axes or not set(axes) <= {2, 3}:
            raise Inexact(supported.LAYOUT)
        spatial = _map_shape(value)
        kernel = tuple(size if n + 2 in windows else 1 for n, size in enumerate(spatial[1:]))
        counts = tuple(size // window for size, window in zip(spatial[1:], kernel, strict=True))
        result = self._averaged(operator, value, kernel, kernel, counts)  # type: ignore[arg-type]
        if keep:
            return result
        left = tuple(size for axis, size in enumerate(shape) if axis + 1 not in axes)
        return self._reshaped(result, left)

    def _add(self, operator: Operator) -> Value:
        values = [self._input(operator, number) for number in range(2)]
        if values[0].shape != values[1].shape:
            raise ResiduumError(
                f"{operator} adds maps of the shapes {values[0].shape} and {values[1].shape}; "
                "only maps of one shape can be added"
            )
        first, second = (self._current(operator, value) for value in values)
        return summed(first, second, operator)

    def _current(self, operator: Operator, value: Value) -> Current:
        """A value as a term of a sum."""
        if isinstance(value, Stack):
            return stacked([self._current(operator, block) for block in value.blocks])
        if isinstance(value, View):
            if value.mixing is not None:
                raise Inexact(supported.UNEQUAL_WINDOWS)
            if value.elements is not None:
                raise Inexact(supported.LAYOUT)
            return identity(value, operator)
        if value.untouched:
            return value
        return self._current(operator, self._readable(operator, value))

    def _concat(self, operator: Operator) -> Value:
        values = [self.values[name] for name in operator.inputs]
        axis = operator.attributes["axis"] - 1
        if len(values) == 1:
            return values[0]
        if all(isinstance(value, View) for value in values):
            return concatenated(values, axis)  # type: ignore[arg-type]
        if axis != 0:
            raise Inexact(supported.LAYOUT)
        blocks: list[Current | View] = []
        for value in values:
            blocks.extend(value.blocks if isinstance(value, Stack) else [value])
        return Stack(tuple(blocks))

    def _reshape(self, operator: Operator) -> Value:
        value = self._input(operator)
        shape = list(operator.attributes["shape"])
        total = math.prod(value.shape)
        if -1 in shape:
            known = -math.prod(shape)
            shape[shape.index(-1)] = total // known if known else 0
        if math.prod(shape) != total:
            raise ResiduumError(
                f"{operator} makes {tuple(shape)} of {value.shape}, which has {total} numbers; is "
                "this the input shape that the model was made for?"
            )
        return self._reshaped(value, tuple(shape))

    def _reshaped(self, value: Value, shape: tuple[int, ...]) -> Value:
        return self._viewed(value, lambda view: view.reshaped(shape))

    def _viewed(self, value: Value, change: Callable[[View], View]) -> Value:
        """What a view of a value becomes; ReLU does not care in which order numbers stand."""
        if isinstance(value, View):
            return change(value)
        if isinstance(value, Stack):
            value = stacked([self._block_current(block) for block in value.blocks])
        return replace(value, view=change(value.view))

    def _block_current(self, block: Current | View) -> Current:
        if isinstance(block, View) or not block.untouched:
            raise Inexact(supported.LAYOUT)
        return block

    def _transpose(self, operator: Operator) -> Value:
        axes = tuple(axis - 1 for axis in operator.attributes["axes"][1:])
        return self._viewed(self._input(operator), lambda view: view.transposed(axes))

    def _slice(self, operator: Operator) -> Value:
        value = self._input(operator)
        attributes = operator.attributes
        axis = attributes["axis"] - 1
        positions = range(value.shape[axis])[
            attributes["start"] : attributes["stop"] : attributes["step"]
        ]
        if not positions:
            raise ResiduumError(f"{operator} leaves nothing of {value.shape[axis]} positions")
        start, step, count = positions.start, positions.step, len(positions)
        if count == value.shape[axis]:
            return value
        if isinstance(value, Stack) and axis == 0:
            return self._block_slice(operator, value, positions)
        if isinstance(value, Current) and value.untouched:
            if axis == 0:
                return value.taken(np.array(positions))
            return value.resliced(axis, start, step, count)
        return self._viewed(value, lambda view: view.sliced(axis, start, step, count))

    def _block_slice(self, operator: Operator, stack: Stack, positions: range) -> Value:
        """Channels of a stack; all of one block are that block."""
        blocks: list[Current | View] = []
        start = 0
        for block in stack.blocks:
            size = block.shape[0]
            at = np.array([p - start for p in positions if start <= p < start + size], dtype=int)
            start += size
            if not at.size:
                continue
            if isinstance(block, View):
                blocks.append(block.sliced(0, int(at[0]), int(positions.step), len(at)))
            elif block.untouched:
                blocks.append(block.taken(at))
            else:
                raise Inexact(supported.LAYOUT)
        if len(blocks) == 1:
            return blocks[0]
        if all(isinstance(block, View) for block in blocks):
            return concatenated(blocks, 0)  # type: ignore[arg-type]
        return Stack(tuple(blocks))

    def _pad(self, operator: Operator) -> Value:
        sides = operator.attributes["sides"]
        value = self._input(operator)
        if isinstance(value, View) and value.mixing is not None:
            raise Inexact(supported.UNEQUAL_WINDOWS)
        try:
            return self._viewed(value, lambda view: view.padded(sides))
        except Inexact:
            if not isinstance(value, View) or value.signed:
                raise
        return self._layer_of(operator, value).padded(sides)

    # -- layers ---------------------------------------------------------------------------------

    def _readable(self, operator: Operator, value: Value) -> View:
        """A value as something that a layer can read, without a sign.

        Raises ``ResiduumError`` if it may be negative.
        """
        if isinstance(value, View):
            return value
        blocks = value.blocks if isinstance(value, Stack) else (value,)
        views = []
        for block in blocks:
            if isinstance(block, Current):
                if block.signed:
                    _refuse_signed(operator, block.origin)
                block = self._emit(block, math.inf)
            views.append(block)
        return views[0] if len(views) == 1 else concatenated(views, 0)

    def _layer_of(self, operator: Operator, view: View, upper: float = math.inf) -> View:
        """The view, clipped to 0 .. upper, as the map of a layer of its own."""
        if view.mixing is not None:
            raise Inexact(supported.UNEQUAL_WINDOWS)
        if view.elements is None:
            return self._emit(identity(view, operator), upper, _MAP)
        if view.elements.index.ndim != 1 or view.spatial[1:] != (1, 1):
            raise Inexact(supported.LAYOUT)
        features = np.eye(len(view.elements.index))
        unit = op.linear(operator.name, operator.label, "", features)
        self.values[""] = view
        current = self._linear(replace(unit, inputs=("",)))
        assert isinstance(current, Current)
        return self._emit(current, upper, _MAP)

    def _emit(self, current: Current, threshold: float, reason: str = "") -> View:
        """A layer for a current; its map, seen as the current's view."""
        key = id(current), threshold
        if key not in self.emitted:
            self.drafts.append(Draft(current, threshold, reason))
            # The current stays alive with its number, or another could get the same id.
            self.emitted[key] = current, current.view.renumbered(len(self.drafts) - 1)
        return self.emitted[key][1]

    def _variant(self, number: int, pool: MaxPool | None, threshold: float) -> int:
        """A layer as another, with another pooling or range. Those that nobody reads go in the
        end."""
        draft = self.drafts[number]
        if (pool, threshold) == (draft.max_pool, draft.threshold):
            return number
        key = number, pool, threshold
        if key not in self.variants:
            self.variants[key] = len(self.drafts)
            current = replace(draft.current, max_pool=pool)
            self.drafts.append(Draft(current, threshold, draft.reason))
        return self.variants[key]

    def output(self, output: str) -> Current:
        value = self.values[output]
        origin = _origin(value)
        if isinstance(value, Stack):
            value = stacked([self._block_current(block) for block in value.blocks])
        if isinstance(value, View):
            operator = Operator(op.IDENTITY, "output", "output", (), "output")
            if value.elements is not None or value.spatial[1:] != (1, 1):
                refuse(origin or operator, supported.MAP_OUTPUT)
            if value.mixing is not None:
                value = self._whole(
                    operator,
                    value,
                    np.eye(value.shape[0])[:, :, None, None],
                    np.zeros(value.shape[0]),
                )
            else:
                value = identity(value, operator)
        if not value.untouched or value.neurons[1:] != (1, 1):
            refuse(origin or value.origin, supported.MAP_OUTPUT)
        return value


def _refuse_signed(operator: Operator, origin: Operator) -> None:
    key = supported.SIGNED_SUM if origin.kind == op.ADD else supported.SIGNED_CONVOLUTION
    raise ResiduumError(
        supported.refusal_sentence(str(operator), key, f" (they come from {origin})")
    )


def _origin(value: Value) -> Operator | None:
    return value.origin if isinstance(value, Current) else None


def _shows_image(view: View) -> bool:
    return any(part.map == INPUT for part in view.parts)


def _rows(channels: int, *arrays: np.ndarray) -> list[np.ndarray]:
    return [np.broadcast_to(array.reshape(-1), (channels,)) for array in arrays]


def _broadcast(operator: Operator, array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """An array of constants with as many axes as the value, each of size 1 or as the value's.

    Raises ``ResiduumError`` if it does not fit.
    """
    if operator.attributes["axis"] == 1:
        array = array.reshape(-1, *(1,) * (len(shape) - 1))
    if array.ndim == len(shape) + 1 and array.shape[0] == 1:
        array = array[0]
    if array.ndim <= len(shape):
        array = array.reshape((1,) * (len(shape) - array.ndim) + array.shape)
        # A constant that is the same everywhere on the map is one value per channel.
        for axis in range(1, array.ndim):
            first = array.take([0], axis)
            if array.shape[axis] > 1 and (array == first).all():
                array = first
        if all(size in (1, whole) for size, whole in zip(array.shape, shape, strict=True)):
            return array
    raise ResiduumError(
        f"{operator} has constants of the shape {array.shape}, which do not fit its input of "
        f"{shape}; use one value per channel"
    )


def _spatial(value: Value) -> Shape:
    view = value if isinstance(value, View) else None
    if isinstance(value, Current):
        view = value.view
    if view is None:
        raise Inexact(supported.LAYOUT)
    return view.spatial


def _map_shape(value: Value) -> Shape:
    """(C, H, W) of a value; `Inexact` if it has other axes."""
    shape = value.shape
    if len(shape) != 3:
        raise Inexact(supported.LAYOUT)
    return shape[0], shape[1], shape[2]
