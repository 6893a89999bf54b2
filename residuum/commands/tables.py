"""Tables that stay readable on a narrow terminal."""

from collections.abc import Collection, Mapping, Sequence

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text


def print_records(
    records: Sequence[Mapping[str, str]],
    *groups: Sequence[str],
    title: str = "",
    numbers: Collection[str] = (),
) -> None:
    """Print records that have the same keys, the first of which names the record.

    Each of ``groups`` (all keys, unless given) becomes a table with the names in its first column.
    Where a table is wider than the terminal, every record becomes a list of lines instead, so that
    no cell is ever cut. Cells may have several lines. ``numbers`` are aligned on the right.
    """
    console = Console()
    name, *others = records[0]
    tables = []
    for group in groups or (others,):
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for key in (name, *group):
            justify = "right" if key in numbers else "left"
            table.add_column(key, justify=justify, no_wrap=True)  # type: ignore[arg-type]
        for record in records:
            # As Text, so that brackets in a name are no markup.
            table.add_row(*(Text(record[key]) for key in (name, *group)))
        tables.append(table)
    unlimited = console.options.update(width=10_000)
    narrow = any(
        Measurement.get(console, unlimited, table).maximum > console.width for table in tables
    )
    if title:
        console.print(title, markup=False, highlight=False)
    if not narrow:
        for table in tables:
            console.print(table)
        return
    for record in records:
        for key, value in record.items():
            line = value.strip() if key == name else f"  {key}: {', '.join(value.splitlines())}"
            console.print(line, markup=False, highlight=False)
