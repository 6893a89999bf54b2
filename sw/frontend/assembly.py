"""The last step of the lowering: drafts of layers become the layers of a float network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from residuum.sw.frontend import supported
from residuum.sw.frontend.currents import Current, Term
from residuum.sw.frontend.supported import refuse
from residuum.sw.network.float_network import FloatLayer
from residuum.sw.network.graph import INPUT, MaxPool, Pad, Shape


@dataclass(frozen=True, eq=False)
class Draft:
    """A layer that may turn out to be unread.

    Attributes
    ----------
    current
        What its neurons read.
    threshold
        Upper end of the range; ``math.inf`` for a plain ReLU.
    reason
        Why the layer exists, if no ReLU of the model made it.
    """

    current: Current
    threshold: float
    reason: str = ""

    @property
    def max_pool(self) -> MaxPool | None:
        return self.current.max_pool


def assembled(
    drafts: Sequence[Draft], last: Current, input_shape: Shape
) -> tuple[tuple[FloatLayer, ...], Pad | None, list[str]]:
    """The layers that the output ``last`` depends on, renumbered, the border of the picture, and
    notes about layers that the model does not have.

    Raises ``ResiduumError`` if no border of one pixel suits all readers of the picture.
    """
    live = _live(drafts, last)
    currents = [drafts[number].current for number in live] + [last]
    thresholds: list[float | None] = [drafts[number].threshold for number in live]
    pad = _border(currents, input_shape)
    numbers = {INPUT: INPUT} | {old: new for new, old in enumerate(live)}
    names = _unique([current.name for current in currents])
    layers = []
    for name, current, threshold in zip(names, currents, [*thresholds, None], strict=True):
        terms = [_inside(term, pad, current) for term in current.terms]
        sources = tuple(replace(term, map=numbers[term.map]).source() for term in terms)
        layers.append(FloatLayer(name, sources, current.bias, threshold, current.max_pool))
    return tuple(layers), pad, _notes([drafts[number] for number in live], names)


def _notes(drafts: Sequence[Draft], names: Sequence[str]) -> list[str]:
    notes = []
    # Variants of a layer share its terms.
    first: dict[int, str] = {}
    for draft, name in zip(drafts, names, strict=False):
        if draft.reason:
            notes.append(f"{name!r} is a layer of its own: {draft.reason}")
        key = id(draft.current.terms)
        if key in first:
            notes.append(f"{name!r} computes {first[key]!r} again, with another pooling or range")
        first.setdefault(key, name)
    return notes


def _live(drafts: Sequence[Draft], last: Current) -> list[int]:
    """Numbers of the layers that the output depends on, in order."""
    live: set[int] = set()
    waiting = [term.map for term in last.terms]
    while waiting:
        number = waiting.pop()
        if number != INPUT and number not in live:
            live.add(number)
            waiting += [term.map for term in drafts[number].current.terms]
    return sorted(live)


def _unique(names: Sequence[str]) -> list[str]:
    """Names with a number where they are not unique."""
    result: list[str] = []
    for name in names:
        number, candidate = 1, name or "layer"
        while candidate in result:
            number += 1
            candidate = f"{name or 'layer'}#{number}"
        result.append(candidate)
    return result


def _border(currents: Sequence[Current], shape: Shape) -> Pad | None:
    """The border that all readers of the picture need together.

    Raises ``ResiduumError`` if they need different ones.
    """
    readers = [
        (current, term) for current in currents for term in current.terms if term.map == INPUT
    ]
    needing = [(current, term) for current, term in readers if term.pixel is not None]
    if not needing:
        return None
    pixel = needing[0][1].pixel
    assert pixel is not None
    sides = [0, 0, 0, 0]
    for current, term in readers:
        if not term.reaches_out:
            continue
        own = np.zeros(shape[0]) if term.pixel is None else term.pixel
        if not np.allclose(own, pixel, rtol=1e-9, atol=1e-12):
            refuse(current.origin, supported.BORDERS)
        if not ((own >= 0) & (own <= 1)).all():
            refuse(current.origin, supported.BORDERS)
        for side, count in enumerate(_sides(current, term, shape)):
            sides[side] = max(sides[side], count)
    return Pad((sides[0], sides[1], sides[2], sides[3]), tuple(map(float, pixel)))


def _sides(current: Current, term: Term, shape: Shape) -> Iterator[int]:
    """Pixels that a reader of the picture needs on each side."""
    for axis, window, size in zip((term.rows, term.columns), term.pool, shape[1:], strict=True):
        if window > 1 and size % window:
            refuse(current.origin, supported.BORDERS)
        yield from (axis.before * window, axis.after * window)


def _inside(term: Term, pad: Pad | None, current: Current) -> Term:
    """The term over the picture with its border."""
    if pad is None or term.map != INPUT:
        return term
    axes = []
    for number, axis in enumerate((term.rows, term.columns)):
        window = term.pool[number]
        before, after = pad.sides[2 * number : 2 * number + 2]
        if before % window or after % window:
            refuse(current.origin, supported.BORDERS)
        axes.append(axis.moved(before // window, after // window))
    return replace(term, rows=axes[0], columns=axes[1])
