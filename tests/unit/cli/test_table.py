"""Tables look as those of `rich` do, and a thousand rows take no time."""

from __future__ import annotations

import io
import shutil
import sys

import pytest
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from app.cli.output.table import Table, print_table

ROWS = [("daily/backup-2025-01-15", "1.8 kB", "50", ""), ("x", "12 bytes", "1,234", "名前, a note"), ("", "", "", "é")]
HEADS = ("backup", "size", "rows", "notes")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def printed(table: Table, monkeypatch: pytest.MonkeyPatch, stream: io.StringIO) -> str:
    monkeypatch.setattr(sys, "stdout", stream)
    print_table(table)
    return stream.getvalue()


def test_a_table_looks_as_rich_prints_it(monkeypatch: pytest.MonkeyPatch) -> None:
    rich = RichTable(box=None, pad_edge=False)
    for number, head in enumerate(HEADS):
        rich.add_column(head, justify="right" if number in {1, 2} else "left")
    for row in ROWS:
        rich.add_row(*map(Text, row))
    console = Console(file=io.StringIO(), width=1000, color_system=None)
    console.print(rich)
    wanted = [line.rstrip() for line in console.file.getvalue().splitlines()]
    assert printed(Table(heads=HEADS, numbers=(1, 2), rows=ROWS), monkeypatch, io.StringIO()).splitlines() == wanted


def test_without_headings_no_line_is_printed_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    table = Table(heads=("", ""), rows=[("backup", "x"), ("database", "y")])
    assert printed(table, monkeypatch, io.StringIO()) == "backup    x\ndatabase  y\n"


def test_a_cell_gives_a_terminal_no_orders_and_stays_on_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    table = Table(heads=("a",))
    table.add("one\x1b[2J\ntwo")
    assert printed(table, monkeypatch, io.StringIO()) == "a\none\\x1b[2J\\ntwo\n"


def test_a_long_cell_moves_the_rest_of_its_own_line_only(monkeypatch: pytest.MonkeyPatch) -> None:
    table = Table(heads=("restore", "backup", "state"), rows=[("1", "x" * 400, "failed"), ("2", "y", "complete")])
    long, short = printed(table, monkeypatch, io.StringIO()).splitlines()[1:]
    assert long == f"1        {'x' * 400}  failed"
    assert short == f"2        y{' ' * 61}complete"


def test_a_terminal_gets_its_headings_in_bold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    assert printed(Table(heads=("a", "b"), rows=[("1", "2")]), monkeypatch, Terminal()) == "\x1b[1ma  b\x1b[0m\n1  2\n"


def test_a_table_wider_than_the_terminal_is_folded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    assert shutil.get_terminal_size().columns == 30
    table = Table(heads=("backup", "notes"), rows=[("daily", "word " * 20)])
    lines = printed(table, monkeypatch, Terminal()).splitlines()
    assert len(lines) > 3
    assert max(map(len, lines[1:])) <= 30
