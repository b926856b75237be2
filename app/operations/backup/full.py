"""Writes a full backup: the whole running server, and what stands beside it, as one tar.

The server is copied into a folder beside the file to be, because only there pg_basebackup can stream the WAL meanwhile
and pg_verifybackup look at the outcome. Each of its files goes as soon as it is in the tar, so both together take
hardly more of the disk than the copy alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog

from app.archive.manifest import FullFacts
from app.archive.tar.layout import CATALOG, GLOBALS, POSTGRES, SETTINGS
from app.archive.tar.pack import Packing
from app.archive.tar.reader import TarIndex, TarReader, require_equal
from app.archive.tar.unpack import place_of
from app.archive.tar.writer import TarWriter
from app.domain.backup import Codec, Tier, codec_for
from app.domain.checks import Severity
from app.domain.doubts import Doubt
from app.errors import (
    BackupValidationError,
    RestoreValidationError,
)
from app.operations.backup.preflight import Preflight
from app.operations.backup.space import SpaceGuard, giving_back
from app.operations.service import Progress, Service
from app.os_errors import write_error
from app.ports.tree import Draft

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Written:
    """What stands in a draft: the facts of it that a manifest holds, and what whoever relies on it must know.

    `doubts` are about what a restore could not evaluate.
    """

    facts: dict[str, Any]
    warnings: list[str] = field(default_factory=list)
    doubts: Sequence[Doubt] = ()


def write_full(  # noqa: PLR0913, PLR0917 -- what a run knows
    service: Service, ready: Preflight, draft: Draft, run_id: str, name: str, progress: Progress
) -> Written:
    """Copy, verify, pack, and read back.

    Raises:
        BackupError: the first thing that failed; the copy is gone.
    """
    assert ready.facts is not None  # noqa: S101 -- else a finding was raised
    cluster, codec = service.cluster, codec_for(Tier.FULL, service.options.codec)
    identifier = cluster.system_identifier()
    with service.tree.staging(Tier.FULL, name, run_id) as folder:
        guard = SpaceGuard(service.tree, service.options, progress)
        progress.start("copy", ready.facts.size)
        copied = cluster.copy_into(folder / POSTGRES, guard.advance)
        shown = service.clock()
        log.debug("backup copied from the server", wal_start=copied.wal_start, wal_end=copied.wal_end)
        cluster.verify(folder / POSTGRES)
        log.debug("backup of the server verified by its own program")
        _write_beside(service, folder)
        progress.start("pack", ready.facts.size)
        with TarWriter(draft.stream, codec, service.options.level, guard.advance) as writer:
            packing = Packing(writer)
            packing.add_staged(folder)
            for path in service.options.full_paths:
                packing.add_path(path)
            index = writer.finish()
    _read_back(service, draft, index, codec, progress)
    facts = FullFacts(
        system_identifier=identifier,
        pg_basebackup=ready.dump_version,
        wal_start=copied.wal_start,
        wal_end=copied.wal_end,
        paths=tuple(map(str, service.options.full_paths)),
        members=index.members,
    )
    sizes = {"bytes": index.bytes, "raw_bytes": index.raw_bytes, "sha256": index.sha256}
    described = {"snapshot_time": shown, "server": ready.facts, "tables": (), "segments": (), "full": facts}
    found = [each.message for each in ready.findings if each.severity is Severity.WARNING]
    return Written({**described, **sizes}, [*found, *packing.remarks()])


def _write_beside(service: Service, folder: Path) -> None:
    """What the server's copy does not say in words: who may log in, what was backed up when, and by which settings."""
    superuser = service.cluster.facts().superuser
    texts = {
        GLOBALS: service.cluster.global_objects(passwords=superuser),
        SETTINGS: service.options.environment,
    }
    service.catalog.copy(folder / CATALOG)
    try:
        for name, text in texts.items():
            path = folder / name
            path.touch(0o600)
            path.write_text(text, encoding="utf-8")
        (folder / CATALOG).chmod(0o600)
    except OSError as error:
        raise write_error(error) from error


def _read_back(service: Service, draft: Draft, index: TarIndex, codec: Codec, progress: Progress) -> None:
    draft.flush()
    progress.start("read back", index.bytes)
    root = service.tree.root
    try:
        with draft.reopen() as stream, giving_back(root):
            reader = TarReader(stream, codec, progress.advance)
            for entry, _ in reader.entries():
                place_of(entry, root)
            require_equal(reader.finish(), index)
    except RestoreValidationError as error:  # what cannot be laid out again is no backup
        message = f"what was packed could not be laid out again: {error.message}"
        raise BackupValidationError(message, "rename it, or take it out of BACKUP_FULL_PATHS") from error
