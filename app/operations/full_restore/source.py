"""Finds the backup that `restore-full` unpacks: one of the tree, or a file anywhere, which takes no settings."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

from app.archive.manifest import Manifest, parse_manifest
from app.archive.open_file import OpenFile
from app.domain.backup import Tier, extensions_of
from app.domain.events import RestoreEvent
from app.errors import (
    BackupNotFoundError,
    BackupPermissionError,
    ManifestError,
    RestoreValidationError,
)
from app.operations.backups.inventory import codec_of, find
from app.operations.backups.opened import ReplacedMeanwhileError, each_look, opened, replaced_meanwhile
from app.operations.full_restore.run import FullSource
from app.operations.given_file import open_plain
from app.operations.service import Service
from app.ports.events import Events, failure


def full_from_file(path: Path, events: Events) -> FullSource:
    """The file at that path, and the manifest beside it.

    Raises:
        RestoreValidationError: it is not named like a full backup, or is no regular file.
        BackupPermissionError, DiskReadError: it cannot be read.
    """
    path = path.absolute()
    if not path.name.endswith(extensions_of(Tier.FULL)):
        wanted = " or ".join(extensions_of(Tier.FULL))
        message = f"{path} is no full backup: a {wanted} is wanted"
        raise RestoreValidationError(message, "to list what there is: residency-backup list")
    with open_plain(path) as stream:
        size = os.fstat(stream.fileno()).st_size
    beside = path.with_name(f"{path.name}.json")
    try:
        data = beside.read_bytes() if beside.is_file() else None
    except OSError as error:
        hint = f"chmod u+r {beside}, or move it away to go by the file alone"
        raise BackupPermissionError(f"{beside} cannot be read: {error.strerror}", hint) from error
    return FullSource(
        name=str(path),
        open=partial(open_plain, path),
        codec=codec_of(path.name),
        size=size,
        manifest=_manifest(data, str(beside), events),
    )


def full_from_tree(service: Service, name: str) -> FullSource:
    """The full backup of an id or alias.

    Raises:
        BackupNotFoundError: there is none.
        RestoreValidationError: it is a backup of another kind.
    """
    backup = find(service, name)
    if backup.tier is not Tier.FULL:
        raise RestoreValidationError(
            f"{backup.id} is a plain dump of a database, not a full backup",
            f"restore it into the server: residency-backup restore {backup.id} --mode replace",
        )
    for now in each_look(service, backup):
        try:
            with opened(service, now) as found:
                held = OpenFile(found.stream)
                return FullSource(
                    name=now.id,
                    open=held.open,
                    codec=now.codec,
                    size=held.size,
                    manifest=_manifest(found.data, f"{now.file}.json", service.events),
                )
        except (ReplacedMeanwhileError, BackupNotFoundError):
            continue
    raise replaced_meanwhile(backup)


def _manifest(data: bytes | None, name: str, events: Events) -> Manifest | None:
    """The manifest; None, with a warning, if it cannot be used: PostgreSQL's data has a manifest of its own."""
    if data is None:
        return None
    try:
        manifest = parse_manifest(data, name)
    except ManifestError as error:
        events.emit(failure(RestoreEvent.BY_FILE, error))
        return None
    return manifest if manifest.full is not None else None


def no_such(name: str) -> BackupNotFoundError:
    """The error for a path that does not exist."""
    return BackupNotFoundError(f"there is no file {name}", "to list what there is: residency-backup list")
