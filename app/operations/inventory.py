"""What backups there are: the files of the tree, with what the catalog knows of each.

The files come first. A catalog that is lost or cannot be reached hides no backup, and a row whose file is gone
is no backup.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import PurePosixPath

import structlog

from app.archive.manifest import Manifest, parse_manifest
from app.domain.backup import Backup, Codec, Origin, State, Tier
from app.domain.ports import StoredFile
from app.errors import BackupNotFoundError, CatalogError, ManifestError
from app.operations.lineage import ours
from app.operations.service import Service

MISSING = "the file is missing"
# A safety backup holds what somebody wanted to get away from, and a full one is no plain SQL: only their own aliases
# mean one.
_UNMEANT = (Tier.SAFETY, Tier.FULL)
ALIASES = ("latest", *(f"latest-{tier}" for tier in Tier), "oldest")
log = structlog.get_logger(__name__)


def inventory(service: Service) -> list[Backup]:
    """All backups, newest first. Rows without a file are in it too, as damaged."""
    rows = {row.file: row for row in _rows(service)}
    found = [_known(stored, rows.pop(stored.file, None), service) for stored in service.tree.files()]
    # Where two trees share a catalog, the other's rows speak of files that never were in this one.
    gone = ours(service, [replace(row, damage=MISSING) for row in rows.values()])
    return sorted([*found, *gone], key=lambda backup: (backup.created_at, backup.id), reverse=True)


def newest_good(service: Service) -> Backup | None:
    """The newest sound backup of this database, as plain SQL, that this service made."""
    own = (each for each in ours(service, inventory(service)) if each.origin is Origin.DUMP)
    return next((each for each in own if each.good and each.tier is not Tier.FULL), None)


def find(service: Service, name: str) -> Backup:
    """The backup of an id, of a path in the tree, or of an alias.

    Raises:
        BackupNotFoundError: there is none.
    """
    if not isinstance(name, str):  # a task's argument may be anything
        raise BackupNotFoundError(f"no such backup: {name!r}", "name it by its id, or by an alias such as latest")
    backups = [each for each in inventory(service) if each.damage != MISSING and each.state is State.COMPLETE]
    if name in ALIASES:
        tier = name.removeprefix("latest-") if name.startswith("latest-") else None
        candidates = [
            each for each in ours(service, backups) if (each.tier == tier if tier else each.tier not in _UNMEANT)
        ]
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
        period=stored.period,
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
    """What is known of a file: its manifest's word, and what the catalog remembers of these very bytes."""
    manifest = manifest_of(stored)
    if manifest is None:
        return unindexed(stored, service.database) if row is None else _unproven(stored, row)
    backup = manifest.to_backup(stored.id, stored.file)
    if row is not None and row.sha256 == backup.sha256:
        backup = replace(row, kept=manifest.kept)
    return replace(backup, damage=backup.damage or _wrong_size(stored, backup.bytes))


def _unproven(stored: StoredFile, row: Backup) -> Backup:
    """What the catalog says of a file that lost its manifest: until `sync` heals it, nothing proves it to be ours."""
    return replace(row, origin=Origin.SCAN, damage=row.damage or _wrong_size(stored, row.bytes))


def _wrong_size(stored: StoredFile, wanted: int) -> str | None:
    return None if stored.size == wanted else f"the file has {stored.size} bytes instead of {wanted}"


def manifest_of(stored: StoredFile) -> Manifest | None:
    """The manifest beside a file, or None, with a warning, where it cannot be used."""
    if stored.manifest is None:
        return None
    try:
        return parse_manifest(stored.manifest, f"{stored.file}.json")
    except ManifestError as error:
        log.warning("backup manifest not usable", backup=stored.id, error=type(error).__name__, reason=error.message)
        return None


def _rows(service: Service) -> list[Backup]:
    try:
        return list(service.catalog.backups(service.database))
    except CatalogError as error:
        log.warning("backup catalog not readable, going by the files", error="CatalogError", reason=error.message)
        return []
