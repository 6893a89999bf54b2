"""Cells of the tables of measurements."""

from collections.abc import Iterable, Mapping
from typing import Any


def formatted(columns: Iterable[tuple[str, str, str]], result: Mapping[str, Any]) -> dict[str, str]:
    """A row of a table, by heading; a column is its heading, the key of its value in a result, and
    the format of the value."""
    return {heading: form.format(result[key]) for heading, key, form in columns}
