"""On which side of a restore the live database is: told by looking, with nothing touched."""

from __future__ import annotations

from collections.abc import Collection

from app.archive.target import Target
from app.domain.restore import Method, Restore, Step
from app.errors import ResidencyBackupError


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


def is_swapped(record: Restore, names: Collection[str]) -> bool:
    """Whether the restored database is in the live one's place, by the names of those that stand."""
    # Where none was there to be replaced, none was kept.
    new = record.undo_until is None and record.changes in names
    swapping = record.step in {Step.SWAPPING, Step.DONE}
    return swapping and record.shadow not in names and (record.undo in names or new)


def is_swapped_back(record: Restore, names: Collection[str]) -> bool:
    """Whether the replaced database is in its old place again."""
    return record.undo not in names and record.shadow in names


def _is_through(target: Target, record: Restore) -> bool | None:
    if record.shadow is not None:
        return is_swapped(record, target.databases())
    return record.transaction is not None and target.committed(record.transaction)


def _is_rolled_back(target: Target, record: Restore) -> bool | None:
    if record.method is Method.SHADOW:
        return is_swapped_back(record, target.databases())
    return record.transaction is not None and target.committed(record.transaction)
