"""A float network, computed with torch's own functions."""

import math

import torch

from residuum.sw.network.float_network import FloatNetwork


def logits_of_folded(network: FloatNetwork, images: torch.Tensor) -> torch.Tensor:
    """The folded network, computed explicitly in float64 with torch's pooling."""
    maps = {-1: images}
    for index, layer in enumerate(network.layers):
        x = torch.from_numpy(layer.bias)[:, None, None]
        for source in layer.sources:
            read = torch.nn.AvgPool2d(source.pool)(maps[source.map])
            weight, padding = torch.from_numpy(source.weight), source.padding[0]
            x = x + torch.nn.functional.conv2d(read, weight, None, source.stride, padding)
        if layer.threshold == math.inf:
            x = x.relu()
        elif layer.threshold is not None:
            assert network.levels is not None
            levels = torch.floor(x * network.levels / layer.threshold + 0.5)
            x = torch.clamp(levels / network.levels, 0, 1) * layer.threshold
        maps[index] = x
    return maps[len(network.layers) - 1].flatten(1)
