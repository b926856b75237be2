"""A cursor that leaves its connection usable, or closed, if a signal interrupts a COPY.

On KeyboardInterrupt (`app.errors.Cancelled`), the driver cancels the statement that it waits for and reads the server's
answer. But if it waits for the first rows of a COPY, the COPY goes on: every following statement, even ROLLBACK, fails,
and that failure would hide the interruption.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus


class CopyCursor(psycopg.Cursor[tuple[Any, ...]]):
    """A cursor that closes the connection if a COPY cannot be ended."""

    @contextmanager
    def copy(self, *args: Any, **kwargs: Any) -> Iterator[psycopg.Copy]:
        """As the driver's, but closes the connection if a signal comes before the first rows."""
        try:
            with super().copy(*args, **kwargs) as copy:
                yield copy
        except KeyboardInterrupt:
            if self.connection.info.transaction_status == TransactionStatus.ACTIVE:
                self.connection.close()
            raise


def interruption(error: BaseException) -> KeyboardInterrupt | None:
    """The KeyboardInterrupt that an error was raised after; None if there was none."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        if isinstance(current, KeyboardInterrupt):
            return current
        seen.add(id(current))
        current = current.__context__
    return None
