r"""Looks through a plain dump before any of it is run.

psql runs what stands in a file: ``\!`` starts a shell, ``COPY … FROM PROGRAM`` starts one on the server. A dump needs
neither. So every statement must begin as those of pg_dump do, and the only psql command is ``\restrict``.

Source: pg_dump's own output, majors 10 to 18; CVE-2025-8714 and 8715 (meta-commands smuggled into dumps).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice

from app.archive import lexer
from app.archive.index import Kind, Segment
from app.archive.reader import Archive
from app.archive.scanner import COPY, Piece, scan
from app.errors import RestoreValidationError

_SHOWN_BYTES = 60
_LOOK = "look at the file before you load anything from it: no dump of pg_dump has this"
_RESTRICT = re.compile(rb"\\(?:un)?restrict [A-Za-z0-9]+\s*\Z")
_ANY_COPY = re.compile(rb"COPY\b", re.IGNORECASE)
_END = re.compile(rb"\s*;\s*\Z")
_END_OF_DATA = {b"\\.\n", b"\\.\r\n"}
# Calls of pg_dump's own, with nothing but values between their parentheses.
_VALUE = rb"""(?:[eE]'(?:[^'\\]|\\.|'')*+' | '(?:[^']|'')*+' | -?[0-9][0-9.]* | true | false | null)
    (?:::[\w".\[\]\ ]+)?"""
_CALL = (
    rb"""(?:pg_catalog\.)?
    (?:set_config|setval|lo_(?:creat|create|open|close|unlink|put|from_bytea)|lowrite|pg_restore_\w+_stats)
    \s*\(\s*(?:"""
    + _VALUE
    + rb"(?:\s*,\s*"
    + _VALUE
    + rb")*+)?\s*\)\s*;"
)
_ALLOWED = re.compile(
    rb"""(?: SET\s | RESET\s | BEGIN\s*; | COMMIT\s*; | COMMENT\s+ON\s | GRANT\s | REVOKE\s | SECURITY\s+LABEL\s
    | COPY\s | REFRESH\s+MATERIALIZED\s+VIEW\s | INSERT\s+INTO\s | (?:CREATE|ALTER|DROP)\s+[A-Za-z]
    | SELECT\s+(?:\*\s+FROM\s+)?"""
    + _CALL
    + rb")",
    re.IGNORECASE | re.VERBOSE | re.DOTALL,
)
_CATALOG = re.compile(rb"(?:COPY|INSERT\s+INTO)\s+\"?pg_", re.IGNORECASE)
_MEMBERSHIP = re.compile(rb"(?:GRANT|REVOKE)\s(?!(?:[^'\"]|'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\")*\sON\s)", re.IGNORECASE)
# What dumps of a whole cluster, or `pg_dump --create`, have and one database's contents do not.
_CLUSTER = re.compile(
    rb"""(?:CREATE|ALTER|DROP)\s+
    (?:SYSTEM|DATABASE|ROLE|USER(?!\s+MAPPING\s+(?:IF\s+(?:NOT\s+)?EXISTS\s+)?FOR\s)|GROUP|TABLESPACE)
    (?![\w$\x80-\xff])""",
    re.IGNORECASE | re.VERBOSE,
)
_CLUSTER_HINT = "make the dump without --create, and of one database; run what concerns the whole server by hand"
_CONNECT = re.compile(rb"\\(?:c|connect)\b")


def lint(archive: Archive) -> None:
    """Look through an archive; of rows nothing is read where its index says where they stand.

    Raises:
        RestoreValidationError: something stands there that no dump has, or it is no whole dump; names the line.
        BackupReadError, BackupValidationError: it cannot be read, or is not what its index says.
    """
    if not archive.index.complete:
        message = "the file is no whole dump: its last line, 'PostgreSQL database dump complete', is missing"
        raise RestoreValidationError(message, "it was cut off, or is something else: use another backup")
    if archive.seekable:
        for segment in archive.index.segments:
            _check_segment(archive, segment)
    else:
        _check_all(scan(archive.whole()))


def _check_segment(archive: Archive, segment: Segment) -> None:
    pieces = scan(archive.text(segment))
    if segment.kind is Kind.DATA:
        pieces = islice(pieces, 1)  # whoever loads the rows refuses what is not one COPY block
    try:
        _check_all(pieces)
    except RestoreValidationError:
        before = archive.index.segments[: archive.index.segments.index(segment)]
        lines = sum(block.count(b"\n") for each in before for block in archive.text(each))
        _check_all(scan(archive.text(segment)), 1 + lines)  # raises again, and names the line in the file
        raise


def _check_all(pieces: Iterator[Piece], line: int = 1) -> None:
    for piece in pieces:
        is_data = piece.rows or (piece.head.table is not None and piece.data in _END_OF_DATA)
        if not is_data:
            check_unit(piece.data, line)
        line += piece.data.count(b"\n")


def check_unit(unit: bytes, line: int) -> None:
    """Check a statement, with the comments before it.

    Args:
        unit: as the scanner gives it.
        line: where in the file it begins, from 1.

    Raises:
        RestoreValidationError: no dump has it; names the line.
    """
    start = lexer.statement_start(unit + b"\n ", 0)
    if start == lexer.UNFINISHED:
        return  # comments alone
    statement = unit[start:]
    line += unit.count(b"\n", 0, start)
    if problem := problem_of(statement):
        what, hint = problem
        shown = statement[:_SHOWN_BYTES].split(b"\n")[0].decode(errors="backslashreplace")
        raise RestoreValidationError(f"line {line}: {what}: {shown!r}", hint)


def problem_of(statement: bytes) -> tuple[str, str] | None:
    """What is wrong with a statement, and what to do."""
    if statement.startswith(b"\\"):
        return _problem_of_command(statement)
    if not statement.rstrip().endswith(b";"):
        return "not a whole statement", _LOOK
    refused = (
        (b"\0" in statement, "a statement with a zero byte", _LOOK),
        (_CATALOG.match(statement), "a change of the server's own tables", _LOOK),
        (_is_other_copy(statement), "a COPY that does not take its rows, as text, from the file", _LOOK),
        (_CLUSTER.match(statement), "a statement for the whole server", _CLUSTER_HINT),
        (_MEMBERSHIP.match(statement), "a statement for the whole server", _CLUSTER_HINT),
        (not _ALLOWED.match(statement), "a statement that no dump has", _LOOK),
    )
    return next(((what, hint) for wrong, what, hint in refused if wrong), None)


def _is_other_copy(statement: bytes) -> bool:
    found = COPY.match(statement)
    return _ANY_COPY.match(statement) is not None and not (found and _END.match(statement, found.end()))


def _problem_of_command(command: bytes) -> tuple[str, str] | None:
    if _CONNECT.match(command):
        return "a psql command to connect elsewhere", _CLUSTER_HINT
    return None if _RESTRICT.match(command) else ("a psql command", _LOOK)
