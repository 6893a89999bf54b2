"""Tables that stay readable in a narrow terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
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
