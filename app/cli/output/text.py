"""Where the command line's text reaches a terminal: what others named gives it no orders there."""

from __future__ import annotations

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from app.domain.readable import on_one_line, readable

_PIPE_WIDTH = 1000


def say(text: str = "", *, colour: str | None = None, error: bool = False, end: bool = True) -> None:
    """Print a text.

    Args:
        text: what; control characters in it are escaped, and lines after the first moved in.
        colour: in which.
        error: whether on standard error.
        end: whether the line ends.
    """
    click.secho(readable(text), fg=colour, err=error, nl=end)


def add_row(table: Table, *cells: str) -> None:
    """Add a row of text to a table."""
    table.add_row(*(Text(on_one_line(cell)) for cell in cells))


def print_table(table: Table) -> None:
    """Print a table; a pipe gets its lines whole, since there is no terminal whose width would count."""
    console = Console(markup=False, emoji=False)
    if not console.is_terminal:
        console = Console(width=_PIPE_WIDTH, markup=False, emoji=False)
    console.print(table)
