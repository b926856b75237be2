"""Writes a dump: one database as plain SQL in segments, read under one snapshot."""

from __future__ import annotations

import structlog

from app.archive.digest import Stored
from app.archive.index import Index
from app.archive.verify import read_back
from app.archive.writer import ArchiveWriter
from app.domain.backup import Tier
from app.errors import BackupValidationError
from app.operations.backup.kind import DraftContent, Work
from app.operations.backup.preflight import Preflight, preflight
from app.operations.backup.space import SpaceGuard, giving_back
from app.operations.backup.timing import dated
from app.operations.backups.inventory import Inventory, newest_verified
from app.operations.formats import SqlFormat, index_of_sql
from app.operations.service import Service
from app.ports.attempts import dump_whole
from app.ports.source import Part, Snapshot

log = structlog.get_logger(__name__)


class Dump(SqlFormat):
    """The kind of all tiers but the full one.

    Args:
        part: the tables whose rows are dumped; None for the whole database.
    """

    def __init__(self, part: Part | None = None) -> None:
        self._part = part

    def preflight(self, service: Service, tier: Tier, backups: Inventory) -> Preflight:
        """Check everything that a dump needs."""
        return preflight(
            service, tier, newest_verified(service, backups), None if self._part is None else self._part.size
        )

    def write(self, work: Work) -> DraftContent:
        """Dump under one snapshot, in as many attempts as other sessions need, and read back."""
        service, options, draft = work.service, work.service.options, work.draft

        def begin() -> ArchiveWriter:
            work.progress.start("dump", work.ready.size)
            draft.restart()
            guard = SpaceGuard(service.tree, options, work.progress)
            return ArchiveWriter(draft.stream, options.codec, options.level, guard.advance)

        snapshot, writer = dump_whole(service.source, begin, self._part)
        shown = dated(service, snapshot.taken_at)
        index = _whole(writer.finish(), snapshot)
        log.debug("backup dumped", bytes=index.bytes, rows=index.rows)
        _read_back(work, index, writer.stored)
        return DraftContent(
            index=index_of_sql(index),
            snapshot_time=shown,
            server=work.ready.facts,
            wal_position=snapshot.wal_position,
            pg_dump=work.ready.program,
            doubts=tuple(snapshot.doubts),
            lacking=work.ready.lacking,
        )


def _whole(index: Index, snapshot: Snapshot) -> Index:
    """The index of a dump that holds what the snapshot shows."""
    if not index.complete:
        raise BackupValidationError(
            "the dump has no end marker: it is not whole", "see the server's log, and try again"
        )
    missing = snapshot.tables - {digest.table for digest in index.tables}
    if missing:
        listed = ", ".join(sorted(map(str, missing)))
        raise BackupValidationError(f"the dump lacks tables that the database has: {listed}", "report this as a bug")
    return index


def _read_back(work: Work, index: Index, stored: Stored) -> None:
    work.draft.flush()
    work.progress.start("read back", index.bytes)
    with work.draft.reopen() as stream, giving_back(work.service.tree.root):
        read_back(stream, index, stored, work.service.options.codec, work.progress.advance)
