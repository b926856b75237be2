"""What backups there are: the files of the tree, with what the catalog knows of each.

The files come first. A catalog that is lost or cannot be reached hides no backup, and a row whose file is gone
is no backup.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import PurePosixPath

import structlog

from app.archive.manifest import parse_manifest
from app.domain.backup import Backup, Codec, Origin, State, Tier, period_in_name
from app.domain.ports import StoredFile
from app.errors import BackupNotFoundError, CatalogError, ManifestError
from app.operations.service import Service

MISSING = "the file is missing"
ALIASES = ("latest", *(f"latest-{tier}" for tier in Tier), "oldest")
log = structlog.get_logger(__name__)


def inventory(service: Service) -> list[Backup]:
    """All backups, newest first. Rows without a file are in it too, as damaged."""
    rows = {row.file: row for row in _rows(service)}
    found = [_known(stored, rows.pop(stored.file, None), service) for stored in service.tree.files()]
    gone = [replace(row, damage=MISSING) for row in rows.values() if row.state is State.COMPLETE]
    return sorted([*found, *gone], key=lambda backup: (backup.created_at, backup.id), reverse=True)


def find(service: Service, name: str) -> Backup:
    """The backup of an id, of a path in the tree, or of an alias.

    Raises:
        BackupNotFoundError: there is none.
    """
    backups = [backup for backup in inventory(service) if backup.damage != MISSING]
    if name in ALIASES:
        tier = name.removeprefix("latest-") if name.startswith("latest-") else None
        candidates = [backup for backup in backups if tier is None or backup.tier == tier]
        if candidates:
            return candidates[-1 if name == "oldest" else 0]
    else:
        wanted = name.removeprefix(f"{service.tree.root}/")
        for backup in backups:
            if wanted in (backup.id, backup.file):
                return backup
    raise BackupNotFoundError(f"no such backup: {name}", "'residency-backup list' shows what there is")


def codec_of(file: str) -> Codec:
    """How a file is compressed, by its suffix."""
    return next(codec for codec in (Codec.GZIP, Codec.ZSTD, Codec.NONE) if file.endswith(codec.suffix))


def unindexed(stored: StoredFile, database: str) -> Backup:
    """What its name and size alone say of a file."""
    path = PurePosixPath(stored.id)
    tier = Tier(path.parent.name)
    return Backup(
        id=stored.id,
        database=database,
        tier=tier,
        period=period_in_name(tier, path.name, stored.written_at) or path.name,
        file=stored.file,
        created_at=stored.written_at,
        bytes=stored.size,
        raw_bytes=0,
        rows=None,
        tables=None,
        database_size=None,
        sha256="",
        codec=codec_of(stored.file),
        origin=Origin.SCAN,
    )


def _known(stored: StoredFile, row: Backup | None, service: Service) -> Backup:
    if row is not None:
        return row
    if stored.manifest is not None:
        try:
            return parse_manifest(stored.manifest, stored.file).to_backup(stored.id, stored.file)
        except ManifestError as error:
            log.warning("backup manifest not readable", backup=stored.id, error="ManifestError", reason=error.message)
    return unindexed(stored, service.database)


def _rows(service: Service) -> list[Backup]:
    try:
        return list(service.catalog.backups(service.database))
    except CatalogError as error:
        log.warning("backup catalog not readable, going by the files", error="CatalogError", reason=error.message)
        return []
