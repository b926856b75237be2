"""On which side of a restore the live database is: told by looking, with nothing touched."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from app.domain.psql import in_psql, renaming
from app.domain.restore import Method, Restore, Step
from app.errors import ResidencyBackupError
from app.ports.target import Target


class Obstacle(NamedTuple):
    """Why something cannot be undone, and what helps, where that is something of its own."""

    why: str
    hint: str | None = None


def whereabouts(target: Target, record: Restore) -> str:
    """Where the live database is when a restore, or its rollback, came to no end; in words."""
    live, back = record.changes, record.step is Step.ROLLING_BACK
    try:
        done = _is_rolled_back(target, record) if back else _is_through(target, record)
    except ResidencyBackupError:
        done = None  # the server's own finding says why
    if done is None:
        return f"whether {live} is before or after cannot be told now"
    if back:
        return f"{live} is as {'before the restore' if done else 'the restore left it'}"
    return f"{live} is as {'after' if done else 'before'} it"


def is_swapped(record: Restore, there: Mapping[str, int]) -> bool:
    """Whether the restored database came into the live one's place, by those that stand."""
    live = there.get(record.changes)
    # Where none was there to be replaced, none was kept.
    new = record.undo_until is None and live is not None
    its = new if record.made_oid is None else live == record.made_oid
    swapping = record.step in {Step.SWAPPING, Step.DONE}
    return swapping and record.shadow not in there and (record.undo in there or its)


def is_swapped_back(record: Restore, there: Mapping[str, int]) -> bool:
    """Whether the replaced database is in its old place again."""
    if record.replaced_oid is not None:
        return there.get(record.changes) == record.replaced_oid
    return record.undo not in there and record.shadow in there


def no_way_back(record: Restore, there: Mapping[str, int]) -> Obstacle | None:
    """Why a replace cannot be undone by renaming; None where it can."""
    live = there.get(record.changes)
    if record.undo not in there:
        if live is not None and live == record.replaced_oid:
            return Obstacle(f"{record.changes} is what it was before already: it was renamed by hand", "look at it")
        return Obstacle(f"database {record.undo}, which was kept for it, is gone")
    return None if live is None or record.made_oid in {None, live} else _by_hand(record, there)


def _by_hand(record: Restore, there: Mapping[str, int]) -> Obstacle:
    """What is live now is nobody's to put away but theirs who put it there."""
    name = record.changes
    now = next((each for each, oid in there.items() if oid == record.made_oid), None)
    its = f"what the restore made is called {now}" if now else "what the restore made is gone"
    hint = (
        f"{its}, what was before it is in {record.undo}. To have that back: "
        f"{in_psql('postgres', renaming(name, f'{name}_by_hand'))}; residency-backup rollback {record.id}"
    )
    return Obstacle(f"database {name} was replaced by hand since", hint)


def _is_through(target: Target, record: Restore) -> bool | None:
    if record.shadow is not None:
        return is_swapped(record, target.databases())
    return record.transaction is not None and target.committed(record.transaction)


def _is_rolled_back(target: Target, record: Restore) -> bool | None:
    if record.method is Method.SHADOW:
        return is_swapped_back(record, target.databases())
    return record.transaction is not None and target.committed(record.transaction)
