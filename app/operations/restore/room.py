"""Whether the disks have room for a restore: for its safety backup, and for what the server builds."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from app.domain.backup import ENDLESS
from app.domain.checks import Finding
from app.errors import BackupStorageError, ResidencyBackupError, RestoreStorageError
from app.operations.backup.space import MEGABYTE, forecast, shortage
from app.operations.backups.inventory import newest_verified
from app.operations.options import Options
from app.operations.restore.job import Job
from app.operations.restore.migration import SHRINKS
from app.ports.tree import Tree

_DISK, _SERVER_DISK = "disk", "disk of the server"
_FREE_SPACE = "free space there; nothing was changed"


def room_findings(job: Job) -> Iterator[Finding]:
    """The room on the disk of the tree and, if it is known and another one, on the server's."""
    service, source, live = job.service, job.source, job.facts.live
    safety = 0
    # Which tables the restore of chosen ones can change is not known yet: their safety backup looks for room itself.
    if job.takes_safety and live is not None and not job.request.of_chosen_tables:
        safety = forecast(live.size, service.options.codec, newest_verified(service, job.backups))
    # A merge puts the backup's rows beside the live ones, without indexes.
    building = _rows_beside(job) if job.request.by_rows else source.size
    copy = 0
    if job.migration:  # the scratch database is gone before the rows are put there
        building, copy = max(building, source.size), source.archive.index.raw_bytes // SHRINKS
    folder = job.facts.data_folder
    together = folder is not None and _same_disk(folder, service.tree.root)
    yield _tree_room(service.tree, service.options, safety + copy + (building if together else 0))
    if folder is not None and not together:
        yield _server_room(folder, building)


def _rows_beside(job: Job) -> int:
    """Bytes of the rows that are put beside the live ones: of the chosen tables, if they are all, and are known."""
    merge, index = job.request.merge, job.source.archive.index
    chosen = [
        part.raw_bytes for part in index.segments if part.table and {str(part.table), part.table.name} & {*merge.tables}
    ]
    return sum(chosen) if chosen and not (merge.dependents or merge.parents) else index.raw_bytes


def room_error(error: BackupStorageError) -> RestoreStorageError:
    """The error of a restore whose disk filled up."""
    return RestoreStorageError(f"{error.message}; the live database is as before", error.hint)


def _tree_room(tree: Tree, options: Options, expected: int) -> Finding:
    try:
        free = tree.free_bytes()
    except ResidencyBackupError as error:
        return Finding.failed(_DISK, error)
    what = "this restore and its safety backup"
    if lacks := shortage(tree.root, free, expected, what, options.min_free_bytes):
        return Finding.failed(_DISK, RestoreStorageError(lacks, _FREE_SPACE))
    return Finding.ok(_DISK, _enough(free, expected))


def _server_room(folder: Path, expected: int) -> Finding:
    try:
        space = shutil.disk_usage(folder)
        free = space.free if space.total else ENDLESS
    except OSError as error:
        return Finding.warning(_SERVER_DISK, f"the free space of {folder} is not known: {error.strerror}")
    if lacks := shortage(folder, free, expected, "the server"):
        return Finding.failed(_SERVER_DISK, RestoreStorageError(lacks, _FREE_SPACE))
    return Finding.ok(_SERVER_DISK, _enough(free, expected))


def _enough(free: int, expected: int) -> str:
    available = "the file system does not tell what is" if free == ENDLESS else f"{free // MEGABYTE} MB"
    return f"{available} free, about {expected // MEGABYTE} MB wanted"


def _same_disk(one: Path, other: Path) -> bool:
    try:
        return os.stat(one).st_dev == os.stat(other).st_dev  # noqa: PTH116 -- of folders that are not ours
    except OSError:
        return False
