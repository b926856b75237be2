"""The ports that operations work through, as contracts. Nobody has to inherit from them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import BinaryIO, Protocol

from app.domain.backup import Backup, Tier
from app.domain.restore import Restore
from app.domain.servers import ANY, Identity, Lineage
from app.domain.slots import Slot, SlotRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One attempt at a backup, as the catalog records it.

    Attributes:
        id: random, 12 hexadecimal digits; part of the temporary file's name.
        slot: the due run that it serves; None for one that an admin asked for.
        heartbeat_at: the last sign of life of whoever holds it.
        server: the server and database that it is of.
    """

    id: str
    database: str
    tier: Tier
    slot: Slot | None
    started_at: datetime
    heartbeat_at: datetime
    server: Identity = ANY


class Catalog(Protocol):
    """The record of runs, slots and backups. All times are aware; every method is one transaction.

    Every method may raise CatalogError: it cannot be reached, read or written.
    """

    def claim(self, database: str, tier: Tier, slot: Slot | None, now: datetime, server: Identity = ANY) -> Run | None:
        """Begin a run; at most one of a tier is under way for a database. A slot of another server was not run here.

        A run whose holder is dead (its process is gone, or it gave no sign of life for long enough) is abandoned first:
        it counts as failed for a passing reason, and so does its slot.

        Returns:
            The run, held by this process; or None where the slot is being run or was, or may not be tried again yet.

        Raises:
            BackupRunningError: a living run of the tier is under way.
        """

    def heartbeat(self, run: Run, now: datetime) -> bool:
        """Give a sign of life. False when the run is no longer this process's: it must stop and leave no trace."""

    def complete(self, run: Run, backup: Backup, now: datetime) -> None:
        """End a run well: the backup is saved (replacing a row of its id), and the slot is done."""

    def fail(self, run: Run, error: Exception, now: datetime, *, transient: bool) -> None:
        """End a run badly. The slot becomes free for a retry where `transient`. A run already ended stays as it is."""

    def abandon_dead(self, now: datetime) -> Sequence[Run]:
        """End, and return, all runs whose holders are dead."""

    def doubtful_for(self, now: datetime) -> timedelta:
        """How long until each holder (of a run or restore) out of sight is dead, unless it gives a sign of life."""

    def may_have_made(self, database: str, tier: Tier, backup_id: str, at: datetime) -> bool:
        """Whether a run that is recorded may have made a backup at that instant; also if the record is younger."""

    def running(self, database: str | None = None) -> Sequence[Run]:
        """Runs under way, of one database or of all, oldest first, dead or alive."""

    def slot(self, database: str, tier: Tier, period: str, server: Identity = ANY) -> SlotRecord | None:
        """What became of a slot; None where it was never run, or only on another server."""

    def first_slot_due(self, database: str, tier: Tier) -> datetime | None:
        """When the first slot of the tier that is recorded came due; None where none is."""

    def pass_slot(self, database: str, slot: Slot, now: datetime) -> None:
        """Record that a slot was not missed by anybody. Does nothing where the slot is recorded already."""

    def forget_slots(self, database: str, after: datetime) -> None:
        """Forget the slots that come due after an instant: nobody can have run them."""

    def backups(self, database: str) -> Sequence[Backup]:
        """All backups, newest first by `created_at`, those in state DELETING too."""

    def save(self, backup: Backup) -> None:
        """Insert the backup, or replace the row of the same database and id."""

    def record_check(self, backup: Backup, verified_at: datetime | None, damage: str | None) -> None:
        """Record what a look at a backup's bytes found; nothing else of the row changes.

        Does nothing where the row is gone, or is of other bytes (another SHA-256) by now.
        """

    def pin(self, database: str, backup_id: str, reason: str | None) -> None:
        """Record a pin, or with None its release; nothing else of the row changes. Does nothing where there is none."""

    def forget(self, database: str, backup_id: str) -> None:
        """Remove a row. Does nothing where there is none."""


