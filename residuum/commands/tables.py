"""Tables that stay readable in a narrow terminal."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

Cell = str | Text

# Between two columns: a padding and the space that this box draws.
_GAP = 2


def print_table(
    title: str, heads: Sequence[str], rows: Sequence[Sequence[Cell]], *, left: int = 1
) -> None:
    """Print a table; where the terminal is too narrow, its columns in several tables.

    The first column stands in each of them. Cells are never read as markup.

    Parameters
    ----------
    heads
        May have several lines.
    left
        How many columns are aligned to the left; the others to the right.
    """
    console = Console()
    columns = [[_text(cell) for cell in column] for column in zip(heads, *rows, strict=True)]
    widths = [max(_width(cell) for cell in column) for column in columns]
    blocks: list[list[int]] = [[0]]
    for index in range(1, len(columns)):
        taken = sum(widths[i] + _GAP for i in blocks[-1])
        if len(blocks[-1]) > 1 and taken + widths[index] > console.width:
            blocks.append([0])
        blocks[-1].append(index)
    console.print(Text(title, "italic"))
    for number, block in enumerate(blocks):
        table = Table(
            box=box.SIMPLE_HEAD,
            show_edge=False,
            padding=(0, 0, 0, 1),
            collapse_padding=True,
            pad_edge=False,
        )
        for index in block:
            table.add_column(
                columns[index][0],
                justify="left" if index < left else "right",
                overflow="fold",
                # Only a column wider than half of the terminal is broken.
                min_width=min(widths[index], console.width // 2),
            )
        for line in range(1, 1 + len(rows)):
            table.add_row(*(columns[index][line] for index in block))
        if number:
            console.print()
        console.print(table)


def _text(cell: Cell) -> Text:
    return Text(cell) if isinstance(cell, str) else cell


def _width(cell: Text) -> int:
    return max((line.cell_len for line in cell.split("\n")), default=0)


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
