"""Short notation for the layers of chains, with one stride and padding for both axes."""

from typing import Any

import numpy as np

from residuum.sw.network.graph import Source
from residuum.sw.network.integer_network import Layer


def layer(
    index: int,
    name: str,
    weight: Any,
    bias: Any,
    threshold: Any,
    fraction_bits: int = 0,
    *,
    stride: int | tuple[int, int] = 1,
    padding: int | tuple[int, int, int, int] = 0,
    pool: tuple[int, int] = (1, 1),
    **source: Any,
) -> Layer:
    """Layer ``index`` of a chain; layer 0 reads the image."""
    read = Source(
        weight=np.asarray(weight),
        map=index - 1,
        stride=(stride, stride) if isinstance(stride, int) else stride,
        padding=(padding,) * 4 if isinstance(padding, int) else padding,
        pool=pool,
        **source,
    )
    return Layer(name, (read,), bias, threshold, fraction_bits)
