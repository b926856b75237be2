"""Who else may write into the folder of backups, and which files there were not made by this service."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from app.domain.checks import Finding
from app.operations.backups.found import UNKNOWN
from app.operations.backups.inventory import Inventory
from app.operations.restore.source import RestoreSource
from app.operations.service import Service
from app.ports.tree import Tree

_MOST = 10


def check_access(service: Service, backups: Inventory) -> list[Finding]:
    """Check the rights on the tree, and name the files in it that were found."""
    findings = [*_writers(service.tree, None), *_found(service, backups)]
    return findings or [Finding.ok("access", "nobody else may write the backups")]


def access_findings(service: Service, source: RestoreSource, backups: Inventory) -> list[Finding]:
    """The same for the backup that is restored: whoever can write it decides what the restoring role runs."""
    if source.backup is None:
        return []
    file = source.backup.file
    findings = [*_writers(service.tree, file)]
    if reason := backups.found.get(file):
        message = f"{source.name} was found, and not made here: {reason}; its statements run as the restoring role"
        findings.append(Finding.warning("access", message))
    return findings


def _writers(tree: Tree, file: str | None) -> Iterator[Finding]:
    writers = tree.other_writers(file)
    for path, who in writers[:_MOST]:
        message = f"{path} can be written by {who}, who can so plant or change a backup"
        yield Finding.warning("access", f"{message}: chmod go-w {shlex.quote(str(path))}, or chown it")
    if len(writers) > _MOST:
        message = f"{len(writers) - _MOST} more files or folders can be written by others"
        yield Finding.warning("access", f"{message}: chmod -R go-w {shlex.quote(str(tree))}")


def _found(service: Service, backups: Inventory) -> Iterator[Finding]:
    for file, reason in backups.found.items():
        message = f"found {file}: {reason}; it is no 'latest', and neither counted nor pruned"
        command = "residency-backup sync" if reason == UNKNOWN else _take_over(service.tree, file)
        yield Finding.warning("access", f"{message}; if it is yours: {command}")


def _take_over(tree: Tree, file: str) -> str:
    """The command that gives a file and its manifest to the owner of the folder."""
    root = shlex.quote(str(tree))
    path = tree.location(file)
    return f"chown --reference={root} {shlex.quote(path)} {shlex.quote(f'{path}.json')}; residency-backup sync"
