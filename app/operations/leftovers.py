"""Removes what runs that died have left, and finishes what they had all but done."""

from __future__ import annotations

import hashlib

import structlog

from app.archive.manifest import parse_manifest
from app.domain.ports import StoredFile
from app.errors import ManifestError
from app.operations.service import Service

_BLOCK = 1 << 20
log = structlog.get_logger(__name__)


def find_leftovers(service: Service) -> list[str]:
    """Temporary files of runs that are not under way, as paths in the tree.

    Runs whose holders are dead are ended first, so that theirs count.
    """
    for run in service.catalog.abandon_dead(service.clock()):
        log.warning("backup run abandoned: its process is gone", run=run.id, tier=str(run.tier))
    alive = {run.id for run in service.catalog.running()}
    return [file for file, run_id in service.tree.leftovers() if run_id not in alive]


def remove_leftovers(service: Service) -> list[str]:
    """Remove them; returns what was removed."""
    found = find_leftovers(service)
    for file in found:
        _adopt(service, file)
        service.tree.remove_leftover(file)
        log.info("backup leftover removed", file=file)
    return found


def _adopt(service: Service, leftover: str) -> None:
    """Put a manifest in its place where a run died between naming its file and naming its manifest."""
    folder, _, name = leftover.rpartition("/")
    archive, json, _ = name.removeprefix(".").rpartition(".json.")
    bare = (each for each in service.tree.files() if each.manifest is None and each.problem is None)
    stored = next((each for each in bare if json and each.file == f"{folder}/{archive}"), None)
    if stored is None:
        return
    with service.tree.open(leftover) as stream:
        content = stream.read()
    try:
        manifest = parse_manifest(content, leftover)
    except ManifestError:
        return  # it was cut off; the archive waits for `sync`
    if manifest.bytes == stored.size and manifest.sha256 == _sha256(service, stored):
        service.tree.write_manifest(stored.file, content, stored)
        log.info("backup manifest put in its place", backup=stored.id)


def _sha256(service: Service, stored: StoredFile) -> str:
    digest = hashlib.sha256()
    with service.tree.open(stored.file) as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
