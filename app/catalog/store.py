"""The catalog as operations see it: the port `Catalog`, kept in a database."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import URL, ColumnElement, Connection, Engine, delete, select, update

from app.catalog import restores, runs, signs, slots
from app.catalog.copy import copy_rows
from app.catalog.edge import READS, translated
from app.catalog.engine import parse_url, place_of, ready_engine
from app.catalog.rows import backup_of, backup_values, error_values, run_of
from app.catalog.tables import RunState, backups, insert_into
from app.domain.backup import Backup, Tier
from app.domain.restore import Restore
from app.domain.servers import ANY, Identity
from app.domain.slots import Slot, SlotRecord, SlotState
from app.errors import BackupRunningError
from app.ports.runs import Run

# How long a holder that cannot be looked at (another machine, another container) may give no sign of life.
LEASE = timedelta(seconds=90)


class SqlCatalog:
    """The record of runs, slots and backups; see the port for what each method promises.

    Args:
        connect: makes the engine of a catalog that is ready for use. Called at the first use, again where it failed.
        url: where the catalog is.
        lease: how long a holder that cannot be looked at may give no sign of life.
        is_in: whether the live server's database of a name holds this catalog, which knows a restore of that id.
    """

    def __init__(
        self, connect: Callable[[], Engine], url: URL, *, lease: timedelta, is_in: Callable[[str, str], bool]
    ) -> None:
        self._connect = connect
        self._url = url
        self._place = place_of(url)
        self._lease = lease
        self._is_in = is_in
        self._engine: Engine | None = None
        self._opening = threading.Lock()

    def open(self) -> None:
        """Connect, and make the catalog or bring it up to date. Does nothing where that was done already.

        Raises:
            CatalogError: it cannot be reached, read or written, or a newer version of this program made it.
        """
        with translated("the catalog cannot be opened", self._place):
            self._ready()

    def close(self) -> None:
        """Give up what the catalog holds; the next use opens it again."""
        with self._opening:
            if self._engine is not None:
                self._engine.dispose()
                self._engine = None

    def claim(self, database: str, tier: Tier, slot: Slot | None, now: datetime, server: Identity = ANY) -> Run | None:
        """Begin a run; None where its slot was run already, or may not be tried again yet.

        Raises:
            BackupRunningError: a living run of the tier is under way.
        """
        now = now.astimezone(UTC)
        instants = {"started_at": now, "heartbeat_at": now}
        run = Run(id=secrets.token_hex(6), database=database, tier=tier, slot=slot, server=server, **instants)
        self._disbelieve(now)
        with self._writing("the run cannot be begun") as connection:
            runs.abandon_dead(connection, now, self._lease, database, tier)
            # The run comes first: from here on nobody else can begin or end its slot.
            begun = runs.begin(connection, run)
            record = slots.read(connection, database, tier, slot.period, server) if slot else None
            if _settled(record, now, begun=begun):
                runs.withdraw(connection, run)
                return None
            if not begun:
                raise _under_way(connection, run)
            if slot:
                slots.begin(connection, run, slot, record, now)
            return run

    def heartbeat(self, run: Run, now: datetime) -> bool:
        """Give a sign of life; False when the run is no longer this process's."""
        with self._writing("the sign of life cannot be recorded") as connection:
            return runs.beat(connection, run, now)

    def complete(self, run: Run, backup: Backup, now: datetime) -> None:
        """End a run well. The backup is saved even where the run was lost meanwhile: its file is there."""
        with self._writing(f"the backup {backup.id} cannot be recorded") as connection:
            if runs.end(connection, run, RunState.COMPLETE, now, backup_id=backup.id):
                slots.done(connection, run, now)
            _save(connection, backup)

    def fail(self, run: Run, error: Exception, now: datetime, *, transient: bool) -> None:
        """End a run badly. Does nothing where it is no longer this process's."""
        with self._writing("the failed run cannot be recorded") as connection:
            if runs.end(connection, run, RunState.FAILED, now, **error_values(error)):
                slots.fail(connection, run, now, transient=transient)

    def abandon_dead(self, now: datetime) -> Sequence[Run]:
        """End, and return, all runs whose holders are dead."""
        self._disbelieve(now)
        with self._writing("dead runs cannot be ended") as connection:
            return runs.abandon_dead(connection, now, self._lease)

    def doubtful_for(self, now: datetime) -> timedelta:
        """How long until each holder out of sight is dead, unless it gives a sign of life."""
        self._disbelieve(now)
        with self._reading("signs of life cannot be read") as connection:
            return signs.doubtful_for(connection, signs.moment(connection, now), self._lease)

    def may_have_made(self, database: str, tier: Tier, backup_id: str, at: datetime) -> bool:
        """Whether a run that is recorded may have made a backup at that instant; also if the record is younger."""
        with self._reading("runs cannot be read") as connection:
            return runs.may_have_made(connection, database, tier, backup_id, at)

    def running(self, database: str | None = None) -> Sequence[Run]:
        """Runs under way, of one database or of all, oldest first, dead or alive."""
        with self._reading("runs cannot be read") as connection:
            return [run_of(row) for row in runs.under_way(connection, database)]

    def slot(self, database: str, tier: Tier, period: str, server: Identity = ANY) -> SlotRecord | None:
        """What became of a slot; None where it was never run."""
        with self._reading("the slot cannot be read") as connection:
            return slots.read(connection, database, tier, period, server)

    def first_slot_due(self, database: str, tier: Tier) -> datetime | None:
        """When the first slot of the tier that is recorded came due; None where none is."""
        with self._reading("slots cannot be read") as connection:
            return slots.first_due(connection, database, tier)

    def pass_slot(self, database: str, slot: Slot, now: datetime) -> None:
        """Record that a slot is nobody's to run, unless it is recorded already."""
        with self._writing("the slot cannot be recorded") as connection:
            slots.pass_over(connection, database, slot, now)

    def forget_slots(self, database: str, after: datetime) -> None:
        """Forget the slots that come due after an instant."""
        with self._reading("slots cannot be read") as connection:
            last = slots.last_due(connection, database)
        if last is not None and last > after:  # a writer would make others wait, every minute
            with self._writing("slots cannot be forgotten") as connection:
                slots.forget(connection, database, after)

    def backups(self, database: str) -> Sequence[Backup]:
        """All backups, newest first."""
        newest_first = (backups.c.created_at.desc(), backups.c.id.desc())
        query = select(backups).where(backups.c.database == database).order_by(*newest_first)
        with self._reading("backups cannot be read") as connection:
            return [backup_of(row) for row in connection.execute(query)]

    def save(self, backup: Backup) -> None:
        """Insert the backup, or replace the row of the same database and id."""
        with self._writing(f"the backup {backup.id} cannot be recorded") as connection:
            _save(connection, backup)

    def record_check(self, backup: Backup, verified_at: datetime | None, damage: str | None) -> None:
        """Record what a look at a backup's bytes found; nothing else of the row changes."""
        values = {"damage": damage} | ({} if verified_at is None else {"verified_at": verified_at})
        here = _is(backup.database, backup.id) & (backups.c.sha256 == backup.sha256)
        with self._writing(f"what was found of backup {backup.id} cannot be recorded") as connection:
            connection.execute(update(backups).where(here).values(values))

    def pin(self, database: str, backup_id: str, reason: str | None) -> None:
        """Record a pin, or with None its release; nothing else of the row changes."""
        with self._writing(f"the pin of backup {backup_id} cannot be recorded") as connection:
            connection.execute(update(backups).where(_is(database, backup_id)).values(pinned_reason=reason))

    def forget(self, database: str, backup_id: str) -> None:
        """Remove a row. Does nothing where there is none."""
        with self._writing(f"the backup {backup_id} cannot be forgotten") as connection:
            connection.execute(delete(backups).where(_is(database, backup_id)))

    def is_below(self, folder: Path) -> bool:
        """Whether the catalog is a file in a folder."""
        return self._url.get_backend_name() == "sqlite" and Path(str(self._url.database)).is_relative_to(folder)

    def copy(self, path: Path) -> None:
        """Write every row, as of one instant, into a new SQLite catalog."""
        with translated("the catalog cannot be copied", self._place):
            copy_rows(self._ready(), path)

    def stands_in(self, name: str, restore_id: str) -> bool:
        """Whether the catalog, which knows a restore of that id, stands in the live server's database of a name."""
        return self._url.get_backend_name() != "sqlite" and self._is_in(name, restore_id)

    def begin_restore(self, restore: Restore) -> None:
        """Record a restore that this process begins.

        Raises:
            RestoreRunningError: another is under way or not recovered, or the request is known already.
        """
        self._disbelieve(restore.started_at)
        with self._writing("the restore cannot be begun") as connection:
            restores.begin(connection, restore, self._lease)

    def beat_restore(self, restore: Restore, now: datetime) -> bool:
        """Give a sign of life; False when the restore is no longer this process's."""
        with self._writing("the sign of life cannot be recorded") as connection:
            return restores.beat(connection, restore, now)

    def save_restore(self, restore: Restore) -> None:
        """Record where a restore of this process stands.

        Raises:
            RestoreError: it is no longer this process's.
        """
        with self._writing(f"the restore {restore.id} cannot be recorded") as connection:
            restores.save(connection, restore)

    def replace_restore(self, restore: Restore, was: Restore) -> bool:
        """Record what became of a restore, whoever held it; False where it does not stand as it was any more."""
        with self._writing(f"the restore {restore.id} cannot be recorded") as connection:
            return restores.replace_unchanged(connection, restore, was)

    def restore(self, restore_id: str) -> Restore | None:
        """The restore of an id; None where there is none."""
        with self._reading("the restore cannot be read") as connection:
            return next(iter(restores.read(connection, restore_id=restore_id)), None)

    def restores(self, database: str) -> Sequence[Restore]:
        """All restores of a live database, newest first."""
        with self._reading("restores cannot be read") as connection:
            return restores.read(connection, database)

    def dead_restores(self, database: str, now: datetime) -> Sequence[Restore]:
        """Those under way whose holders are dead."""
        self._disbelieve(now)
        with self._reading("restores cannot be read") as connection:
            return restores.dead(connection, database, now.astimezone(UTC), self._lease)

    def _disbelieve(self, now: datetime) -> None:
        """Put signs of life from the future back, in a transaction of its own: who looks at them may roll back his."""
        with self._reading("signs of life cannot be read") as connection:
            ahead = signs.any_ahead(connection, signs.moment(connection, now))
        if ahead:
            with self._writing("a sign of life from the future cannot be put back") as connection:
                signs.disbelieve(connection, signs.moment(connection, now), self._lease)

    def _ready(self) -> Engine:
        with self._opening:
            if self._engine is None:
                self._engine = self._connect()
            return self._engine

    @contextmanager
    def _writing(self, failure: str) -> Iterator[Connection]:
        """A transaction; `failure` says what is not done when it fails."""
        with translated(failure, self._place), self._ready().begin() as connection:
            yield connection

    @contextmanager
    def _reading(self, failure: str) -> Iterator[Connection]:
        """A transaction that only reads: one view of everything, and no writer waits for it."""
        with (
            translated(failure, self._place),
            self._ready().execution_options(**{READS: True}).begin() as connection,
        ):
            yield connection


