"""Several statements, or the rows of several tables, with one round trip and one transaction for all.

A database of many small tables costs round trips and commits, not bytes. Each statement is still sent in the extended
protocol, which takes one statement only: libpq's pipeline mode sends all of them before it waits for the first answer,
and the server takes what stands between two Syncs as one transaction. COPY works in no pipeline. But a text of several
COPY statements is one simple query: the server asks for the rows of the next table in the same message in which it says
that it has those of the last one, so that a table costs one round trip.

Source: PostgreSQL documentation, "Pipelining" and "Multiple Statements in a Simple Query".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import psycopg
from psycopg import generators
from psycopg.errors import error_from_result
from psycopg.pq import ExecStatus, TransactionStatus

if TYPE_CHECKING:
    from psycopg.abc import PQGen
    from psycopg.pq.abc import PGconn, PGresult

_SEND_BYTES = 128 << 10  # at a time: larger blocks take libpq's buffer longer than they save calls


def run_pipelined(connection: psycopg.Connection, statements: Iterable[bytes]) -> None:
    """Run statements in one transaction.

    Args:
        connection: outside of a transaction, with autocommit.
        statements: each one statement.

    Raises:
        psycopg.Error: the server refuses one of them, so that none was run; or it went away.
    """
    with connection.pipeline():
        for statement in statements:
            connection.execute(statement, binary=True)


def copy_consecutively(connection: psycopg.Connection, copies: Sequence[tuple[bytes, Sequence[bytes]]]) -> list[int]:
    """Send the rows of several tables.

    Args:
        connection: in a transaction.
        copies: for each table a single statement ``COPY … FROM stdin;``, and its rows, which must be in memory.

    Returns:
        Number of rows that the server accepted, for each COPY.

    Raises:
        psycopg.Error: the server refuses a statement or a row, or went away.
    """
    pgconn = connection.pgconn
    counts: list[int] = []
    with connection.lock:
        try:
            pgconn.send_query(b"\n".join(statement for statement, _ in copies))
            results = connection.wait(generators.execute(pgconn))
            for _, blocks in copies:
                _require(results[-1], ExecStatus.COPY_IN, connection)
                results = connection.wait(_send_rows(pgconn, blocks))
                _require(results[0], ExecStatus.COMMAND_OK, connection)
                counts.append(results[0].command_tuples or 0)
        except BaseException:
            # After an error of the server the connection is usable; after anything else a COPY may be open.
            if pgconn.transaction_status == TransactionStatus.ACTIVE:
                connection.close()
            raise
    return counts


def _send_rows(pgconn: PGconn, blocks: Iterable[bytes]) -> PQGen[list[PGresult]]:
    for block in blocks:
        for start in range(0, len(block), _SEND_BYTES):
            yield from generators.copy_to(pgconn, block[start : start + _SEND_BYTES], flush=False)
    while pgconn.put_copy_end() == 0:
        yield from generators.send(pgconn)
    results: list[PGresult] = yield from generators.execute(pgconn)
    return results


def _require(result: PGresult, status: ExecStatus, connection: psycopg.Connection) -> None:
    if result.status != status:
        raise error_from_result(result, encoding=connection.info.encoding)
