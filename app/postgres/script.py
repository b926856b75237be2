"""Runs a plain SQL script of our own making, with COPY blocks, all or nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import groupby
from typing import BinaryIO

from app.archive.scanner import Piece, scan
from app.errors import RestoreDataError
from app.postgres.database import Database
from app.postgres.load_session import sqlstate_of
from app.postgres.merge_session import MergeSession, merge_session
from app.postgres.transactions import durable_ids

_BLOCK = 1 << 20
_RAISED = "P0001"


def run_script(database: Database, script: BinaryIO, on_commit: Callable[[str], None]) -> None:
    """Run a script in one transaction; see the port."""
    pieces = scan(iter(lambda: script.read(_BLOCK), b""))
    with (
        merge_session(database) as session,
        durable_ids(database) as durable_id,
        session.transaction("the script"),
    ):
        try:
            for head, its in groupby(pieces, lambda piece: piece.head):
                if head.table is None:
                    _statements(session, its)
                else:
                    _rows(session, its)
        except RestoreDataError as error:
            if sqlstate_of(error) == _RAISED:
                hint = "what was changed since would be lost; restore the safety backup into another database and look"
                raise RestoreDataError(error.message, hint) from error.__cause__
            raise
        on_commit(durable_id(session))


def _statements(session: MergeSession, pieces: Iterator[Piece]) -> None:
    for piece in pieces:
        if statement := piece.data.strip():
            with session.translated("the script"):
                session.connection.execute(statement, binary=True)


def _rows(session: MergeSession, pieces: Iterator[Piece]) -> None:
    copy = next(pieces).data
    session.copy(copy, (piece.data for piece in pieces if piece.rows), "the script's rows")
