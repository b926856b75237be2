"""SQL of restores. A function works in its caller's transaction.

A restore whose process died is not ended here, as a run is: `recover` has to look at the server first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, case, select, update
from sqlalchemy.exc import IntegrityError

from app.catalog import signs
from app.catalog.rows import storable
from app.catalog.tables import restores
from app.domain.restore import Restore, RestoreState
from app.errors import RestoreError, RestoreRunningError

_FIELDS = [field.name for field in fields(Restore)]
_TEXTS = ("backup", "message", "hint", "cause")  # texts of others: a path may be no UTF-8, a message may hold NUL
_RECOVER = "to clean up after it: residency-backup check --repair; to list all: residency-backup restores"


def begin(connection: Connection, restore: Restore, lease: timedelta) -> None:
    """Record a restore as this process's.

    Raises:
        RestoreRunningError: another of the database is under way or not recovered, or the request is known already.
    """
    _require_free(connection, restore, lease)
    try:
        with connection.begin_nested():
            connection.execute(restores.insert().values(**_values(restore), holder=signs.signed(connection)))
    except IntegrityError as error:
        # Another process was quicker, and its record is visible by now.
        _require_free(connection, restore, lease)
        message = f"another restore of database {restore.database} was begun at the same time"
        raise RestoreRunningError(message, "wait for it, then decide again") from error


def save(connection: Connection, restore: Restore) -> None:
    """Record the state of a restore that this process holds.

    Raises:
        RestoreError: it is no longer this process's.
    """
    # A thread gives signs of life beside the work, whose record may be older.
    earlier = restores.c.heartbeat_at < restore.heartbeat_at
    latest = case((earlier, restore.heartbeat_at), else_=restores.c.heartbeat_at)
    if not _change(connection, restore.id, **_values(restore) | {"heartbeat_at": latest}):
        message = f"restore {restore.id} was taken for dead and recovered by another process"
        raise RestoreError(message, "to see what became of it: residency-backup restores")


def beat(connection: Connection, restore: Restore, now: datetime) -> bool:
    """Record a sign of life. False if the restore is no longer this process's."""
    return _change(connection, restore.id, heartbeat_at=now)


def replace_unchanged(connection: Connection, restore: Restore, was: Restore) -> bool:
    """Record how a restore ended, whoever held it; False if the row has changed since `was` was read."""
    unchanged = (restores.c.id == was.id) & (restores.c.state == was.state) & (restores.c.step == was.step)
    unchanged &= restores.c.heartbeat_at == was.heartbeat_at
    # A process that begins a rollback holds the record from then on.
    mine = {"holder": signs.signed(connection)} if restore.state is RestoreState.RUNNING else {}
    change = update(restores).where(unchanged).values(**_values(restore), **mine)
    try:
        return connection.execute(change).rowcount == 1
    except IntegrityError as error:
        message = f"a restore of database {restore.database} is under way"
        raise RestoreRunningError(message, "wait for it, then decide again") from error


def read(connection: Connection, database: str | None = None, restore_id: str | None = None) -> list[Restore]:
    """Restores of a database, or the one of an id; newest first."""
    query = select(restores).order_by(restores.c.started_at.desc(), restores.c.id)
    if database is not None:
        query = query.where(restores.c.database == database)
    if restore_id is not None:
        query = query.where(restores.c.id == restore_id)
    return [_restore_of(row) for row in connection.execute(query)]


def dead(connection: Connection, database: str, now: datetime, lease: timedelta) -> list[Restore]:
    """Those under way whose holders are dead."""
    present = signs.moment(connection, now)
    return [_restore_of(row) for row in _under_way(connection, database) if signs.why_dead(row, present, lease)]


def _require_free(connection: Connection, restore: Restore, lease: timedelta) -> None:
    """Refuse a restore while another is under way, or if its request is known.

    Raises:
        RestoreRunningError: names the other one.
    """
    in_the_way = _is_under_way(restore.database)
    if restore.request_key is not None:
        # One query for both: between two, another process may begin the same request.
        in_the_way |= restores.c.request_key == restore.request_key
    rows = connection.execute(select(restores).where(in_the_way)).all()
    for row in sorted(rows, key=lambda row: not _is_same_request(row, restore)):
        raise _running_error(row, restore, signs.why_dead(row, signs.moment(connection, restore.started_at), lease))


def _is_same_request(row: Row[Any], restore: Restore) -> bool:
    return restore.request_key is not None and row.request_key == restore.request_key


def _is_under_way(database: str) -> ColumnElement[bool]:
    return (restores.c.database == database) & (restores.c.state == RestoreState.RUNNING)


def _under_way(connection: Connection, database: str) -> Sequence[Row[Any]]:
    return connection.execute(select(restores).where(_is_under_way(database))).all()


def _running_error(row: Row[Any], restore: Restore, why: str | None) -> RestoreRunningError:
    if _is_same_request(row, restore):
        message = f"this request was begun before, as restore {row.id}: a message delivered twice is run once"
        return RestoreRunningError(message, f"to see what became of {row.id}: residency-backup restores")
    if why is not None:
        return RestoreRunningError(f"restore {row.id} of database {row.database} is not recovered: {why}", _RECOVER)
    message = f"restore {row.id} of database {row.database} is under way, in step: {row.step}"
    return RestoreRunningError(message, "wait for it, then decide again")


def _change(connection: Connection, restore_id: str, **values: object) -> bool:
    mine: ColumnElement[bool] = (restores.c.id == restore_id) & (restores.c.state == RestoreState.RUNNING)
    mine &= signs.is_mine(restores)
    change = update(restores).where(mine).values(**values, holder=signs.signed(connection))
    return connection.execute(change).rowcount == 1


def _values(restore: Restore) -> dict[str, Any]:
    values = {name: getattr(restore, name) for name in _FIELDS}
    texts = {name: storable(values[name]) for name in _TEXTS if values[name] is not None}
    return values | texts | {"report": dict(restore.report)}


def _restore_of(row: Row[Any]) -> Restore:
    return Restore(**{name: row._mapping[name] for name in _FIELDS})  # noqa: SLF001 -- documented by SQLAlchemy
