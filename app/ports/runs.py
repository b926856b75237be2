"""The port to the record of runs, slots and backups."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol

from app.domain.backup import Backup, Tier
from app.domain.servers import ANY, Identity
from app.domain.slots import Slot, SlotRecord
from app.ports.tree import Stamp


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One attempt at a backup, as the catalog records it.

    Attributes:
        id: 12 random hexadecimal digits; part of the temporary file's name.
        slot: that it is run for; None for a run that an admin asked for.
        heartbeat_at: the last sign of life of its process.
        server: the server and database that it backs up.
    """

    id: str
    database: str
    tier: Tier
    slot: Slot | None
    started_at: datetime
    heartbeat_at: datetime
    server: Identity = ANY


@dataclass(frozen=True, slots=True, kw_only=True)
class Deletion:
    """A backup that somebody deleted.

    Attributes:
        id, created_at, sha256: of the backup.
        deleted_by: who (`domain.callers`); None if that is not known.
    """

    database: str
    id: str
    created_at: datetime
    sha256: str
    deleted_at: datetime
    deleted_by: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class KnownManifest:
    """What a manifest said when it was read.

    Attributes:
        digest: SHA-256 of what was read of it: the beginning, if that holds all facts, or else all.
        stamp: that it had then; None if it was so young that a later content may have the same.
        backup: that it describes.
        recorded: whether the catalog has this already.
    """

    digest: str
    stamp: Stamp | None
    backup: Backup
    recorded: bool = field(default=False, compare=False)


class Catalog(Protocol):
    """The record of runs, slots and backups. Times are aware. Each method is one transaction.

    Each method may raise CatalogError: the catalog cannot be reached, read or written.
    """

    def claim(self, database: str, tier: Tier, slot: Slot | None, now: datetime, server: Identity = ANY) -> Run | None:
        """Begin a run. At most one of a tier is under way for a database.

        A run whose process is dead (it ended, or gave no sign of life for long enough) is abandoned first: the run and
        its slot count as failed for a transient reason. A slot that was run on another server counts as not run.

        Returns:
            The run, which belongs to this process; None if the slot is running or done, or may not be tried again yet.

        Raises:
            BackupRunningError: another run of the tier is under way, and its process lives.
        """

    def heartbeat(self, run: Run, now: datetime) -> bool:
        """Record a sign of life. False if the run does not belong to this process any more, which must stop then."""

    def complete(self, run: Run, backup: Backup, now: datetime) -> None:
        """End a run that succeeded: save the backup (it replaces a row with its id), and mark the slot as done."""

    def fail(self, run: Run, error: Exception, now: datetime, *, transient: bool) -> None:
        """End a run that failed. If `transient`, its slot may be tried again. A run that has ended stays as it is."""

    def abandon_dead(self, now: datetime) -> Sequence[Run]:
        """End all runs whose processes are dead, and return them."""

    def doubtful_for(self, now: datetime) -> timedelta:
        """How long until every unseen process of a run or restore counts as dead, without a sign of life."""

    def may_have_made(self, database: str, tier: Tier, backup_id: str, at: datetime) -> bool:
        """Whether a recorded run may have made a backup at that instant. True also if the record is younger."""

    def thin_runs(self, database: str, before: datetime, instants: Collection[datetime] = ()) -> int:
        """Remove runs of a database that have ended, began before an instant, and that nobody needs.

        These stay: the first run of all, because it says when the record begins; the last run of each tier and month;
        runs whose backup is in the catalog; and runs that were under way at one of the given instants, for
        `may_have_made`. Of very many, a call removes some thousands.

        Returns:
            How many were removed.
        """

    def running(self, database: str | None = None) -> Sequence[Run]:
        """Runs under way, of one database or of all, oldest first, dead or alive."""

    def slot(self, database: str, tier: Tier, period: str, server: Identity = ANY) -> SlotRecord | None:
        """The record of a slot; None if it was never run, or only on another server."""

    def first_slot_due(self, database: str, tier: Tier) -> datetime | None:
        """When the first recorded slot of the tier was due; None if there is none."""

    def pass_slot(self, database: str, slot: Slot, now: datetime) -> None:
        """Record a slot as not missed. Does nothing if the slot is recorded already."""

    def forget_slots(self, database: str, after: datetime) -> None:
        """Forget slots that are due after an instant, because they cannot have been run yet."""

    def backups(self, database: str) -> Sequence[Backup]:
        """All backups, newest first by `created_at`, those in state DELETING too."""

    def save(self, backup: Backup) -> None:
        """Insert the backup, or replace the row of the same database and id."""

    def record_check(self, backup: Backup, verified_at: datetime | None, problem: str | None) -> None:
        """Record the result of a verification. Nothing else of the row changes.

        Does nothing if the row was removed meanwhile, or has another SHA-256.
        """

    def pin(self, database: str, backup_id: str, reason: str | None, by: str | None) -> None:
        """Record a pin: its reason, and who asked for it. With None and None it is released.

        Nothing else changes. Does nothing without a row.
        """

    def forget(self, database: str, backup_id: str) -> None:
        """Remove the row of a backup. Does nothing if there is none."""

    def record_deletion(self, deletion: Deletion) -> None:
        """Record that somebody deletes a backup."""

    def deletions(self, database: str) -> Sequence[Deletion]:
        """The backups that somebody deleted, the newest deletion first."""

    def manifests(self, database: str) -> Mapping[str, KnownManifest]:
        """What manifests said, by the backups' files, as last recorded."""

    def keep_manifests(self, database: str, files: Collection[str], new: Mapping[str, KnownManifest]) -> None:
        """Forget the manifests of all other files of the database, and record what the new ones say, by file."""

    def is_below(self, folder: Path) -> bool:
        """Whether the catalog is stored in a folder, so that it is lost with it."""

    def copy(self, path: Path) -> None:
        """Write all rows, as of one instant, into a new SQLite catalog.

        Raises:
            CatalogError: the catalog cannot be read, or the copy cannot be written.
        """
