"""The port to the record of runs, slots and backups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol

from app.domain.backup import Backup, Tier
from app.domain.servers import ANY, Identity
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

    def told(self, database: str) -> Mapping[str, Backup]:
        """What manifests tell, by the SHA-256 of their bytes: what `keep_told` recorded last."""

    def keep_told(self, database: str, told: Mapping[str, Backup]) -> None:
        """Record what manifests tell, and forget all others of the database."""

    def is_below(self, folder: Path) -> bool:
        """Whether the catalog is kept below a folder, and so is lost with it."""

    def copy(self, path: Path) -> None:
        """Write every row, as of one instant, into a new SQLite catalog.

        Raises:
            CatalogError: the catalog cannot be read, or the copy not be written.
        """
