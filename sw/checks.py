"""Checks of arguments: convert a value to the expected type, or raise an error with a sentence."""

import operator
from typing import Any

import numpy as np

from residuum.sw.errors import ResiduumError


def whole_number(
    what: str, value: Any, *, least: int | None = None, most: int | None = None
) -> int:
    """``value`` as an int, from any integer type; ``what`` names it in the error message."""
    try:
        if isinstance(value, bool | np.bool_):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        raise ResiduumError(f"{what} must be a whole number, not {value!r}") from None
    if least is not None and number < least:
        raise ResiduumError(f"{what} must be at least {least}, not {number}")
    if most is not None and number > most:
        raise ResiduumError(f"{what} must be at most {most}, not {number}")
    return number


def whole_numbers(
    what: str, values: Any, dtype: type[np.unsignedinteger[Any]], dimensions: int
) -> np.ndarray:
    """Integers in an array, a torch tensor or nested lists, as an array of ``dtype``.

    Floats and booleans are refused even if they are whole: an image of 0 and 1 may mean 0 and 255.
    An array that already has the type is not copied.
    """
    limits = np.iinfo(dtype)
    expected = f"{what} must be whole numbers 0 .. {limits.max} in {dimensions} dimension"
    expected += "" if dimensions == 1 else "s"
    if hasattr(values, "detach"):
        values = values.detach().cpu()
    try:
        array = np.asarray(values)
    except (ValueError, TypeError, RuntimeError):
        raise ResiduumError(f"{expected}, all lines of the same length") from None
    if not array.size:
        array = array.astype(dtype)
    if not np.issubdtype(array.dtype, np.integer) or array.ndim != dimensions:
        raise ResiduumError(f"{expected}, not {array.dtype} of shape {array.shape}")
    if array.dtype != dtype and array.size:
        for extreme in (int(array.min()), int(array.max())):
            if not 0 <= extreme <= limits.max:
                raise ResiduumError(f"{expected}; there is a {extreme}")
    return array.astype(dtype, copy=False)