class Restores(Protocol):
    """The record of restores. All times are aware; every method is one transaction, and may raise CatalogError."""

    def begin_restore(self, restore: Restore) -> None:
        """Record a restore that this process begins; at most one is under way for a live database.

        Raises:
            RestoreRunningError: a restore of the database is under way, or left by a process that died and not settled
                yet (the message says which, and that `check --repair` settles it), or the request's key is known
                already: a message delivered twice.
        """

    def beat_restore(self, restore: Restore, now: datetime) -> bool:
        """Give a sign of life. False when the restore is no longer this process's."""

    def save_restore(self, restore: Restore) -> None:
        """Record where a restore of this process stands, or how it ended.

        A sign of life given since is not taken back.

        Raises:
            RestoreError: it is no longer this process's: it was taken for dead and settled by another.
        """

    def settle_restore(self, restore: Restore, was: Restore) -> bool:
        """Record what became of a restore, whoever held it. False where it does not stand as `was` any more.

        A record that is RUNNING, for a rollback begins, is this process's from then on.

        Raises:
            RestoreRunningError: it is to run, and another restore of the database is under way.
        """

    def restore(self, restore_id: str) -> Restore | None:
        """The restore of an id; None where there is none."""

    def restores(self, database: str) -> Sequence[Restore]:
        """All restores of a live database, newest first."""

    def dead_restores(self, database: str, now: datetime) -> Sequence[Restore]:
        """Those under way whose holders are dead: nobody ends them but `check --repair` or a rollback."""


@dataclass(frozen=True, slots=True)
class StoredFile:
    """An archive found in the tree.

    Attributes:
        file: its path relative to the root.
        period: the one that its name stands for.
        manifest: what stands beside it; None where nothing does, or where it cannot be read: then `problem` says why.
        waiting: manifests that a run wrote for this name, or for this id, and did not put in their place. Only one
            that describes the file's bytes is its own.
        stranger: who owns the file or its manifest, if that is nobody who is trusted.
    """

    id: str
    file: str
    period: str
    size: int
    written_at: datetime
    manifest: bytes | None
    problem: str | None = None
    waiting: tuple[bytes, ...] = ()
    stranger: str | None = None


class Tree(Protocol):
    """The folders of backups. Paths are relative to its root. Nothing partial ever stands under a final name.

    Every method may raise BackupPermissionError (a right is missing), BackupStorageError (disk full, not a folder),
    BackupReadError or BackupWriteError (the disk's own errors).
    """

    root: Path

    def probe(self, tier: Tier) -> None:
        """Make the tier's folder where it is missing; prove by doing it that files can be written and read in it."""

    def free_bytes(self) -> int:
        """Bytes that this user may still write; `ENDLESS` where nobody knows."""

    def create(self, tier: Tier, name: str, run_id: str) -> AbstractContextManager[Draft]:
        """A new file under a temporary name in the tier's folder; gone when the block ends, unless published."""

    def staging(self, tier: Tier, name: str, run_id: str) -> AbstractContextManager[Path]:
        """A new folder under a temporary name in the tier's folder; gone with all in it when the block ends."""

    def open(self, file: str) -> BinaryIO:
        """Open a file for reading. Raises BackupNotFoundError where it is missing."""

    def folder_under(self, file: str) -> str | None:
        """The folder that stands under the name of a file or of its manifest; None if there is none."""

    def read_manifest(self, file: str) -> bytes | None:
        """The manifest beside an archive, or None."""

    def write_manifest(self, file: str, manifest: bytes, of: StoredFile | None = None) -> None:
        """Write the manifest beside an archive, whole or not at all.

        Args:
            file: the archive.
            manifest: the new content.
            of: what the manifest describes. Raises BackupWriteError where that is not what stands there any more.
        """

    def add_manifest(self, manifest: bytes, of: StoredFile) -> bool:
        """Write a manifest beside an archive that was found without one, or with one that cannot be used.

        It never takes the place of another: False where one stands there by now, or where the archive is not the one
        that was found any more.
        """

    def is_at(self, file: str, stream: BinaryIO) -> bool:
        """Whether a file that was opened still stands under the name, and no other has taken it."""

    def look(self, file: str) -> StoredFile | None:
        """What stands under a name now; None where nothing does, or where the name is not ours."""

    def files(self) -> Sequence[StoredFile]:
        """Every archive under a name that is ours, sorted by id."""

    def rename(self, old: str, new: str, manifest: bytes | None = None) -> None:
        """Rename an archive and its manifest, or the one given. Raises BackupWriteError where the name is taken."""

    def remove(self, file: str) -> None:
        """Remove the manifest, then the archive. What is missing already is no error."""

    def other_writers(self, file: str | None = None) -> Sequence[tuple[Path, str]]:
        """Paths that others may write, and who: of the whole tree, or those that a backup's file stands on."""

    def leftovers(self) -> Sequence[tuple[str, str]]:
        """Temporary files, and folders of `staging`, as (file, id of the run that wrote it)."""

    def remove_leftover(self, file: str) -> None:
        """Remove a temporary file or folder. Missing is no error."""


