"""Writes a full backup: the whole running server, and what stands beside it, as one tar.

pg_basebackup copies the server into a temporary folder: only into a folder can it stream the WAL at the same time, and
only there can pg_verifybackup check the copy. Each file is removed as soon as it is in the tar, so copy and tar
together take hardly more space than the copy.
"""

from __future__ import annotations

from pathlib import Path

import structlog

from app.archive.manifest import FullFacts
from app.archive.tar.layout import CATALOG, GLOBALS, POSTGRES, SETTINGS
from app.archive.tar.pack import TarPacker
from app.archive.tar.reader import TarIndex, TarReader, require_equal
from app.archive.tar.unpack import place_of
from app.archive.tar.writer import TarWriter
from app.domain.backup import Codec, Tier, codec_for
from app.errors import (
    BackupValidationError,
    RestoreValidationError,
)
from app.operations.backup.full_preflight import preflight_full
from app.operations.backup.kind import DraftContent, Work
from app.operations.backup.preflight import Preflight
from app.operations.backup.space import SpaceGuard, giving_back
from app.operations.backups.inventory import Inventory
from app.operations.formats import TarFormat, index_of_tar
from app.operations.service import Service
from app.os_errors import write_error

log = structlog.get_logger(__name__)


class FullBackup(TarFormat):
    """The kind of the full tier."""

    def preflight(self, service: Service, tier: Tier, backups: Inventory) -> Preflight:  # noqa: ARG002
        """Check everything that a copy of the server needs."""
        return preflight_full(service)

    def write(self, work: Work) -> DraftContent:
        """Copy, verify, pack, and read back; the copy is gone afterwards."""
        service, ready = work.service, work.ready
        cluster, options = service.cluster, service.options
        codec = codec_for(work.name.tier, options.codec)
        identifier = cluster.system_identifier()
        with service.tree.staging(work.name.tier, work.name.stem, work.run_id) as folder:
            guard = SpaceGuard(service.tree, options, work.progress)
            work.progress.start("copy", ready.size)
            copied = cluster.copy_into(folder / POSTGRES, guard.advance)
            shown = service.clock()
            log.debug("backup copied from the server", wal_start=copied.wal_start, wal_end=copied.wal_end)
            cluster.verify(folder / POSTGRES)
            log.debug("backup of the server verified by its own program")
            _write_beside(service, folder)
            work.progress.start("pack", ready.size)
            with TarWriter(work.draft.stream, codec, options.level, guard.advance) as writer:
                packer = TarPacker(writer)
                packer.add_staged(folder)
                for path in options.full_paths:
                    packer.add_path(path)
                index = writer.finish()
        _read_back(work, index, codec)
        facts = FullFacts(
            system_identifier=identifier,
            pg_basebackup=ready.program,
            wal_start=copied.wal_start,
            wal_end=copied.wal_end,
            paths=tuple(map(str, options.full_paths)),
            members=index.members,
        )
        return DraftContent(
            index=index_of_tar(index, facts),
            snapshot_time=shown,
            server=ready.facts.model_copy(update={"size": ready.size}),  # of all that was copied
            warnings=(*ready.warnings, *packer.remarks()),
        )


def _write_beside(service: Service, folder: Path) -> None:
    """Write what nobody can read from the server's files: its roles, the catalog of backups, and the settings."""
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


def _read_back(work: Work, index: TarIndex, codec: Codec) -> None:
    work.draft.flush()
    work.progress.start("read back", index.bytes)
    root = work.service.tree.root
    try:
        with work.draft.reopen() as stream, giving_back(root):
            reader = TarReader(stream, codec, work.progress.advance, index)
            for entry, _ in reader.entries():
                place_of(entry, root)
            require_equal(reader.finish(), index)
    except RestoreValidationError as error:  # a backup that cannot be unpacked is none
        message = f"what was packed could not be laid out again: {error.message}"
        raise BackupValidationError(message, "rename it, or take it out of BACKUP_FULL_PATHS") from error
