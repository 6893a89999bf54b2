"""The best batch of a network on an engine, by an estimate of its cycles."""

import math

from residuum.hw.isa.config import CHUNK_ROWS, EngineConfig
from residuum.sw.compiler.batch import SINGLE, Batch, first_joint_layers
from residuum.sw.compiler.fit import needs
from residuum.sw.compiler.layout import LayerLayout, lay_out
from residuum.sw.errors import ResiduumError
from residuum.sw.network.integer_network import IntegerNetwork

MOST_IMAGES = 8
# Share of the neurons that have an event, and cycles around each layer, for the estimate.
FIRING = 0.45
LAYER_CYCLES = 60


def best_batch(
    network: IntegerNetwork, config: EngineConfig, *, steps: int, images: int | None = None
) -> Batch:
    """The batch that takes the fewest cycles per image and fits the engine.

    Parameters
    ----------
    steps
        As of `residuum.sw.compiler.fit.needs`.
    images
        Images that run at a time, at least 1; None: as many as are best, one if all weights are on
        the chip.

    Raises
    ------
    ResiduumError
        If the engine has no room for so many.
    """
    if images == 1 or (images is None and not lay_out(network, config).external):
        return SINGLE
    best, least = None, math.inf
    for count in range(1, MOST_IMAGES + 1) if images is None else [images]:
        fits = False
        for batch in _possible(network, count):
            if not all(need.fits for need in needs(network, config, steps, batch=batch)):
                continue
            fits = True
            if (cycles := estimate(network, config, batch)) < least:
                best, least = batch, cycles
        if not fits:
            # More images do not fit either.
            break
    if best is not None:
        return best
    if images is None:
        # The compiler says what is missing.
        return SINGLE
    raise ResiduumError(
        f"{network.name} does not run for {images} images at a time on this engine: there is no "
        "layer from which on all their maps fit"
    )


def _possible(network: IntegerNetwork, images: int) -> list[Batch]:
    if images == 1:
        return [SINGLE]
    return [Batch(images, joint) for joint in first_joint_layers(network)]


def estimate(network: IntegerNetwork, config: EngineConfig, batch: Batch) -> float:
    """Cycles per image, if the usual share of the neurons fires: each layer takes as long as its
    events, or as its weights if they come from an external memory."""
    layout = lay_out(network, config, batch)
    total = sum(max(_stream(layer, config), _events(layer, config)) for layer in layout.layers)
    return (total + LAYER_CYCLES * len(layout.layers)) / batch.images


def _stream(layer: LayerLayout, config: EngineConfig) -> float:
    """Cycles in which the weight rows of a layer arrive from the external memory."""
    return layer.chunks * layer.group_count * CHUNK_ROWS * config.row_words


def _events(layer: LayerLayout, config: EngineConfig) -> float:
    """Cycles of the events of a layer; a window takes as long as its drain at least."""
    inputs = sum(
        reading.source.weight[0].size * reading.source.pool_area for reading in layer.readings
    )
    windows = layer.group_count * len(layer.lines) * len(layer.columns)
    return windows * max(FIRING * inputs / config.event_width, layer.lanes)
