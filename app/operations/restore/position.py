"""Where the live database stands: *before* a restore, or *after* it. Nothing is changed to find that out.

For a replace by a shadow database, the databases that exist and their oids tell. Any other restore is one transaction,
and the server knows whether it was committed. Each question has two functions: `_looks_…` answers at once, with None if
nobody can tell now; `is_…` waits until a rename or commit that is under way has ended.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import NamedTuple

from app.domain.psql import in_psql, renaming
from app.domain.restore import Method, Restore, Step
from app.errors import ResidencyBackupError, RestoreRollbackError
from app.ports.target import Target

REPAIR_LATER = "when the server answers again: residency-backup check --repair"
POLL_SECONDS = 0.2
_COMMIT_SECONDS = 20.0  # a commit that was sent has long ended by then


class Obstacle(NamedTuple):
    """Why a restore cannot be undone, and what to do, if there is something special to do."""

    why: str
    hint: str | None = None


def position(target: Target, record: Restore) -> str:
    """Where the live database stands after an interrupted restore or rollback, in words."""
    live, rolling_back = record.changes, record.step is Step.ROLLING_BACK
    try:
        done = _looks_rolled_back(target, record) if rolling_back else _looks_applied(target, record)
    except ResidencyBackupError:
        done = None  # the check of the server reports why
    if done is None:
        return f"whether {live} is before or after cannot be told now"
    if rolling_back:
        return f"{live} is as {'before the restore' if done else 'the restore left it'}"
    return f"{live} is as {'after' if done else 'before'} it"


def is_applied(target: Target, record: Restore) -> bool:
    """Whether the live database is as after the restore.

    Raises:
        RestoreRollbackError: nobody can tell.
    """
    if record.shadow is not None and record.method is not Method.ROWS:
        return _is_swapped(record, target.databases())
    return record.transaction is not None and _is_committed(target, record.transaction)


def is_rolled_back(target: Target, record: Restore) -> bool:
    """Whether the live database is as before the restore again.

    Raises:
        RestoreRollbackError: nobody can tell.
    """
    if record.method is Method.SHADOW:
        return _is_swapped_back(record, _databases_at_rest(target, record))
    return record.transaction is not None and _is_committed(target, record.transaction)


def obstacle_to_rename(record: Restore, oids: Mapping[str, int]) -> Obstacle | None:
    """Why a replace cannot be undone by renaming; None if it can.

    Args:
        record: the restore.
        oids: the server's databases.
    """
    live = oids.get(record.changes)
    if record.undo not in oids:
        if live is not None and live == record.replaced_oid:
            why = f"{record.changes} is already the database that the restore replaced: it was renamed by hand"
            return Obstacle(why, "nothing to do: that is what a rollback does")
        return Obstacle(f"database {record.undo}, which was kept for it, is gone")
    return None if live is None or record.made_oid in {None, live} else _replaced_by_hand(record, oids)


def _replaced_by_hand(record: Restore, oids: Mapping[str, int]) -> Obstacle:
    """Somebody replaced the live database by hand since the restore. We do not rename it; the hint says how."""
    live = record.changes
    made = next((name for name, oid in oids.items() if oid == record.made_oid), None)
    fate = f"what the restore made is called {made}" if made else "what the restore made is gone"
    hint = (
        f"{fate}, what was before it is in {record.undo}. To have that back: "
        f"{in_psql('postgres', renaming(live, f'{live}_by_hand'))}; residency-backup rollback {record.id}"
    )
    return Obstacle(f"database {live} was replaced by hand since", hint)


def _looks_applied(target: Target, record: Restore) -> bool | None:
    if record.shadow is not None and record.method is not Method.ROWS:
        return _is_swapped(record, target.databases())
    return record.transaction is not None and target.committed(record.transaction)


def _looks_rolled_back(target: Target, record: Restore) -> bool | None:
    if record.method is Method.SHADOW:
        return _is_swapped_back(record, target.databases())
    return record.transaction is not None and target.committed(record.transaction)


def _is_swapped(record: Restore, oids: Mapping[str, int]) -> bool:
    """Whether the restored database took the live one's place."""
    live = oids.get(record.changes)
    # If there was no live database to be replaced, none is kept.
    is_new = record.undo_until is None and live is not None
    is_made = is_new if record.made_oid is None else live == record.made_oid
    swapping = record.step in {Step.SWAPPING, Step.AFTER_COMMAND, Step.DONE}
    return swapping and record.shadow not in oids and (record.undo in oids or is_made)


def _is_swapped_back(record: Restore, oids: Mapping[str, int]) -> bool:
    """Whether the replaced database is in its old place again."""
    if record.replaced_oid is not None:
        return oids.get(record.changes) == record.replaced_oid
    return record.undo not in oids and record.shadow in oids


def _databases_at_rest(target: Target, record: Restore) -> dict[str, int]:
    """The server's databases, as soon as no session renames those of the restore.

    Raises:
        RestoreRollbackError: a rename does not end.
    """
    names = [name for name in (record.changes, record.shadow, record.undo) if name is not None]
    end = time.monotonic() + _COMMIT_SECONDS
    while target.renaming(names):
        if time.monotonic() > end:
            message = f"the renaming of {record.changes} has neither ended nor failed"
            raise RestoreRollbackError(message, REPAIR_LATER)
        time.sleep(POLL_SECONDS)
    return target.databases()


def _is_committed(target: Target, transaction: str) -> bool:
    """Whether a transaction was committed; waits for a commit that was sent just now.

    Raises:
        RestoreRollbackError: the server does not know.
    """
    end = time.monotonic() + _COMMIT_SECONDS
    while (committed := target.committed(transaction)) is None:
        if time.monotonic() > end:
            message = f"transaction {transaction} has neither ended nor failed, or is too old for the server to know"
            raise RestoreRollbackError(message, REPAIR_LATER)
        time.sleep(POLL_SECONDS)
    return committed
