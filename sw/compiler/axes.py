"""The windows of a layer along one axis of its input map."""


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
