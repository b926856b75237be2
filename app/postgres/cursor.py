"""Cursors of connections that are in order again, or closed, when a signal has ended what they were doing.

The driver does most of it: it cancels the statement that it waits for when a KeyboardInterrupt (`app.errors.Cancelled`)
comes up, and reads what the server says to that. But a COPY whose first rows are awaited has begun by then, and goes
on being one: whatever is said to the server next, be it ROLLBACK, fails, and that failure would be what is told.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus


class Cursor(psycopg.Cursor[tuple[Any, ...]]):
    """A cursor whose COPY leaves no connection in the middle of it."""

    @contextmanager
    def copy(self, *args: Any, **kwargs: Any) -> Iterator[psycopg.Copy]:
        """As the driver's; the connection is closed if a signal comes before there is anything to end the COPY by."""
        try:
            with super().copy(*args, **kwargs) as copy:
                yield copy
        except KeyboardInterrupt:
            if self.connection.info.transaction_status == TransactionStatus.ACTIVE:
                self.connection.close()
            raise


def interruption(error: BaseException) -> KeyboardInterrupt | None:
    """The signal during whose handling an error came up; None if there was none."""
    seen: set[int] = set()
    behind: BaseException | None = error
    while behind is not None and id(behind) not in seen:
        if isinstance(behind, KeyboardInterrupt):
            return behind
        seen.add(id(behind))
        behind = behind.__context__
    return None
