"""Unpacks a full backup into an empty folder, checks it, and says what to start. No running server is touched.

    unpack into a temporary folder beside the target -> compare with the manifest -> pg_verifybackup -> rename

The target gets its name only after the checks: if anything fails, no part of the backup is there.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from app.archive.manifest import Manifest
from app.archive.tar.layout import POSTGRES
from app.archive.tar.reader import TarReader, require_equal, shown, tar_index_of
from app.archive.tar.unpack import Unpacker
from app.domain.backup import ENDLESS, Codec
from app.domain.events import EventName, RestoreEvent
from app.errors import (
    BackupReadError,
    BackupValidationError,
    DiskReadError,
    RestoreError,
    RestorePermissionError,
    RestoreStorageError,
    RestoreValidationError,
)
from app.operations.backup.space import shortage
from app.operations.ending import Ending
from app.operations.service import SILENT, Progress
from app.ports.events import Event, Events, failure

_EMPTY = "name a folder that is missing or empty"
_OTHER = "use another backup: residency-backup list"


@dataclass(frozen=True, slots=True, kw_only=True)
class FullSource:
    """The file of a full backup, and its manifest if it has one."""

    name: str
    open: Callable[[], BinaryIO]
    codec: Codec
    size: int
    manifest: Manifest | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FullRestoreOutcome:
    """A full backup that is unpacked and checked.

    Attributes:
        verified_by: version of pg_verifybackup, which compared the data folder with PostgreSQL's own manifest.
        paths: the folders beside the server, at their places under the target.
        owners_kept: whether the files in them have their owners again.
        start: the argument list that starts a server on the data folder.
    """

    source: FullSource
    target: Path
    verified_by: str
    paths: tuple[Path, ...]
    owners_kept: bool
    start: Sequence[str]
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class DataFolderTools:
    """PostgreSQL's own programs for a data folder.

    Attributes:
        verify: runs pg_verifybackup on a folder; returns its version.
        start: the argument list that starts a server on a folder.
    """

    verify: Callable[[Path], str]
    start: Callable[[Path], Sequence[str]]


def restore_full(
    source: FullSource, target: Path, tools: DataFolderTools, events: Events, progress: Progress = SILENT
) -> FullRestoreOutcome:
    """Unpack a full backup, and check it.

    Raises:
        RestoreValidationError: the target is not empty, or the file is damaged or no full backup.
        RestorePermissionError, RestoreStorageError: the target cannot be written, or its disk is too small.
        BackupCreationError: pg_verifybackup of the server's major is not installed.
        DiskReadError: the disk cannot read the file.
    """
    target = target.resolve() if ".." in target.parts else target.absolute()
    _tell(events, RestoreEvent.FULL_STARTED, source, target)
    with FullRestoreEnding(events), _writing(target):
        _require_empty(target)
        _require_room(source, target)
        warnings = _remarks(source, target)
        with _put_together(target) as folder:
            owners_kept = _unpack(source, folder, progress)
            version = _verified(tools, folder / POSTGRES)
    _tell(events, RestoreEvent.FULL_COMPLETED, source, target, verified_by=version)
    return FullRestoreOutcome(
        source=source,
        target=target,
        verified_by=version,
        paths=_paths_in(source, target),
        owners_kept=owners_kept,
        start=tools.start(target / POSTGRES),
        warnings=warnings,
    )


class FullRestoreEnding(Ending):
    """Ends a full restore that failed; what was unpacked is removed by then."""

    def __init__(self, events: Events) -> None:
        self._events = events

    def tell(self, error: Exception) -> None:
        """Say why it failed."""
        self._events.emit(failure(RestoreEvent.FULL_FAILED, error))


def _tell(events: Events, name: EventName, source: FullSource, target: Path, **figures: object) -> None:
    events.emit(Event(name, backup=source.name, figures={"target": str(target), **figures}))


def _require_empty(target: Path) -> None:
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise RestoreValidationError(f"{target} is not a folder", _EMPTY)
    if target.is_dir() and (inside := next(target.iterdir(), None)):
        raise RestoreValidationError(f"{target} is not empty: it holds {shown(inside.name)}", _EMPTY)


def _require_room(source: FullSource, target: Path) -> None:
    wanted = source.manifest.raw_bytes if source.manifest else source.size
    place = next(path for path in (target, *target.parents) if path.exists())
    space = shutil.disk_usage(place)
    free = space.free if space.total else ENDLESS
    if lacks := shortage(place, free, wanted, "this restore"):
        raise RestoreStorageError(lacks, "name another disk")


def _remarks(source: FullSource, target: Path) -> list[str]:
    """Warnings for the user that say nothing against the backup."""
    no_manifest = f"{source.name} has no usable manifest to be proven by; the server's own record is"
    ours = re.compile(re.escape(_unfinished(target, "\0")).replace("\0", "[0-9a-f]+"))
    above = target.parent
    beside = sorted(above.iterdir()) if above.is_dir() and os.access(above, os.R_OK) else []
    leftovers = [path for path in beside if ours.fullmatch(path.name)]
    return [
        *([] if source.manifest else [no_manifest]),
        *(f"{path} was left by a run that was cut off: remove it, if no other is at work there" for path in leftovers),
    ]


def _unfinished(target: Path, number: str) -> str:
    # Not ".partial": the tree of backups removes such files if no run is under way.
    return f".{target.name}.{number}.unfinished"


@contextlib.contextmanager
def _put_together(target: Path) -> Iterator[Path]:
    """A temporary folder for a block. Its content becomes the target's if the block ends well; else it is removed.

    A target that exists is filled, not replaced: it may be a mount, or in a folder that this user may not write.
    """
    exists = target.is_dir()
    above = target if exists else target.parent
    missing = [path for path in (above, *above.parents) if not path.exists()]
    folder = above / _unfinished(target, secrets.token_hex(6))
    placed: list[Path] = []
    try:
        for path in reversed(missing):
            path.mkdir(0o755, exist_ok=True)
        folder.mkdir(0o700)
        yield folder
        os.sync()  # all of it is on the disk before it has its name
        if exists:
            for path in sorted(folder.iterdir(), key=lambda path: path.name == POSTGRES):  # the data folder is last
                placed.append(path.rename(target / path.name))  # noqa: PERF401 -- those before one that fails count
            folder.rmdir()
        else:
            placed.append(folder.rename(target))
        os.sync()
    except BaseException:
        for path in (*placed, folder):
            _remove(path)
        for path in missing:
            with contextlib.suppress(OSError):  # the first error is raised, not one of the clean-up
                path.rmdir()
        raise


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _unpack(source: FullSource, folder: Path, progress: Progress) -> bool:
    """Write all files; returns whether they have their owners again."""
    progress.start("unpack", source.size)
    unpacker = Unpacker(folder)
    wanted = None if source.manifest is None else tar_index_of(source.manifest)
    try:
        with source.open() as stream:
            reader = TarReader(stream, source.codec, progress.advance, wanted)
            for entry, content in reader.entries():
                unpacker.add(entry, content)
            found = reader.finish()
        if wanted is not None:
            require_equal(found, wanted)
    except DiskReadError:
        raise  # it may be transient, and says nothing of the backup
    except (BackupReadError, BackupValidationError) as error:
        raise RestoreValidationError(f"{source.name} does not verify: {error.message}", _OTHER) from error
    unpacker.finish()
    if not (folder / POSTGRES).is_dir():
        raise RestoreValidationError(f"{source.name} is no full backup: it holds no folder {POSTGRES}", _OTHER)
    return unpacker.owners_kept


def _verified(tools: DataFolderTools, folder: Path) -> str:
    try:
        return tools.verify(folder)
    except (BackupReadError, BackupValidationError) as error:
        raise RestoreValidationError(error.message, error.hint) from error


def _paths_in(source: FullSource, target: Path) -> tuple[Path, ...]:
    paths = source.manifest.full.paths if source.manifest and source.manifest.full else ()
    return tuple(target / f"paths{path}" for path in paths)


@contextlib.contextmanager
def _writing(target: Path) -> Iterator[None]:
    """Turn errors of the operating system, in a block that writes, into errors of a restore."""
    try:
        yield
    except OSError as error:
        place, reason = error.filename or target, error.strerror or str(error)
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            message = f"{place}: {reason}: this process runs as uid {os.geteuid()}"
            raise RestorePermissionError(message, "let this user write there, or name another folder") from error
        if error.errno in (errno.ENAMETOOLONG, errno.ENOTDIR, errno.ELOOP, errno.EINVAL):
            raise RestoreValidationError(f"{shown(str(target))} cannot be made: {reason}", _EMPTY) from error
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise RestoreStorageError(f"{place}: {reason}", "name a folder on another disk") from error
        raise RestoreError(f"{place} cannot be written: {reason}", "look at the disk that holds it") from error
