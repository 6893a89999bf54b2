"""The windows of a layer along one axis of its input map, and the neurons of a max-pooling."""


def axis_entries(
    *,
    size: int,
    pool: int,
    kernel: int,
    stride: int,
    padding: int,
    outputs: int,
    dilation: int = 1,
) -> list[tuple[int, int, int]]:
    """The windows along one axis, clipped to the map.

    One tuple per output position: first input position, first kernel position, number of input
    positions. Input positions are counted before pooling, kernel positions after it. With dilation
    the input positions are that far apart, and there may be none.
    """
    pooled = size // pool
    entries = []
    for output in range(outputs):
        start = output * stride - padding
        # Kernel position k reads the pooled position start + k * dilation.
        first = -(min(start, 0) // dilation)
        end = min(kernel, -((start - pooled) // dilation))
        low = start + first * dilation
        entries.append((low * pool, first, (end - first) * pool))
    return entries


def max_positions(
    *, size: int, kernel: int, stride: int, padding: int, outputs: int
) -> list[list[int]]:
    """The neurons along one axis whose maximum is each position of a pooled map.

    All positions have equally many: where the border clips a window, its last neuron is repeated,
    which does not change the maximum.
    """
    windows = []
    for output in range(outputs):
        start = output * stride - padding
        windows.append(list(range(max(start, 0), min(start + kernel, size))))
    most = max(map(len, windows))
    return [window + window[-1:] * (most - len(window)) for window in windows]
