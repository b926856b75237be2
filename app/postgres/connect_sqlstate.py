"""Finds the SQLSTATE of a refused connection, so that the language of the server's message does not matter.

The driver gives only the text of a refusal, without its SQLSTATE, and a session cannot set the language of messages
before it exists. So a message that is not understood is provoked once more, under libpq's trace, which shows all fields
of each message. The trace is kept in memory and only the SQLSTATE is taken from it, because it may hold the password's
exchange.

Source: PostgreSQL documentation, "Error and Notice Message Fields", and `PQtrace` of libpq 18. Older ones do not trace
the connection's start: then only the text is known.
"""

from __future__ import annotations

import os
import re
import select
import time

import psycopg
from psycopg import pq

# Messages of the server have this form; those of libpq itself ("connection refused") do not.
_OF_THE_SERVER = re.compile(r"failed: [^\s:]+:  \S")
_CODE = re.compile(rb'^B\t\d+\tErrorResponse\t.*? C "([0-9A-Z]{5})"', re.MULTILINE)


def with_sqlstate(error: psycopg.OperationalError, conninfo: str) -> psycopg.Error:
    """The driver's error, as the exception class of its SQLSTATE if that can be found.

    Args:
        error: of an attempt to connect.
        conninfo: of that attempt, with the password.
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
        return None  # without memory files (elsewhere than on Linux) the trace would be written to a disk
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
    """Wait until an attempt to connect ends, or until `end`."""
    while (seconds_left := end - time.monotonic()) > 0:
        status = connection.connect_poll()
        if status in {pq.PollingStatus.OK, pq.PollingStatus.FAILED}:
            return
        is_reading = status is pq.PollingStatus.READING
        poller = select.poll()
        poller.register(connection.socket, select.POLLIN if is_reading else select.POLLOUT)
        poller.poll(seconds_left * 1000)
