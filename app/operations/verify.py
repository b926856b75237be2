"""Reads backups back and compares them with their manifests; needs no server."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

import structlog

from app.archive import reader
from app.archive.manifest import Manifest, parse_manifest
from app.archive.tarball import index_tar, require_equal, tar_index_of
from app.domain.backup import Backup
from app.errors import (
    BackupError,
    BackupNotFoundError,
    BackupReadError,
    BackupValidationError,
    CatalogError,
    DiskReadError,
    ManifestError,
)
from app.operations.inventory import MISSING, find, inventory
from app.operations.service import SILENT, Progress, Service

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Verified:
    """Which backups are right, and what is wrong with the others."""

    verified: list[Backup] = field(default_factory=list)
    failed: list[tuple[Backup, BackupError]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def verify(service: Service, name: str | None = None, progress: Progress = SILENT) -> Verified:
    """Verify one backup, or all.

    Args:
        service: the parts.
        name: an id or alias; None means all.
        progress: told of the bytes read.

    Raises:
        BackupNotFoundError: there is none of that name.
    """
    chosen = inventory(service) if name is None else [find(service, name)]
    outcome = Verified()
    progress.start("verify", sum(backup.bytes for backup in chosen))
    for backup in chosen:
        _verify_one(service, backup, progress, outcome)
    return outcome


def read_manifest(service: Service, backup: Backup) -> Manifest:
    """The manifest of a backup.

    Raises:
        ManifestError: it is missing, corrupt or of a newer version.
    """
    data = service.tree.read_manifest(backup.file)
    if data is None:
        message = f"backup {backup.id} has no manifest to prove it by"
        raise ManifestError(
            message, "run 'residency-backup sync' to index the file; if it is whole, it stays usable as it is"
        )
    return parse_manifest(data, f"{backup.file}.json")


def _verify_one(service: Service, backup: Backup, progress: Progress, outcome: Verified) -> None:
    try:
        _check(service, backup, progress)
    except BackupError as error:
        outcome.failed.append((backup, error))
        facts = {"error": type(error).__name__, "reason": error.message, "hint": error.hint}
        log.error("backup not verified", backup=backup.id, **facts)  # noqa: TRY400 -- a finding, no crash: no stack
        if _is_damage(error):
            _remember(service, backup, None, error.message, outcome)
    else:
        outcome.verified.append(backup)
        log.info("backup verified", backup=backup.id, bytes=backup.bytes)
        _remember(service, backup, service.clock(), None, outcome)


def _check(service: Service, backup: Backup, progress: Progress) -> None:
    if backup.damage == MISSING:
        message = f"backup {backup.id} is in the catalog, but its file is gone"
        raise BackupNotFoundError(message, "run 'residency-backup sync' if that is as it should be")
    manifest = read_manifest(service, backup)
    with service.tree.open(backup.file) as stream:
        if manifest.full is None:
            reader.verify(stream, manifest.index, manifest.codec, progress.advance)
        else:
            require_equal(index_tar(stream, manifest.codec, progress.advance), tar_index_of(manifest))


def _is_damage(error: BackupError) -> bool:
    """Whether an error tells of the file's bytes. A manifest can be rebuilt, and what a disk refuses may pass."""
    passing = isinstance(error, ManifestError | DiskReadError)
    return isinstance(error, BackupReadError | BackupValidationError) and not passing


def _remember(
    service: Service, backup: Backup, verified_at: datetime | None, damage: str | None, outcome: Verified
) -> None:
    try:
        service.catalog.record_check(backup, verified_at, damage)
    except CatalogError as error:
        outcome.warnings.append(f"{backup.id}: catalog not saved: {error.message}")
        log.warning("backup catalog not saved", backup=backup.id, error="CatalogError", reason=error.message)


def require_all(outcome: Verified) -> None:
    """Raise when anything failed.

    Raises:
        BackupError: the one error, or a BackupValidationError that names all damaged backups.
    """
    if not outcome.failed:
        return
    if len(outcome.failed) == 1:
        raise outcome.failed[0][1]
    listed = "; ".join(f"{backup.id}: {error.message}" for backup, error in outcome.failed)
    hint = "restore from another backup; take a new one now: residency-backup create manual"
    raise BackupValidationError(f"{len(outcome.failed)} backups are damaged: {listed}", hint)
