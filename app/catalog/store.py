"""The record of runs, slots and backups, in a database."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta

from sqlalchemy import ColumnElement, Connection, delete, select, update

from app.catalog import manifests, runs, signs, slots, thinning
from app.catalog.lazy import LEASE, Store, lazy_engine
from app.catalog.rows import BACKUP, backup_of, backup_values, error_values, run_of
from app.catalog.tables import RunState, backups, deletions, insert_into
from app.domain.backup import Backup, Tier
from app.domain.servers import ANY, Identity
from app.domain.slots import Slot, SlotRecord, SlotState
from app.errors import BackupRunningError
from app.ports.runs import Deletion, KnownManifest, Run


class SqlCatalog(Store):
    """The port `Catalog`."""

    def claim(self, database: str, tier: Tier, slot: Slot | None, now: datetime, server: Identity = ANY) -> Run | None:
        now = now.astimezone(UTC)
        instants = {"started_at": now, "heartbeat_at": now}
        run = Run(id=secrets.token_hex(6), database=database, tier=tier, slot=slot, server=server, **instants)
        self._disbelieve(now)
        with self._writing("the run cannot be begun") as connection:
            runs.abandon_dead(connection, now, self._engine.lease, database, tier)
            # The run comes first: from now on no other process can begin or end its slot.
            begun = runs.begin(connection, run)
            record = slots.read(connection, database, tier, slot.period, server) if slot else None
            if _is_taken(record, now, begun=begun):
                runs.withdraw(connection, run)
                return None
            if not begun:
                raise _under_way(connection, run)
            if slot:
                slots.begin(connection, run, slot, record, now)
            return run

    def heartbeat(self, run: Run, now: datetime) -> bool:
        with self._writing("the sign of life cannot be recorded") as connection:
            return runs.beat(connection, run, now)

    def complete(self, run: Run, backup: Backup, now: datetime) -> None:
        with self._writing(f"the backup {backup.id} cannot be recorded") as connection:
            if runs.end(connection, run, RunState.COMPLETE, now, backup_id=backup.id):
                slots.done(connection, run, now)
            _save(connection, backup)  # also if the run was taken for dead: the file exists

    def fail(self, run: Run, error: Exception, now: datetime, *, transient: bool) -> None:
        with self._writing("the failed run cannot be recorded") as connection:
            if runs.end(connection, run, RunState.FAILED, now, **error_values(error)):
                slots.fail(connection, run, now, transient=transient)

    def abandon_dead(self, now: datetime) -> Sequence[Run]:
        self._disbelieve(now)
        with self._writing("dead runs cannot be ended") as connection:
            return runs.abandon_dead(connection, now, self._engine.lease)

    def doubtful_for(self, now: datetime) -> timedelta:
        self._disbelieve(now)
        with self._reading("signs of life cannot be read") as connection:
            return signs.doubtful_for(connection, signs.moment(connection, now), self._engine.lease)

    def may_have_made(self, database: str, tier: Tier, backup_id: str, at: datetime) -> bool:
        with self._reading("runs cannot be read") as connection:
            return runs.may_have_made(connection, database, tier, backup_id, at)

    def thin_runs(self, database: str, before: datetime, instants: Collection[datetime] = ()) -> int:
        with self._reading("runs cannot be read") as connection:
            ids = thinning.superfluous(connection, database, before, instants)
        if ids:
            with self._writing("old runs cannot be forgotten") as connection:
                thinning.forget(connection, ids)
        return len(ids)

    def running(self, database: str | None = None) -> Sequence[Run]:
        with self._reading("runs cannot be read") as connection:
            return [run_of(row) for row in runs.under_way(connection, database)]

    def slot(self, database: str, tier: Tier, period: str, server: Identity = ANY) -> SlotRecord | None:
        with self._reading("the slot cannot be read") as connection:
            return slots.read(connection, database, tier, period, server)

    def first_slot_due(self, database: str, tier: Tier) -> datetime | None:
        with self._reading("slots cannot be read") as connection:
            return slots.first_due(connection, database, tier)

    def pass_slot(self, database: str, slot: Slot, now: datetime) -> None:
        with self._writing("the slot cannot be recorded") as connection:
            slots.pass_over(connection, database, slot, now)

    def forget_slots(self, database: str, after: datetime) -> None:
        with self._reading("slots cannot be read") as connection:
            last = slots.last_due(connection, database)
        if last is not None and last > after:  # asked every minute: a transaction that writes makes others wait
            with self._writing("slots cannot be forgotten") as connection:
                slots.forget(connection, database, after)

    def backups(self, database: str) -> Sequence[Backup]:
        newest_first = (backups.c.created_at.desc(), backups.c.id.desc())
        columns = [backups.c[name] for name in BACKUP]
        query = select(*columns).where(backups.c.database == database).order_by(*newest_first)
        with self._reading("backups cannot be read") as connection:
            return [backup_of(row) for row in connection.execute(query)]

    def save(self, backup: Backup) -> None:
        with self._writing(f"the backup {backup.id} cannot be recorded") as connection:
            _save(connection, backup)

    def record_check(self, backup: Backup, verified_at: datetime | None, problem: str | None) -> None:
        values = {"problem": problem} | ({} if verified_at is None else {"verified_at": verified_at})
        here = _is(backup.database, backup.id) & (backups.c.sha256 == backup.sha256)
        with self._writing(f"the verification of backup {backup.id} cannot be recorded") as connection:
            connection.execute(update(backups).where(here).values(values))

    def pin(self, database: str, backup_id: str, reason: str | None, by: str | None) -> None:
        with self._writing(f"the pin of backup {backup_id} cannot be recorded") as connection:
            connection.execute(
                update(backups).where(_is(database, backup_id)).values(pinned_reason=reason, pinned_by=by)
            )

    def forget(self, database: str, backup_id: str) -> None:
        with self._writing(f"the backup {backup_id} cannot be forgotten") as connection:
            connection.execute(delete(backups).where(_is(database, backup_id)))

    def record_deletion(self, deletion: Deletion) -> None:
        with self._writing(f"the deletion of backup {deletion.id} cannot be recorded") as connection:
            connection.execute(deletions.insert().values(**asdict(deletion)))

    def deletions(self, database: str) -> Sequence[Deletion]:
        query = select(deletions).where(deletions.c.database == database).order_by(deletions.c.deleted_at.desc())
        with self._reading("deletions cannot be read") as connection:
            return [Deletion(**row) for row in connection.execute(query).mappings()]

    def manifests(self, database: str) -> Mapping[str, KnownManifest]:
        with self._reading("parsed manifests cannot be read") as connection:
            return manifests.read(connection, database)

    def keep_manifests(self, database: str, files: Collection[str], new: Mapping[str, KnownManifest]) -> None:
        with self._writing("parsed manifests cannot be recorded") as connection:
            manifests.keep_only(connection, database, files, new)


def lazy_catalog(url: str, *, lease: timedelta = LEASE, prepare: Callable[[], None] = lambda: None) -> SqlCatalog:
    """The catalog of that URL, opened, made or brought up to date by its first use; see `lazy_engine`."""
    return SqlCatalog(lazy_engine(url, lease=lease, prepare=prepare))


def _save(connection: Connection, backup: Backup) -> None:
    values = backup_values(backup)
    statement = insert_into(connection, backups, values)
    connection.execute(statement.on_conflict_do_update(index_elements=["database", "id"], set_=values))


def _is(database: str, backup_id: str) -> ColumnElement[bool]:
    return (backups.c.database == database) & (backups.c.id == backup_id)


def _is_taken(record: SlotRecord | None, now: datetime, *, begun: bool) -> bool:
    """Whether a slot must not be run now: it is under way, done, or failed and not to be tried again yet.

    PASSED means "not missed". If beat sends the slot all the same, it has just come due: it is run.
    """
    if record is None or record.state is SlotState.PASSED:
        return False
    if record.state is SlotState.RUNNING:
        return not begun  # if no run of the tier is under way, nobody runs it
    return not record.may_run(now)


def _under_way(connection: Connection, wanted: Run) -> BackupRunningError:
    """The error of a run that cannot begin because of another: when that began, and gave its last sign of life."""
    since = "".join(
        f" since {row.started_at:%Y-%m-%d %H:%M:%S} UTC; last sign of life {row.heartbeat_at:%Y-%m-%d %H:%M:%S} UTC"
        for row in runs.under_way(connection, wanted.database, wanted.tier)
    )
    return BackupRunningError(
        f"a {wanted.tier} backup of {wanted.database} is under way{since}",
        "wait for it to end; if it is known to be dead: residency-backup check --repair",
    )
