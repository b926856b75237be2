"""Reads backups back and compares them with their manifests; needs no server."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime

from app.archive.manifest import Manifest
from app.domain.backup import Backup, Origin
from app.domain.doubts import in_short, lacking_in_short
from app.domain.events import BackupEvent
from app.errors import (
    BackupError,
    BackupNotFoundError,
    BackupReadError,
    BackupValidationError,
    CatalogError,
    DiskReadError,
    ManifestError,
)
from app.operations.backups.inventory import find, inventory
from app.operations.backups.opened import (
    OpenBackup,
    PrunedMeanwhileError,
    ReplacedMeanwhileError,
    each_look,
    manifest_in,
    opened,
)
from app.operations.ending import VerbEnding
from app.operations.formats import format_in
from app.operations.service import SILENT, Progress, Service
from app.ports.events import Event, failure
from app.ports.tree import Tree


@dataclass(slots=True)
class VerifyResult:
    """Which backups are right, and what is wrong with the others."""

    verified: list[Backup] = field(default_factory=list)
    failed: list[tuple[Backup, BackupError]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def verify(service: Service, name: str | None = None, progress: Progress = SILENT) -> VerifyResult:
    """Verify one backup, or all.

    Args:
        service: the parts.
        name: an id or alias; None means all.
        progress: called with the number of bytes read.

    Raises:
        BackupNotFoundError: there is none of that name.
    """
    outcome = VerifyResult()
    with VerbEnding(service.events, BackupEvent.VERIFICATION_FAILED, "the verification was cancelled"):
        chosen = inventory(service) if name is None else [find(service, name)]
        progress.start("verify", sum(backup.bytes for backup in chosen))
        for backup in chosen:
            _verify_one(service, backup, progress, outcome, asked_for=name is not None)
    return outcome


def read_manifest(tree: Tree, backup: Backup) -> Manifest:
    """The manifest of a backup.

    Raises:
        ManifestError: it is missing, corrupt or of a newer version.
    """
    return manifest_in(tree.read_manifest(backup.file), backup)


def verify_opened(found: OpenBackup, progress: Progress, outcome: VerifyResult, parsed: Manifest | None = None) -> None:
    """Compare an open file with its manifest, and remember what was found of these bytes.

    Args:
        found: the file.
        progress: called with the number of bytes read.
        outcome: what was found is added to it.
        parsed: the manifest, if it was parsed already.

    Raises:
        ReplacedMeanwhileError: they are not the backup any more; nothing was remembered.
    """
    backup, failure = found.backup, None
    try:
        manifest = parsed or found.manifest()
        origin = Origin.SCAN if backup.origin is Origin.SCAN else manifest.origin  # it was found, whatever it says
        backup = replace(manifest.to_backup(backup.id, backup.file), origin=origin)
        format_in(manifest).verify(found.stream, manifest, progress)
    except BackupError as error:
        failure = error
    found.require_still()
    _note(found.service, backup, failure, outcome)


def note_damage(service: Service, backup: Backup, error: BackupError) -> None:
    """Tell of damage that was found while a backup was read, and remember it."""
    _note(service, backup, error, VerifyResult())


def _verify_one(
    service: Service, listed: Backup, progress: Progress, outcome: VerifyResult, *, asked_for: bool
) -> None:
    """Verify one; if it is replaced meanwhile, the new one. One that is pruned is left out, unless it was named."""
    try:
        for backup in each_look(service, listed):
            try:
                with opened(service, backup) as found:
                    return verify_opened(found, progress, outcome)
            except (ReplacedMeanwhileError, BackupNotFoundError):
                continue
    except PrunedMeanwhileError as error:
        if asked_for:
            outcome.failed.append((listed, error))
    except BackupError as error:
        _note(service, listed, error, outcome)


def _note(service: Service, backup: Backup, error: BackupError | None, outcome: VerifyResult) -> None:
    if error is None:
        outcome.verified.append(backup)
        service.events.emit(Event(BackupEvent.VERIFIED, backup=backup.id, figures={"bytes": backup.bytes}))
        if backup.doubts:
            summary = in_short(backup.doubts)
            outcome.warnings.append(f"{backup.id} {summary}; what mends it: residency-backup show {backup.id}")
            service.events.emit(Event(BackupEvent.DOUBTFUL, backup=backup.id, reason=summary))
        if backup.lacking:
            summary = lacking_in_short(backup.lacking)
            outcome.warnings.append(f"{backup.id} {summary}")
            service.events.emit(Event(BackupEvent.LACKING, backup=backup.id, reason=summary))
        _remember(service, backup, service.clock(), None, outcome)
        return
    outcome.failed.append((backup, error))
    service.events.emit(failure(BackupEvent.NOT_VERIFIED, error, backup=backup.id))
    if _is_damage(error):
        _remember(service, backup, None, error.message, outcome)


def _is_damage(error: BackupError) -> bool:
    """Whether the file's bytes are damaged. A manifest can be rebuilt, and an error of a disk may pass."""
    passing = isinstance(error, ManifestError | DiskReadError | ReplacedMeanwhileError)
    return isinstance(error, BackupReadError | BackupValidationError) and not passing


def _remember(
    service: Service, backup: Backup, verified_at: datetime | None, problem: str | None, outcome: VerifyResult
) -> None:
    try:
        service.catalog.record_check(backup, verified_at, problem)
    except CatalogError as error:
        outcome.warnings.append(f"{backup.id}: catalog not saved: {error.message}")
        service.events.emit(failure(BackupEvent.CATALOG_NOT_SAVED, error, backup=backup.id))


def require_all(outcome: VerifyResult) -> None:
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
