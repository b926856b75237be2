"""Dumps a database in several attempts, if other sessions need that.

A dump gives way to a session that waits too long for one of its locks, and begins again with a new snapshot: see
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
from app.ports.source import ChangedError, GaveWayError, Part, Snapshot, Source

log = structlog.get_logger(__name__)
# At least so many attempts, and for at least so long: a dump that gives way at once costs little time, a late one much.
ATTEMPTS = 5
SECONDS = 60.0
_PAUSES = (0.02, 0.05, 0.1, 0.2, 0.3)  # uneven, so that the attempts do not keep step with a loop of another program
Dumped = TypeVar("Dumped", bound=Destination)


def dump_whole(source: Source, begin: Callable[[], Dumped], part: Part | None = None) -> tuple[Snapshot, Dumped]:
    """Dump all of a source, or a part of it.

    Args:
        source: what to dump.
        begin: makes an empty destination for each attempt.
        part: see `Source.snapshot`.

    Returns:
        The snapshot, which is closed but has its facts, and the destination.

    Raises:
        TableLockedError: each attempt blocked another session; names the last one.
        BackupCreationError: objects that the snapshots show were removed each time before they were read.
        BackupError: as methods of the source.
    """
    begun, reason = time.monotonic(), ""
    for number in count(1):
        try:
            with source.snapshot(part) as snapshot:
                destination = begin()
                snapshot.dump_into(destination)
        except GaveWayError as error:
            if number >= ATTEMPTS and time.monotonic() - begun >= SECONDS:
                message = f"{number} attempts at a dump gave way to other sessions; at the last {error.message}"
                raise TableLockedError(message, error.hint) from error
            reason = error.message
        except ChangedError as error:
            again = error.message == reason  # the same reason twice will come again
            if again or (number >= ATTEMPTS and time.monotonic() - begun >= SECONDS):
                raise BackupCreationError(error.message, error.hint) from error
            reason = error.message
        else:
            return snapshot, destination
        level = log.info if number < ATTEMPTS else log.debug
        level("backup dump begins anew", attempt=number + 1, reason=reason)
        time.sleep(_PAUSES[number % len(_PAUSES)])
    raise AssertionError("the loop has no other end")
