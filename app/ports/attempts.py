"""Dumps a database in as many attempts as its other sessions need.

A dump gives way to whoever waits too long for a lock of its own, and begins anew with a fresh snapshot; see
`app.postgres.dump.watch` and docs/design.md.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import count
from typing import TypeVar

import structlog

from app.archive.writer import Destination
from app.errors import BackupCreationError, TableLockedError
from app.ports.source import ChangedError, GaveWayError, Snapshot, Source

log = structlog.get_logger(__name__)
# As often as this, and for as long as that: one that gives way at once costs nothing, one after an hour costs an hour.
ATTEMPTS = 5
SECONDS = 60.0
_PAUSES = (0.02, 0.05, 0.1, 0.2, 0.3)  # uneven, so as not to keep step with somebody's loop
Dumped = TypeVar("Dumped", bound=Destination)


def dump_whole(source: Source, begin: Callable[[], Dumped]) -> tuple[Snapshot, Dumped]:
    """Dump all of a source.

    Args:
        source: what to dump.
        begin: gives an empty destination, for each attempt.

    Returns:
        The snapshot, whose facts are good although it is let go; and the destination.

    Raises:
        TableLockedError: every attempt stood in somebody's way; names who it was at the last.
        BackupCreationError: what the snapshots show was gone each time.
        BackupError: as the source's methods do.
    """
    begun, reason = time.monotonic(), ""
    for number in count(1):
        try:
            with source.snapshot() as snapshot:
                destination = begin()
                snapshot.dump_into(destination)
        except GaveWayError as error:
            if number >= ATTEMPTS and time.monotonic() - begun >= SECONDS:
                message = f"{number} attempts at a dump gave way to other sessions; at the last {error.message}"
                raise TableLockedError(message, error.hint) from error
            reason = error.message
        except ChangedError as error:
            again = error.message == reason  # the same thing twice is lasting; who makes and drops things has many
            if again or (number >= ATTEMPTS and time.monotonic() - begun >= SECONDS):
                raise BackupCreationError(error.message, error.hint) from error
            reason = error.message
        else:
            return snapshot, destination
        level = log.info if number < ATTEMPTS else log.debug
        level("backup dump begins anew", attempt=number + 1, reason=reason)
        time.sleep(_PAUSES[number % len(_PAUSES)])
    raise AssertionError("the loop has no other end")
