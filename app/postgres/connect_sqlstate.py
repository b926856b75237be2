"""Why a server refuses a connection, in whatever language it says so.

The driver tells a refusal by the server's words alone, without its code (SQLSTATE); and no session can ask for English
before it is one. So what is not understood is asked once more, and libpq's trace, which shows each message of the
server with all of its fields, is read for the code. It is kept in memory, and only the code is taken out of it: what
is sent to prove who asks may stand there too.

Source: PostgreSQL documentation, "Error and Notice Message Fields", and `PQtrace` of libpq 18; an older one shows no
message of the time before a session is there, and the words stay all there is.
"""

from __future__ import annotations

import os
import re
import select
import time

import psycopg
from psycopg import pq

# The server's own messages stand so; those of libpq, such as that nothing listens there, do not.
_OF_THE_SERVER = re.compile(r"failed: [^\s:]+:  \S")
_CODE = re.compile(rb'^B\t\d+\tErrorResponse\t.*? C "([0-9A-Z]{5})"', re.MULTILINE)


def with_sqlstate(error: psycopg.OperationalError, conninfo: str) -> psycopg.Error:
    """The driver's error, as the class that the server's code stands for where that can be found out.

    Args:
        error: of an attempt to connect.
        conninfo: the same as then, with the password.
    """
    if error.sqlstate is not None or not _OF_THE_SERVER.search(str(error)):
        return error
    code = _code_of(conninfo)
    try:
        return psycopg.errors.lookup(code)(*error.args) if code else error
    except KeyError:
        return error


def _code_of(conninfo: str, seconds: float = 10) -> str | None:
    if not hasattr(os, "memfd_create"):
        return None  # elsewhere than on Linux a trace would stand on a disk
    with os.fdopen(os.memfd_create("refusal"), "w+b") as trace:
        connection = pq.PGconn.connect_start(conninfo.encode())
        try:
            connection.trace(trace.fileno())
            connection.set_trace_flags(pq.Trace.SUPPRESS_TIMESTAMPS)
            _finish(connection, time.monotonic() + seconds)
            connection.untrace()
        except psycopg.Error:
            return None
        finally:
            connection.finish()
        trace.seek(0)
        codes = _CODE.findall(trace.read())
    return codes[-1].decode() if codes else None


def _finish(connection: pq.abc.PGconn, end: float) -> None:
    """Wait for the end of an attempt, for some seconds."""
    while (left := end - time.monotonic()) > 0:
        status = connection.connect_poll()
        if status in {pq.PollingStatus.OK, pq.PollingStatus.FAILED}:
            return
        reading = status is pq.PollingStatus.READING
        waiting = select.poll()
        waiting.register(connection.socket, select.POLLIN if reading else select.POLLOUT)
        waiting.poll(left * 1000)