def lazy_catalog(
    url: str,
    *,
    lease: timedelta = LEASE,
    prepare: Callable[[], None] = lambda: None,
    is_in: Callable[[str, str], bool] = lambda _name, _restore: False,
) -> SqlCatalog:
    """The catalog of that URL, opened, made or brought up to date by its first use.

    Every method may then raise what opening raises.

    Args:
        url: of a SQLite file or a PostgreSQL database.
        lease: how long a holder that cannot be looked at may give no sign of life.
        prepare: called before the catalog is opened.
        is_in: answers `SqlCatalog.stands_in`, for which the server of the live database is asked.

    Raises:
        SettingsError: the URL names no SQLite file and no PostgreSQL database.
    """
    parsed = parse_url(url)

    def connect() -> Engine:
        prepare()
        return ready_engine(parsed)

    return SqlCatalog(connect, parsed, lease=lease, is_in=is_in)


def _save(connection: Connection, backup: Backup) -> None:
    values = backup_values(backup)
    statement = insert_into(connection, backups, values)
    connection.execute(statement.on_conflict_do_update(index_elements=["database", "id"], set_=values))


def _is(database: str, backup_id: str) -> ColumnElement[bool]:
    return (backups.c.database == database) & (backups.c.id == backup_id)


def _settled(record: SlotRecord | None, now: datetime, *, begun: bool) -> bool:
    """Whether a slot is nobody's to run now: under way, done, or failed and not to be tried again yet.

    One that was passed over was only not missed: where beat asks for it all the same, it has just come due.
    """
    if record is None or record.state is SlotState.PASSED:
        return False
    if record.state is SlotState.RUNNING:
        return not begun  # without a run of the tier, nobody runs it
    return not record.may_run(now)


def _under_way(connection: Connection, wanted: Run) -> BackupRunningError:
    """The error of a run that cannot begin because of another: when that began, and gave its last sign of life."""
    since = "".join(
        f" since {row.started_at:%Y-%m-%d %H:%M:%S} UTC; last sign of life {row.heartbeat_at:%Y-%m-%d %H:%M:%S} UTC"
        for row in runs.under_way(connection, wanted.database, wanted.tier)
    )
    return BackupRunningError(
        f"a {wanted.tier} backup of {wanted.database} is under way{since}",
        "Wait for it to end. If it is known to be dead: residency-backup check --repair.",
    )
