"""Runs a plain SQL script that this service wrote, with COPY blocks, in one transaction."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import groupby
from typing import BinaryIO

from app.archive.scanner import Chunk, scan
from app.errors import RestoreDataError
from app.postgres.database import Database
from app.postgres.lock_holders import CONFLICT_WITH_ACCESS_EXCLUSIVE
from app.postgres.lock_retries import lock_all, retry_for_locks
from app.postgres.merge.session import MergeSession, merge_session
from app.postgres.session import sqlstate_of
from app.postgres.transactions import durable_ids

_BLOCK = 1 << 20
_RAISED = "P0001"
_LOCK = re.compile(rb"LOCK TABLE\s")  # as `app.postgres.merge.inverse` writes it


def run_script(database: Database, script: BinaryIO, on_commit: Callable[[str], None]) -> None:
    """Run a script in one transaction; see the port."""
    with merge_session(database) as session, durable_ids(database) as durable_id:

        def attempt() -> None:
            _run(session, script)
            on_commit(durable_id(session))

        retry_for_locks(session, "the script", CONFLICT_WITH_ACCESS_EXCLUSIVE, attempt)


def _run(session: MergeSession, script: BinaryIO) -> None:
    script.seek(0)
    chunks = scan(iter(lambda: script.read(_BLOCK), b""))
    try:
        for header, header_chunks in groupby(chunks, lambda chunk: chunk.header):
            if header.table is None:
                _statements(session, header_chunks)
            else:
                _rows(session, header_chunks)
    except RestoreDataError as error:
        if sqlstate_of(error) == _RAISED:
            hint = "later changes would be lost; restore the safety backup into another database and compare"
            raise RestoreDataError(error.message, hint) from error.__cause__
        raise


def _statements(session: MergeSession, chunks: Iterator[Chunk]) -> None:
    statements = (chunk.data.strip() for chunk in chunks)
    for locks, group in groupby(filter(None, statements), lambda statement: _LOCK.match(statement) is not None):
        if locks:
            lock_all(session, [("a lock of the script", statement.decode()) for statement in group])
            continue
        for statement in group:
            with session.without_event_triggers(statement, "the script"), session.translated("the script"):
                session.connection.execute(statement, binary=True)


def _rows(session: MergeSession, chunks: Iterator[Chunk]) -> None:
    copy = next(chunks).data
    session.copy(copy, (chunk.data for chunk in chunks if chunk.rows), "the script's rows")
