"""Removes temporary files of runs that died, and gives the manifests that they left their names."""

from __future__ import annotations

import time
from collections.abc import Sequence

from app.archive.manifest import parse_manifest
from app.domain.backup import Tier, extensions_of
from app.domain.events import BackupEvent
from app.errors import BackupError, ManifestError
from app.operations.backups.opened import holds
from app.operations.service import Service
from app.ports.events import Event, Events, failure
from app.ports.tree import ListedFile, StoredFile, Tree

_LOOK_SECONDS = 1.0


def await_signs(service: Service) -> None:
    """Wait for a heartbeat of holders on other machines, or until they count as dead and their files can be removed.

    That is some seconds for one that lives, and a minute and a half at most.
    """
    left = service.catalog.doubtful_for(service.clock())
    end = time.monotonic() + left.total_seconds()
    if left:
        figures = {"seconds": round(left.total_seconds())}
        service.events.emit(Event(BackupEvent.REPAIR_WAITS, figures=figures))
    while left and time.monotonic() < end:
        time.sleep(min(left.total_seconds(), _LOOK_SECONDS))
        before, left = left, service.catalog.doubtful_for(service.clock())
        if left > before:
            return


def find_leftovers(service: Service) -> list[str]:
    """Temporary files of runs that are not under way, as paths in the tree.

    Runs whose processes are dead are ended first, so that their files are among them.
    """
    for run in service.catalog.abandon_dead(service.clock()):
        service.events.emit(Event(BackupEvent.RUN_ABANDONED, tier=run.tier, figures={"run": run.id}))
    alive = {run.id for run in service.catalog.running()}
    return [file for file, run_id in service.tree.leftovers() if run_id not in alive]


def remove_leftovers(service: Service) -> list[str]:
    """Remove them; returns what was removed."""
    removed = []
    for file in find_leftovers(service):
        try:
            _adopt(service.tree, service.events, file)
        except BackupError as error:  # the manifest may be a backup's only proof: it stays for the next look
            service.events.emit(failure(BackupEvent.MANIFEST_NOT_PLACED, error, file=file))
            continue
        service.tree.remove_leftover(file)
        removed.append(file)
        service.events.emit(Event(BackupEvent.LEFTOVER_REMOVED, figures={"file": file}))
    return removed


def adopt_manifests(service: Service, files: Sequence[ListedFile]) -> list[str]:
    """Put the manifests in their places whose runs died before they could; returns the backups' ids.

    Args:
        service: the parts.
        files: of the tree, as a look a moment ago found them.
    """
    if not any(stored.waiting for stored in files):
        return []
    adopted = []
    for file in find_leftovers(service):
        try:
            backup_id = _adopt(service.tree, service.events, file)
        except BackupError as error:
            service.events.emit(failure(BackupEvent.MANIFEST_NOT_PLACED, error, file=file))
            continue
        if backup_id is not None:
            adopted.append(backup_id)
    return adopted


def _adopt(tree: Tree, events: Events, leftover: str) -> str | None:
    """Give a manifest its name if a run died between the renames of its file and its manifest.

    Only the file's SHA-256 tells whether the manifest is of this file, or of one that the run had not renamed yet.
    """
    folder, _, name = leftover.rpartition("/")
    archive, json, _ = name.removeprefix(".").rpartition(".json.")
    if not json:
        return None
    candidates = _bare_files(tree, folder, archive)
    if not candidates:
        return None
    with tree.open(leftover) as stream:
        content = stream.read()
    try:
        manifest = parse_manifest(content, leftover)
    except ManifestError:
        return None  # it was cut off; the archive waits for `sync`
    for stored in candidates:
        if manifest.bytes == stored.size and holds(tree, stored, manifest.sha256):
            tree.write_manifest(stored.file, content, stored)
            events.emit(Event(BackupEvent.MANIFEST_PLACED, backup=stored.id))
            return stored.id
    return None


def _bare_files(tree: Tree, folder: str, name: str) -> list[StoredFile]:
    """The files of a tier without a manifest that have this name, with or without their extensions."""
    names = (name + extension for extension in ("", *extensions_of(Tier(folder))))
    found = (tree.look(f"{folder}/{file}") for file in names)
    return [stored for stored in found if stored is not None and stored.stamp is None]
