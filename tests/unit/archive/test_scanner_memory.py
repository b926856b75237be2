"""The scanner takes little memory, whatever the length of rows and statements."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Iterator

import pytest

from app.archive import scanner
from app.archive.scanner import scan
from app.errors import BackupReadError


def peak_of(blocks: Iterator[bytes]) -> int:
    tracemalloc.start()
    try:
        for _ in scan(blocks):
            pass
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_row_of_100_mb_takes_little_memory() -> None:
    def blocks() -> Iterator[bytes]:
        yield b"COPY t FROM stdin;\n"
        for _ in range(400):
            yield b"x" * 262_144
        yield b"\n\\.\n"

    assert peak_of(blocks()) < 2 << 20


def test_many_rows_and_many_statements_take_little_memory() -> None:
    def blocks() -> Iterator[bytes]:
        for _ in range(50):
            yield b"COPY t FROM stdin;\n" + b"row\n" * 60_000 + b"\\.\n"
            yield b"SELECT lowrite(0, '" + b"\\x00" * 60_000 + b"');\n"

    assert peak_of(blocks()) < 5 << 20


def test_a_statement_of_20_mb_in_small_blocks_is_not_scanned_anew_for_each_block() -> None:
    def blocks() -> Iterator[bytes]:
        yield b"SELECT '"
        for _ in range(5000):
            yield b"x" * 4096
        yield b"';\n"

    begun = time.process_time()
    assert len(list(scan(blocks()))) == 1
    assert time.process_time() - begun < 5


@pytest.mark.parametrize("text", [b"-- ", b"/* ", b"SELECT '", b"INSERT INTO a VALUES ('"])
def test_what_is_longer_than_any_statement_is_refused_before_it_fills_the_memory(
    text: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    for bound in ("_UNIT_BYTES", "_SQL_BYTES", "_COMMENT_BYTES"):
        monkeypatch.setattr(scanner, bound, 3 << 20)

    def blocks() -> Iterator[bytes]:
        yield b"SET a = 1;\n" + text
        while True:
            yield b" " * 65536

    tracemalloc.start()
    try:
        with pytest.raises(BackupReadError, match="longer than 3 MiB"):
            list(scan(blocks()))
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()
