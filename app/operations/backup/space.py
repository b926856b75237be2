"""What watches the disk while a backup is written, and judges what it gives back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.errors import BackupReadError, BackupValidationError, BackupWriteError
from app.operations.backup.preflight import require_reserve
from app.operations.service import Progress, Service

_LOOK_EVERY = 16 << 20  # plain bytes between two looks at the free space


class SpaceGuard:
    """Passes progress on, and stops a backup that turns out larger than forecast before it takes the reserve."""

    def __init__(self, service: Service, progress: Progress) -> None:
        self._service = service
        self._progress = progress
        self._unseen = 0

    def advance(self, amount: int) -> None:
        """So many bytes more are written."""
        self._progress.advance(amount)
        self._unseen += amount
        if self._unseen >= _LOOK_EVERY:
            self._unseen = 0
            require_reserve(self._service)


@contextmanager
def giving_back(root: Path) -> Iterator[None]:
    """A block that reads back what was just written: what differs there is the disk's doing.

    Raises:
        BackupWriteError: it differs.
    """
    try:
        yield
    except (BackupReadError, BackupValidationError) as error:
        message = f"the disk of {root} does not give back what was written: {error.message}"
        raise BackupWriteError(
            message, "check that disk; older backups on it deserve 'residency-backup verify --all'"
        ) from error
