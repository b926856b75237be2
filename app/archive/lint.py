r"""Looks through a plain dump before any of it is run.

psql runs what stands in a file: ``\!`` starts a shell, ``COPY … FROM PROGRAM`` starts one on the server. A dump needs
neither. So every statement must begin as those of pg_dump do, and the only psql command is ``\restrict``.

Source: pg_dump's own output, majors 10 to 18; CVE-2025-8714 and 8715 (meta-commands smuggled into dumps).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from itertools import islice, takewhile

from app.archive import lexer
from app.archive.index import Segment
from app.archive.reader import Archive
from app.archive.scanner import COLUMN_LIST, COPY, IDENTIFIER, Piece, scan, unquoted
from app.errors import RestoreValidationError

_SHOWN_BYTES = 60
_NEWLINE = b"\n"
_LOOK = "look at the file before you load anything from it: no dump of pg_dump has this"
_RESTRICT = re.compile(rb"\\(?:un)?restrict [A-Za-z0-9]+\s*\Z")
_ANY_COPY = re.compile(rb"COPY\b", re.IGNORECASE)
_END = re.compile(rb"\s*;\s*\Z")
_END_OF_DATA = {b"\\.\n", b"\\.\r\n"}
_CALL = re.compile(
    rb"""SELECT\s+(?:\*\s+FROM\s+)?(?:pg_catalog\.)?
    (?:set_config|setval|lo_(?:creat|create|open|close|unlink|put|from_bytea)|lowrite|pg_restore_\w+_stats)
    \s*\(\s*""",
    re.IGNORECASE | re.VERBOSE,
)
_STRING = re.compile(rb"([Ee]?)'")
_QUOTES = re.compile(rb"''?")
_QUOTES_AND_ESCAPES = re.compile(rb"\\.|''?", re.DOTALL)
_BARE = re.compile(rb"[-+]?[0-9][\w.+-]*|true|false|NULL", re.IGNORECASE)
_CAST = re.compile(rb'(?:::[\w."\[\] ]+)?')
_COMMA = re.compile(rb"\s*,\s*")
_CALL_END = re.compile(rb"\s*\)\s*;\s*\Z")
_ALLOWED = re.compile(
    rb"""(?: SET\s | RESET\s | BEGIN\s*; | COMMIT\s*; | COMMENT\s+ON\s | SECURITY\s+LABEL\s
    | REFRESH\s+MATERIALIZED\s+VIEW\s | (?:CREATE|ALTER|DROP)\s+[A-Za-z]
    | SELECT\s+pg_catalog\.lo_unlink\(oid\)\s+FROM\s+pg_catalog\.pg_largeobject_metadata\s+WHERE\s+oid\s=\s'\d+';\s*\Z
    )""",
    re.IGNORECASE | re.VERBOSE,
)
_ANY_INSERT = re.compile(rb"INSERT\b", re.IGNORECASE)
_INSERT = re.compile(
    rb"INSERT\s+INTO\s+(" + IDENTIFIER + rb")(?:\.(" + IDENTIFIER + rb"))?\s*(?:\(\s*" + COLUMN_LIST + rb"\)\s*)?"
    rb"(?:OVERRIDING\s+\w+\s+VALUE\s+)?(?:DEFAULT\s+)?VALUES\b",
    re.IGNORECASE,
)
_ANY_GRANT = re.compile(rb"(?:GRANT|REVOKE)\b", re.IGNORECASE)
_GRANT = re.compile(  # without ON it makes a role a member of another
    rb"(?:GRANT|REVOKE)\s(?:[A-Za-z,\s]|\(\s*" + COLUMN_LIST + rb"\))+?"
    rb"\sON\s+(?!\s|(?:DATABASE|TABLESPACE|PARAMETER)\b)",
    re.IGNORECASE,
)
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
        message = (
            "the file is no whole dump: its last line, 'PostgreSQL database dump complete', is missing,"
            " or stands within a statement that does not end"
        )
        raise RestoreValidationError(message, "it was cut off, or is something else: use another backup")
    if not archive.seekable:
        _check_all(scan(archive.whole()))
        return
    for is_data, run in archive.runs():
        for segments in [[each] for each in run] if is_data else [run]:
            # Of data, the COPY alone: whoever loads the rows refuses what is not one block.
            _check_segments(archive, segments, 1 if is_data else None)


def _check_segments(archive: Archive, segments: Sequence[Segment], pieces: int | None) -> None:
    """Check what some segments begin with, or all of it, as it will be loaded: joined."""
    try:
        _check_all(islice(scan(archive.joined(segments)), pieces))
    except RestoreValidationError:
        _check_all(islice(scan(archive.joined(segments)), pieces), _line_of(archive, segments[0]))
        raise


def _line_of(archive: Archive, segment: Segment) -> int:
    """Where in the file a segment begins."""
    before = takewhile(lambda each: each is not segment, archive.index.segments)
    return 1 + sum(block.count(b"\n") for block in archive.joined(before))


def _check_all(pieces: Iterable[Piece], line: int = 1) -> None:
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
    check_statement(statement, f"line {line + unit.count(_NEWLINE, 0, start)}")


def check_statement(statement: bytes, where: str) -> None:
    """Check a statement.

    Args:
        statement: without the comments before it.
        where: it stands, for the error.

    Raises:
        RestoreValidationError: no dump has it.
    """
    if problem := _problem(statement):
        what, hint = problem
        shown = statement[:_SHOWN_BYTES].split(b"\n")[0].decode(errors="backslashreplace")
        raise RestoreValidationError(f"{where}: {what}: {shown!r}", hint)


def _problem(statement: bytes) -> tuple[str, str] | None:
    """What is wrong with a statement, and what to do."""
    if b"\0" in statement:
        return "a statement with a zero byte", _LOOK
    if statement.startswith(b"\\"):
        return _problem_of_command(statement)
    if not statement.rstrip().endswith(b";"):
        return "not a whole statement", _LOOK
    for begins, problem in _BY_BEGINNING:
        if begins.match(statement):
            return problem(statement)
    allowed = _ALLOWED.match(statement) or _is_call(statement)
    return None if allowed else ("a statement that no dump has", _LOOK)


def _is_call(statement: bytes) -> bool:
    """Whether it calls a function that dumps call, with nothing but literals."""
    call = _CALL.match(statement)
    if call is None:
        return False
    at = call.end()
    if _CALL_END.match(statement, at):
        return True
    while (end := _end_of_literal(statement, at)) != lexer.UNFINISHED:
        comma = _COMMA.match(statement, end)
        if comma is None:
            return _CALL_END.match(statement, end) is not None
        at = comma.end()
    return False


def _end_of_literal(statement: bytes, at: int) -> int:
    """Offset after the literal that begins at `at`, with its cast, or UNFINISHED if none does."""
    if string := _STRING.match(statement, at):
        end = _end_of_string(statement, string.end(), escapes=bool(string[1]))
    else:
        bare = _BARE.match(statement, at)
        end = bare.end() if bare else lexer.UNFINISHED
    cast = None if end == lexer.UNFINISHED else _CAST.match(statement, end)
    return cast.end() if cast else end


def _end_of_string(statement: bytes, at: int, *, escapes: bool) -> int:
    """Offset after the quote that ends a string, or UNFINISHED if none does, or it can be read in two ways.

    It can if a backslash stands before a quote, which some servers take for an escape, unless it is the last string.
    """
    inside = _QUOTES_AND_ESCAPES if escapes else _QUOTES
    end = next((found.end() for found in inside.finditer(statement, at) if found[0] == b"'"), lexer.UNFINISHED)
    ambiguous = not escapes and statement.find(b"\\'", at, end) >= 0 and statement.find(b"'", end) >= 0
    return lexer.UNFINISHED if ambiguous else end


def _problem_of_insert(statement: bytes) -> tuple[str, str] | None:
    return _problem_of_target(_INSERT.match(statement), "an INSERT that does not take its rows from the file")


def _problem_of_grant(statement: bytes) -> tuple[str, str] | None:
    return None if _GRANT.match(statement) else _problem_of_cluster(statement)


def _problem_of_cluster(_: bytes) -> tuple[str, str]:
    return "a statement for the whole server", _CLUSTER_HINT


def _problem_of_copy(statement: bytes) -> tuple[str, str] | None:
    found = COPY.match(statement)
    plain = found if found is not None and _END.match(statement, found.end()) else None
    return _problem_of_target(plain, "a COPY that does not take its rows, as text, from the file")


def _problem_of_target(found: re.Match[bytes] | None, otherwise: str) -> tuple[str, str] | None:
    """What is wrong with a statement that adds rows to the table which the first two groups of `found` name."""
    if found is None:
        return otherwise, _LOOK
    # Names of the server's own schemas begin so, and its tables are found without a schema.
    if unquoted(found[1], "latin-1").startswith("pg_"):
        return "rows for a table of the server's own", _LOOK
    return None


def _problem_of_command(command: bytes) -> tuple[str, str] | None:
    if _CONNECT.match(command):
        return "a psql command to connect elsewhere", _CLUSTER_HINT
    return None if _RESTRICT.match(command) else ("a psql command", _LOOK)


_BY_BEGINNING: tuple[tuple[re.Pattern[bytes], Callable[[bytes], tuple[str, str] | None]], ...] = (
    (_ANY_COPY, _problem_of_copy),
    (_ANY_INSERT, _problem_of_insert),
    (_ANY_GRANT, _problem_of_grant),
    (_CLUSTER, _problem_of_cluster),
)
