"""Tables that stay readable on a narrow terminal."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

Record = Mapping[str, str | Text]


def print_records(
    records: Sequence[Record],
    *groups: Sequence[str],
    title: str = "",
    numbers: Collection[str] = (),
) -> None:
    """Print records with equal keys; the first key is the name of the record.

    Each of ``groups`` (default: all keys) becomes a table with the names in its first column. If a
    table is wider than the terminal, every record is printed as a list of lines instead, so that no
    cell is cut. Keys and cells may have several lines; text is never parsed as markup. Columns in
    ``numbers`` are right-aligned.
    """
    console = Console()
    name, *others = records[0]
    tables = [_table(records, (name, *group), numbers) for group in groups or (others,)]
    unlimited = console.options.update(width=10_000)
    widths = [Measurement.get(console, unlimited, table).maximum for table in tables]
    if title:
        console.print(title, markup=False, highlight=False)
    if max(widths) <= console.width:
        for table in tables:
            console.print(table)
        return
    for record in records:
        # A name, such as a path, is not broken.
        console.print(_text(record[name]), highlight=False, soft_wrap=True)
        for key in others:
            value = Text(", ").join(_text(record[key]).split("\n"))
            if value:
                head = f"  {_one_line(key)}: " if key else "  "
                console.print(Text.assemble(head, value), highlight=False)


def _table(records: Sequence[Record], keys: Sequence[str], numbers: Collection[str]) -> Table:
    table = Table(
        box=box.SIMPLE_HEAD,
        show_edge=False,
        padding=(0, 0, 0, 1),
        collapse_padding=True,
        pad_edge=False,
    )
    for key in keys:
        table.add_column(Text(key), justify="right" if key in numbers else "left", no_wrap=True)
    for record in records:
        table.add_row(*(_text(record[key]) for key in keys))
    return table


def _text(cell: str | Text) -> Text:
    return Text(cell) if isinstance(cell, str) else cell


def _one_line(key: str) -> str:
    """A key without the line breaks and hyphens of a narrow column."""
    return key.replace("-\n", "").replace("\n", " ")
