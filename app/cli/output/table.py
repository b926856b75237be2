"""Tables of text. A thousand rows are printed at once: `rich` takes most of a second for them.

`rich` prints only a table that is wider than the terminal, because it folds the cells.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

import click

from app.domain.readable import on_one_line

_GAP = "  "
_WIDEST = 60  # a cell of a pipe that is longer, such as a path, moves the rest of its own line, and no other line


@dataclass(slots=True, kw_only=True)
class Table:
    """Columns with headings.

    Attributes:
        heads: the headings; none are printed if all are empty.
        numbers: the columns that are aligned at their right ends.
        rows: the cells, as many as there are headings, each on one line.
    """

    heads: Sequence[str]
    numbers: Sequence[int] = ()
    rows: list[tuple[str, ...]] = field(default_factory=list)

    def add(self, *cells: str) -> None:
        """Add a row; control characters and line breaks in it are escaped."""
        self.rows.append(tuple(map(on_one_line, cells)))


def print_table(table: Table) -> None:
    """Print a table. A pipe gets whole lines: it has no width."""
    widths = list(map(_widest, zip(table.heads, *table.rows, strict=True)))
    terminal = sys.stdout.isatty()
    if terminal and sum(widths) + len(_GAP) * (len(widths) - 1) > shutil.get_terminal_size().columns:
        _print_folded(table)
        return
    lines = _lines(table, widths if terminal else [min(width, _WIDEST) for width in widths])
    if terminal and any(table.heads) and os.environ.get("TERM", "dumb") != "dumb":
        lines[0] = click.style(lines[0], bold=True)
    if lines:
        click.echo("\n".join(lines))


def _lines(table: Table, widths: Sequence[int]) -> list[str]:
    rows = (table.heads, *table.rows) if any(table.heads) else table.rows
    columns = zip(*rows, strict=True)
    padded = [
        _padded(cells, width, right=number in table.numbers)
        for number, (cells, width) in enumerate(zip(columns, widths, strict=True))
    ]
    return [_GAP.join(row).rstrip() for row in zip(*padded, strict=True)]


def _padded(cells: Sequence[str], width: int, *, right: bool) -> list[str]:
    """The cells of a column, all of this width."""
    if "".join(cells).isascii():
        return [cell.rjust(width) for cell in cells] if right else [cell.ljust(width) for cell in cells]
    blanks = (" " * (width - _width(cell)) for cell in cells)
    return [blank + cell if right else cell + blank for cell, blank in zip(cells, blanks, strict=True)]


def _widest(cells: Sequence[str]) -> int:
    return max(map(len if "".join(cells).isascii() else _width, cells))


def _width(text: str) -> int:
    """How many columns of a terminal a text takes."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len  # noqa: PLC0415 -- for names of other scripts only

    return cell_len(text)


def _print_folded(table: Table) -> None:
    from rich.console import Console  # noqa: PLC0415 -- 0.05 s that only a narrow terminal is worth
    from rich.table import Table as Folded  # noqa: PLC0415 -- as above
    from rich.text import Text  # noqa: PLC0415 -- as above

    folded = Folded(box=None, pad_edge=False, show_header=any(table.heads))
    for number, head in enumerate(table.heads):
        folded.add_column(Text(head), justify="right" if number in table.numbers else "left")
    for row in table.rows:
        folded.add_row(*map(Text, row))
    Console(markup=False, emoji=False).print(folded)