class Folder(Protocol):
    """What the tree's root is known by: a marker in it, and what is remembered of that elsewhere.

    Every method may raise what `Tree` raises.
    """

    def require_here(self) -> None:
        """Make sure that what stood in the folder still does, as far as anybody remembers. Writes nothing there.

        Raises:
            BackupFolderLostError: it does not.
        """

    def held(self) -> Folder:
        """The folder as it is now, for a run: `require_here`, `require_same` and `change` refuse any other.

        Raises:
            BackupFolderLostError: it is not the one that was there before.
            BackupReadError: its marker cannot be read.
        """

    def require_same(self) -> None:
        """Raise BackupFolderLostError where the folder is not the one that was held."""

    def require_readable(self) -> None:
        """Raise BackupReadError where there is a marker that cannot be read."""

    def clear_up(self) -> list[str]:
        """Remove what a crash left of a marker; says what."""

    def is_marked(self) -> bool:
        """Whether the marker is there."""

    def lineage(self, database: str) -> Lineage | None:
        """What the marker says of a database's servers; None where it says nothing."""

    def change(self, database: str, change: Callable[[Lineage | None], Lineage | None]) -> None:
        """Change what the marker says of a database, and make the marker where it is missing; one at a time.

        Args:
            database: its name.
            change: gets what the marker says, gives what it is to say; None leaves it. What it raises changes nothing.
        """

    def renew(self) -> None:
        """Take the folder as it is for the one that is meant, whatever is remembered."""


class Draft(Protocol):
    """A file in the making."""

    stream: BinaryIO

    def restart(self) -> None:
        """Forget everything written: what made it begins anew."""

    def flush(self) -> None:
        """Put everything written on the disk itself, so that reading it back shows what the disk holds."""

    def reopen(self) -> BinaryIO:
        """The file from its start, for reading back. The caller closes it."""

    def publish(self, file: str, manifest: bytes, earlier: Sequence[str] = (), *, proven: bool = False) -> str | None:
        """Give the file its final name and write its manifest, each whole and durable.

        Args:
            file: the final name.
            manifest: what describes it.
            earlier: the files of the same id that this one replaces; no other is removed.
            proven: whether one of them is verified, so that none without a manifest may take its place.

        Returns:
            Why the manifest could not be saved, or None. The backup then stands without one.
        """


class Scripts(Protocol):
    """Plain SQL scripts that undo merges, each under its restore's id. Raises what `Tree` raises."""

    def create(self, restore_id: str) -> AbstractContextManager[Script]:
        """A new script; gone when the block ends in an error, unless it was kept before that."""

    def open(self, restore_id: str) -> BinaryIO:
        """Open a script for reading. Raises BackupNotFoundError where it is missing."""

    def ids(self) -> Sequence[str]:
        """The restores that have one."""

    def path(self, restore_id: str) -> Path:
        """Where a script stands, or would."""

    def remove(self, restore_id: str) -> None:
        """Remove a script. Missing is no error."""


class Script(Protocol):
    """A script in the making."""

    stream: BinaryIO

    def keep(self) -> None:
        """Put it on the disk itself: from here on a crash leaves it whole."""
