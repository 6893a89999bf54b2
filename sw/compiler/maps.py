"""Layout of the feature memory: the image, the maps, and the rows that each of them takes.

A map of C channels on an engine of P lanes takes G = ceil(C / P) rows of the feature memory per
position, channel c in slot c % P of row c // P. Slot s is lane s // tiles of bank s % tiles.
An image that is not pooled is packed (`PackedImage`): its pixels fill the rows without gaps, so
that one row holds several positions.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from residuum.hw.isa.config import EngineConfig
from residuum.sw.network.graph import IMAGE, INPUT, Shape, Source, last_readers
from residuum.sw.network.integer_network import IntegerNetwork, Layer


@dataclass(frozen=True)
class MapPlan:
    """A map in the feature memory; no two positions share a row.

    Attributes
    ----------
    shape
        (C, H, W).
    lanes
        P, neurons per row.
    passes
        Copies of the map that hold different bit-planes (1 for spikes).
    row
        First row.
    empty_row
        First of G rows with the shared result of windows without events, or None.
    """

    shape: tuple[int, int, int]
    lanes: int
    passes: int = 1
    row: int = 0
    empty_row: int | None = None

    @property
    def groups(self) -> int:
        """G, rows per position."""
        return -(-self.shape[0] // self.lanes)

    @property
    def pitch(self) -> int:
        """Rows from one line to the next."""
        return self.shape[2] * self.groups

    @property
    def rows(self) -> int:
        """Rows of one copy, without the rows of the shared result."""
        return self.shape[1] * self.pitch

    @property
    def rows_taken(self) -> int:
        return self.rows * self.passes + (self.groups if self.empty_row is not None else 0)

    def slots(self) -> tuple[np.ndarray, np.ndarray]:
        """Row (within the map) and slot of each neuron, two int arrays (C, H, W)."""
        channels, height, width = self.shape
        c, y, x = np.ogrid[:channels, :height, :width]
        row = y * self.pitch + x * self.groups + c // self.lanes
        return row, np.broadcast_to(c % self.lanes, row.shape)

    def scatter(self, image: np.ndarray) -> np.ndarray:
        """The values of an image (C, H, W) in their slots, uint32 (rows, lanes)."""
        words = np.zeros((self.rows, self.lanes), np.uint32)
        words[self.slots()] = image
        return words


@dataclass(frozen=True)
class PackedImage:
    """An image whose pixels fill the rows without gaps, band by band.

    A band interleaves ``lines`` image lines: x is the outermost index, then line, then channel.
    Band b starts at line b * step - padding; lines outside the image are 0.

    With one line per band, the bands are the lines of the image. If instead each output line has a
    band of kernel-height lines, a window is a single segment: the scanner reads fewer rows per
    window, and the image is stored kernel / stride times.

    Attributes
    ----------
    shape, lanes, passes, row
        As in `MapPlan`.
    interleaved
        One band per output line of the first layer; else one band per image line.
    bands, lines, step, padding
        Interleaved: output height, kernel height, stride and padding of the first layer. Else
        H, 1, 1, 0.
    """

    shape: tuple[int, int, int]
    lanes: int
    passes: int
    interleaved: bool
    bands: int
    lines: int = 1
    step: int = 1
    padding: int = 0
    row: int = 0
    empty_row: int | None = None
    groups: int = 1

    @property
    def column(self) -> int:
        """Slots per position along x."""
        return self.lines * self.shape[0]

    @property
    def pitch(self) -> int:
        """Rows from one band to the next."""
        return -(-self.shape[2] * self.column // self.lanes)

    @property
    def rows(self) -> int:
        """Rows of one copy."""
        return self.bands * self.pitch

    @property
    def rows_taken(self) -> int:
        return self.rows * self.passes

    def scatter(self, image: np.ndarray) -> np.ndarray:
        """The values of an image (C, H, W) in their slots, uint32 (rows, lanes)."""
        channels, height, width = self.shape
        source = np.arange(self.bands)[:, None] * self.step - self.padding + np.arange(self.lines)
        inside = (source >= 0) & (source < height)
        # (C, bands, lines, W) -> (bands, W, lines, C)
        lines = image[:, np.clip(source, 0, height - 1)] * inside[None, :, :, None]
        packed = lines.transpose(1, 3, 2, 0).reshape(self.bands, width * self.column)
        blank = self.pitch * self.lanes - packed.shape[1]
        result: np.ndarray = np.pad(packed, ((0, 0), (0, blank))).astype(np.uint32)
        return result.reshape(self.rows, self.lanes)


def plan_image(network: IntegerNetwork, config: EngineConfig) -> MapPlan | PackedImage:
    """Layout of the image, with its border, in the feature memory.

    With a vertical stride above 1 the lines of a kernel are interleaved: the image takes kernel /
    stride times the memory, and the scanner reads fewer rows per window.
    """
    first = network.layers[0].source
    shape = network.padded_shape
    if network.input != IMAGE:
        return MapPlan(shape, config.lanes)
    if first.pooled or first.dilation != (1, 1):
        return MapPlan(shape, config.lanes, config.passes)
    if first.stride[0] == 1:
        return PackedImage(shape, config.lanes, config.passes, False, bands=shape[1])
    return PackedImage(
        shape,
        config.lanes,
        config.passes,
        True,
        bands=network.neuron_shapes[0][1],
        lines=first.kernel[0],
        step=first.stride[0],
        padding=first.padding[0],
    )


def skips_empty(layer: Layer, shape: Shape, passes: int) -> bool:
    """Whether windows without events share one result: hidden layers with more than one window, in
    a single pass."""
    return layer.threshold is not None and passes == 1 and shape[1] * shape[2] > 1


def place_maps(network: IntegerNetwork, config: EngineConfig) -> list[MapPlan | PackedImage]:
    """Rows for the image and all maps of a chain of layers, in a memory of any size.

    A map is needed from the layer that writes it to the next layer, which reads it. So only the
    input map of a layer is in use when its output map is placed: at row 0 if the output map fits
    below the input map, else above the input map.
    """
    before = plan_image(network, config)
    plans = [before]
    for layer, shape in zip(network.layers[:-1], network.shapes[:-1], strict=True):
        plan = MapPlan(shape, config.lanes)
        empty = skips_empty(layer, shape, before.passes)
        rows = plan.rows + (plan.groups if empty else 0)
        row = 0 if rows <= before.row else before.row + before.rows_taken
        before = replace(plan, row=row, empty_row=row + plan.rows if empty else None)
        plans.append(before)
    return plans


def rows_in_use(network: IntegerNetwork, config: EngineConfig) -> Iterator[tuple[Layer, int]]:
    """Each hidden layer of any graph, with the rows of the maps that are in use while it runs.

    An estimate for an engine that runs graphs. It may need more, where free rows lie between maps.
    """
    last = last_readers(network.layers)
    taken = {INPUT: plan_image(network, config).rows_taken}
    for index, (layer, shape) in enumerate(
        zip(network.layers[:-1], network.shapes[:-1], strict=True)
    ):
        rows = MapPlan(shape, config.lanes, empty_row=0).rows_taken
        over = [
            taken[source.map]
            for source in layer.sources[1:]
            if _read_in_place(source) and source.map != INPUT and last[source.map] == index
        ]
        taken[index] = rows
        yield layer, sum(taken.values()) - (min(rows, over[0]) if over else 0)
        taken = {number: kept for number, kept in taken.items() if last[number] > index}


def _read_in_place(source: Source) -> bool:
    """Whether each position of a sum reads this map only where the sum itself is: then the sum may
    be written over the map."""
    return source.kernel == source.stride == source.pool == (1, 1)
