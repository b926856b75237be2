"""Opens a backup's file together with its manifest, although other runs replace and remove both meanwhile.

A run publishes in steps: it removes the earlier manifest, renames the file, renames the manifest. A reader that opens
one by its name and then the other may get parts of two backups, and report damage that is none.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import BinaryIO

from app.archive.manifest import Manifest, parse_manifest
from app.domain.backup import Backup, BackupState
from app.domain.events import BackupEvent
from app.errors import BackupNotFoundError, BackupReadError, CatalogError, ManifestError
from app.operations.backups.inventory import MISSING, inventory
from app.operations.service import Service
from app.ports.events import Event, failure
from app.ports.tree import ListedFile, Tree

LOOKS = 5  # at a backup that is replaced each time: somebody makes it again and again
_PATIENCE_SECONDS = 3.0  # a publish is two renames and as many flushes of a folder
_POLL_SECONDS = 0.05
_BLOCK = 1 << 20


class ReplacedMeanwhileError(BackupReadError):
    """A backup was replaced while it was read: what was found is not of the new one."""


class PrunedMeanwhileError(BackupNotFoundError):
    """A backup was removed while it was looked at."""


@dataclass(frozen=True, slots=True)
class OpenBackup:
    """A backup's open file, and the manifest beside it, if it has one: both of one backup."""

    service: Service
    backup: Backup
    stream: BinaryIO
    data: bytes | None

    def manifest(self) -> Manifest:
        """The manifest.

        Raises:
            ManifestError: it is missing, corrupt or of a newer version.
        """
        return manifest_in(self.data, self.backup)

    def require_still(self) -> None:
        """Make sure that the file is still the backup of its name.

        Raises:
            ReplacedMeanwhileError: another one is, or none.
        """
        if not self.service.tree.is_at(self.backup.file, self.stream):
            raise replaced_meanwhile(self.backup)


@contextmanager
def opened(service: Service, backup: Backup) -> Iterator[OpenBackup]:
    """Open a backup's file together with its manifest.

    Raises:
        BackupNotFoundError: the file is gone.
        ReplacedMeanwhileError: it is replaced faster than it can be looked at.
    """
    file, tree = backup.file, service.tree
    end = time.monotonic() + _PATIENCE_SECONDS
    while True:
        with tree.open(file) as stream:
            data = tree.read_manifest(file)
            over = time.monotonic() > end
            waits = data is None and not over and _being_published(tree, file)
            if data is None and not waits:
                data = tree.read_manifest(file)  # it may have got its name since the first look
            if tree.is_at(file, stream) and not waits:
                yield OpenBackup(service, backup, stream, data)
                return
        if over:
            raise replaced_meanwhile(backup)
        time.sleep(_POLL_SECONDS)


def manifest_in(data: bytes | None, backup: Backup) -> Manifest:
    """The manifest of a backup.

    Raises:
        ManifestError: it is missing, corrupt or of a newer version.
    """
    if data is None:
        message = f"backup {backup.id} has no manifest to prove it by"
        raise ManifestError(message, "index the file: residency-backup sync; if it is whole, psql restores it as it is")
    return parse_manifest(data, f"{backup.file}.json")


def replaced_meanwhile(backup: Backup) -> ReplacedMeanwhileError:
    """The error for a backup that is not what it was a moment ago."""
    message = f"backup {backup.id} was replaced while it was read"
    return ReplacedMeanwhileError(message, f"read the new one: residency-backup verify {backup.id}")


def again(service: Service, backup: Backup) -> Backup:
    """The backup as it is now, after it was replaced or removed.

    Raises:
        PrunedMeanwhileError: it was removed.
        BackupNotFoundError: its file is gone, and the catalog does not know why.
    """
    now = next((other for other in inventory(service) if other.id == backup.id), None)
    if now is not None and now.problem != MISSING:
        service.events.emit(Event(BackupEvent.REPLACED_MEANWHILE, backup=backup.id))
        return now
    if now is not None and _is_known(service, backup):
        raise missing(backup)
    service.events.emit(Event(BackupEvent.PRUNED_MEANWHILE, backup=backup.id))
    message = f"backup {backup.id} was removed while it was looked at"
    raise PrunedMeanwhileError(message, "to list what there is: residency-backup list")


def each_look(service: Service, backup: Backup) -> Iterator[Backup]:
    """Yield the backup; then, each time the caller asks again, the backup that has replaced it.

    Raises:
        PrunedMeanwhileError, BackupNotFoundError: it is gone, as `again` says.
        ReplacedMeanwhileError: it is replaced each time.
    """
    if backup.problem == MISSING:
        backup = again(service, backup)
    for _ in range(LOOKS):
        yield backup
        backup = again(service, backup)
    raise replaced_meanwhile(backup)


def missing(backup: Backup) -> BackupNotFoundError:
    """The error for a backup whose file is gone, although this service did not remove it."""
    message = f"backup {backup.id} is in the catalog, but its file is gone"
    return BackupNotFoundError(message, "if it was removed on purpose: residency-backup sync")


def as_described(listed: Backup, manifest: Manifest) -> Backup:
    """A backup as it was listed, if the manifest is of the same bytes; else as the manifest says."""
    return listed if listed.sha256 == manifest.sha256 else manifest.to_backup(listed.id, listed.file)


def _is_known(service: Service, backup: Backup) -> bool:
    """Whether the catalog says that a backup exists: its removal would be recorded first."""
    try:
        rows = service.catalog.backups(service.database)
    except CatalogError as error:
        service.events.emit(failure(BackupEvent.CATALOG_UNREADABLE, error))
        return False
    return any(row.id == backup.id and row.state is BackupState.COMPLETE for row in rows)


def _being_published(tree: Tree, file: str) -> bool:
    """Whether a manifest waits to get its name: its run is between the two renames, or died there."""
    path = PurePosixPath(file)
    stem = path.name.partition(".")[0]
    waiting = (PurePosixPath(left) for left, _ in tree.leftovers())
    return any(
        left.parent == path.parent and left.name.startswith(f".{stem}.") and ".json." in left.name for left in waiting
    )


def holds(tree: Tree, stored: ListedFile, sha256: str) -> bool:
    """Whether a file has that SHA-256 and still has its name; False if it is gone."""
    digest = hashlib.sha256()
    try:
        with tree.open(stored.file) as stream:
            while block := stream.read(_BLOCK):
                digest.update(block)
            return tree.is_at(stored.file, stream) and digest.hexdigest() == sha256
    except BackupNotFoundError:
        return False


def described(service: Service, backup: Backup) -> tuple[Backup, Manifest]:
    """A backup as it is now, with its manifest.

    Raises:
        BackupNotFoundError: it is gone.
        ManifestError: it has none that can be used.
    """
    for now in each_look(service, backup):
        try:
            with opened(service, now) as found:
                manifest = found.manifest()
                return as_described(now, manifest), manifest
        except (ReplacedMeanwhileError, BackupNotFoundError):
            continue
    raise replaced_meanwhile(backup)
