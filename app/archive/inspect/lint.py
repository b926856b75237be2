r"""Lints a plain dump before any of it is run.

psql runs everything in a file: ``\!`` starts a shell, ``COPY … FROM PROGRAM`` starts one on the server. A dump needs
neither. So every statement must be one that pg_dump writes, and the only psql commands are ``\restrict`` and its end.

Source: pg_dump's own output, majors 9.1 to 18; CVE-2025-8714 and 8715 (meta-commands smuggled into dumps).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice, takewhile

from app.archive import lexer
from app.archive.index import Segment, SegmentKind
from app.archive.inspect.cursor import NoDumpError
from app.archive.inspect.grammar import Judge
from app.archive.reader import Archive
from app.archive.scanner import Chunk, scan
from app.errors import RestoreValidationError

_SHOWN_BYTES = 60
_NEWLINE = b"\n"
_LOADED = {SegmentKind.DATA, SegmentKind.LARGE_OBJECTS}
_END_OF_DATA = {b"\\.\n", b"\\.\r\n"}


def lint(archive: Archive, *, rows: bool = True) -> list[str]:
    """Lint an archive, once. Rows are not read if its segments have places in the file.

    Args:
        archive: the dump.
        rows: whether it is loaded, with its COPY statements and large objects. A merge only takes the rows behind the
            statements, and runs nothing of large objects.

    Returns:
        Statements that will be skipped, each with the reason.

    Raises:
        RestoreValidationError: it has a statement that no dump has, or is no whole dump; names the line.
        BackupReadError, BackupValidationError: it cannot be read, or differs from its index.
    """
    require_whole(archive)
    known = next((archive.linted[done] for done in (True, rows) if done in archive.linted), None)
    if known is None:
        known = archive.linted[rows] = list(_remarks(archive, rows=rows))
    return known


def _remarks(archive: Archive, *, rows: bool) -> Iterable[str]:
    judge, remarks = Judge(), dict[str, None]()
    if rows and not archive.seekable:
        _check_all(judge, scan(archive.whole()), remarks)
        return remarks
    for is_data, run in archive.runs():
        linted = [segment for segment in run if rows or segment.kind not in _LOADED]
        for segments in [[segment] for segment in linted] if is_data else [linted]:
            # Of data only the COPY: the load refuses a segment that is not one block.
            _check_segments(judge, archive, segments, 1 if is_data else None, remarks)
    return remarks


def require_whole(archive: Archive) -> None:
    """Make sure that an archive has the end of a dump.

    Raises:
        RestoreValidationError: it has none.
    """
    if not archive.index.complete:
        message = (
            "the file is no whole dump: its last line, 'PostgreSQL database dump complete', is missing,"
            " or stands within a statement that does not end"
        )
        raise RestoreValidationError(message, "it was cut off, or is something else: use another backup")


def _check_segments(
    judge: Judge, archive: Archive, segments: Sequence[Segment], limit: int | None, remarks: dict[str, None]
) -> None:
    """Lint some segments, joined as they will be loaded; of their chunks only the first ones up to the limit."""
    syntax = judge.syntax
    try:
        _check_all(judge, islice(scan(archive.joined(segments)), limit), remarks)
    except RestoreValidationError:
        line = _line_of(archive, segments[0])
        _check_all(Judge(syntax), islice(scan(archive.joined(segments)), limit), remarks, line)
        raise


def _line_of(archive: Archive, segment: Segment) -> int:
    """The number of the line at which a segment begins."""
    before = takewhile(lambda other: other is not segment, archive.index.segments)
    return 1 + sum(block.count(b"\n") for block in archive.joined(before))


def _check_all(judge: Judge, chunks: Iterable[Chunk], remarks: dict[str, None], line: int = 1) -> None:
    """Lint chunks. In a run of statements about large objects there is nothing but these, in the form of a dump."""
    for chunk in chunks:
        is_data = chunk.rows or (chunk.header.table is not None and chunk.data in _END_OF_DATA)
        if not (is_data or chunk.objects) and (remark := _check_unit(judge, chunk.data, line)):
            remarks[remark] = None
        line += chunk.data.count(b"\n")


def _check_unit(judge: Judge, unit: bytes, line: int) -> str | None:
    """Lint a statement with the comments before it, as the scanner yields it."""
    start = lexer.start_of(unit)
    if start == len(unit):
        return None  # comments alone
    return check_statement(judge, unit[start:], f"line {line + unit.count(_NEWLINE, 0, start)}")


def check_statement(judge: Judge, statement: bytes, where: str) -> str | None:
    """Lint one statement.

    Args:
        judge: of the statements of its file.
        statement: without the comments before it.
        where: its place in the file, for errors.

    Returns:
        Why it is skipped; None if it is to be run.

    Raises:
        RestoreValidationError: no dump has it.
    """
    try:
        return judge.judge(statement)
    except NoDumpError as error:
        shown = statement[:_SHOWN_BYTES].split(b"\n")[0].decode(errors="backslashreplace")
        raise RestoreValidationError(f"{where}: {error.what}: {shown!r}", error.hint) from error
