"""A restore of chosen tables reads, and so verifies, no more of a backup than it uses.

The schema is read, and compared with the manifest, before the checks; rows while they are put into temporary tables,
which is before the safety backup is taken. What is damaged elsewhere in the file does not matter for this restore: no
one looks at it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from app.archive.index import SegmentKind
from app.archive.reader import Archive
from app.domain.checks import Finding
from app.domain.events import RestoreEvent
from app.errors import BackupError, ResidencyBackupError
from app.operations.backups.opened import OpenBackup
from app.operations.backups.verify import note_damage
from app.operations.service import Progress
from app.ports.events import Event, Events

if TYPE_CHECKING:
    from app.operations.restore.source import RestoreSource

_SCHEMA = (SegmentKind.BEFORE, SegmentKind.SEQUENCES, SegmentKind.AFTER)


class DamageNote:
    """Notes damage that is found while a backup is read, once, as its verification would.

    Args:
        found: the backup.
        unfit: makes the error of a backup that must not be restored.
    """

    def __init__(self, found: OpenBackup, unfit: Callable[[str, BackupError], ResidencyBackupError]) -> None:
        self._service, self._backup = found.service, found.backup
        self._unfit = unfit
        self._noted = False

    def __call__(self, error: BackupError) -> ResidencyBackupError:
        """Note it, and return the error to raise."""
        if not self._noted:
            self._noted = True
            note_damage(self._service, self._backup, error)
        return self._unfit(self._backup.id, error)


def schema_finding(archive: Archive, name: str, progress: Progress) -> Finding:
    """Read the schema of a backup, which every check and every table needs."""
    segments = [segment for segment in archive.index.segments if segment.kind in _SCHEMA]
    progress.start("verify", sum(segment.bytes or 0 for segment in segments))
    try:
        for segment in segments:
            deque(archive.text(segment), maxlen=0)
            progress.advance(segment.bytes or 0)
    except ResidencyBackupError as error:
        return Finding.failed("backup", error)
    return Finding.ok("backup", f"{name}: what is read of it is compared with its manifest")


def with_what_was_read(findings: list[Finding], source: RestoreSource, events: Events, restore: str | None) -> None:
    """Say what of the backup was read and verified, in the place of the finding that was made before."""
    if not source.in_parts:
        return
    archive, segments = source.archive, source.archive.index.segments
    read = [segments[number] for number in archive.proven]
    size = sum(segment.bytes or 0 for segment in read)
    how_much = f" ({size:,} of {archive.index.bytes:,} bytes)" if archive.seekable else ""
    message = (
        f"{source.name}: {len(read)} of its {len(segments)} segments were read{how_much}, and are what its manifest "
        "says; this restore uses no others"
    )
    findings[findings.index(source.verified)] = Finding.ok("backup", message)
    figures = {"segments": len(read), "of": len(segments), "bytes": size}
    events.emit(Event(RestoreEvent.PARTS_VERIFIED, restore=restore, backup=source.name, figures=figures))
