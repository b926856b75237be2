"""What became of a restore whose process did not live to say: looked up on the server, cleaned up, recorded.

The live database is exactly before or exactly after. Which of the two is told by the databases that stand, or by what
the server knows of one transaction.
"""

from __future__ import annotations

import time
from dataclasses import replace

from app.domain.events import RestoreEvent
from app.domain.psql import in_psql, quoted
from app.domain.restore import Method, Restore, RestoreState, Side, Step
from app.errors import ResidencyBackupError, RestoreRollbackError
from app.operations.backups.inventory import inventory
from app.operations.backups.pins import release
from app.operations.backups.servers import of_this_server
from app.operations.restore.position import is_swapped, is_swapped_back
from app.operations.restore.replication import resume
from app.operations.service import Service, target_for
from app.ports.events import Event
from app.ports.target import Target

_COMMIT_SECONDS = 20.0  # a commit that was sent is done or refused long before
_POLL_SECONDS = 0.2
PATIENCE_SECONDS = 5.0  # of a clean-up that is cut off: as long as a server takes to be started again, or a network
_AS_BEFORE = "the live database is as before"
_AGAIN = "restore again"
_BEFORE_ANY_CHANGE = {Step.CHECKING, Step.SAFETY, Step.LOADING, Step.PROVING}
_BY_HAND = "when the server answers again: residency-backup check --repair"


def unsettled(service: Service) -> list[Restore]:
    """Restores whose processes died, or could not clean up."""
    dead = {each.id: each for each in service.restores.dead_restores(service.database, service.clock())}
    left = (each for each in service.restores.restores(service.database) if each.state is RestoreState.ABANDONED)
    return of_this_server(service, list((dead | {each.id: each for each in left}).values()))


def settle_all(service: Service) -> list[str]:
    """Settle every one that can be; says what was done.

    Raises:
        RestoreRollbackError: the first that could not be, when all others are.
    """
    done, failures = [], []
    for record in unsettled(service):
        try:
            settled = settle(service, record)
        except RestoreRollbackError as error:
            failures.append(error)
            continue
        if settled is not None:
            done.append(f"restore {record.id}, {_fate(record)}: {settled.state}{_note(settled)}")
    if failures:
        raise failures[0]
    return done


def settle(service: Service, record: Restore) -> Restore | None:
    """Clean up after one, and record what became of it. None where another process did so first.

    Raises:
        RestoreRollbackError: that failed; says what stands where.
    """
    # What was said when its clean-up failed is not so any more.
    settled = resolve(service, replace(record, error=None, message=None, hint=None))
    if settled.state is RestoreState.FAILED:
        settled = replace(settled, error="RestoreError", message=f"{_why(record)}; {_AS_BEFORE}", hint=_AGAIN)
    if not service.restores.settle_restore(settled, record):
        return None
    figures = {"step": str(record.step), "state": str(settled.state)}
    service.events.emit(Event(RestoreEvent.SETTLED, restore=record.id, figures=figures))
    return settled


def _why(record: Restore) -> str:
    """Why a restore that did not go through came to no end."""
    if record.state is not RestoreState.ABANDONED:
        return f"its process died in step '{record.step}'"
    return f"it failed in step '{record.step}'" + (f": {record.cause}" if record.cause else "")


def _fate(record: Restore) -> str:
    if record.state is RestoreState.ABANDONED:
        return f"which could not be cleaned up after step '{record.step}'"
    return f"whose process died in step '{record.step}'"


def _note(settled: Restore) -> str:
    if settled.state is RestoreState.FAILED:
        return f"; {_AS_BEFORE}"
    return f"; {settled.message}: {settled.hint}" if settled.message else ""


def tidy(service: Service) -> list[str]:
    """Settle the restores whose clean-up failed, as often as it takes, where the live database was not touched yet.

    All that is left to do is to remove what was made beside it. Of any other, somebody should read first what happened.
    """
    done = []
    for record in unsettled(service):
        if record.state is RestoreState.ABANDONED and record.step in _BEFORE_ANY_CHANGE:
            try:
                settled = settle(service, record)
            except ResidencyBackupError as error:
                waits = RestoreEvent.CLEAN_UP_WAITS
                service.events.emit(Event(waits, restore=record.id, reason=error.message))
            else:
                done += [record.id] if settled else []
    return done


def resolve(service: Service, record: Restore, *, patience: float = 0.0) -> Restore:
    """Clean up after a restore or a rollback that came to no end; returns where it stands, unrecorded.

    Args:
        service: the parts.
        record: the restore.
        patience: for how many seconds what a passing failure cuts off, such as a network's, is tried again.

    Raises:
        RestoreRollbackError: that failed; says what stands where.
    """
    end = time.monotonic() + patience
    pause = _POLL_SECONDS
    while True:
        try:
            return _resolved(service, record)
        except ResidencyBackupError as error:
            if not error.transient or time.monotonic() + pause > end:
                raise stranded(record, error) from error
            event = Event(RestoreEvent.CLEAN_UP_AGAIN, restore=record.id, reason=error.message)
            service.events.emit(event)
        time.sleep(pause)
        pause *= 2


def _resolved(service: Service, record: Restore) -> Restore:
    target = target_for(service, record)
    if record.step is Step.ROLLING_BACK:
        done = _rolled_back(target, record)
        # Whichever database is live again was to be put aside, and its subscriptions were disabled for that.
        resume(service.events, target, record, Side.REPLACED if done else Side.MADE)
        return after_rollback(service, record) if done else complete(service, record)
    if _went_through(target, record):
        return complete(service, record)
    resume(service.events, target, record, Side.REPLACED)
    service.scripts.remove(record.id)
    release(service, record, inventory(service))
    return replace(
        record,
        state=RestoreState.FAILED,
        finished_at=service.clock(),
        shadow=None,
        undo=None,
        undo_until=None,
    )


def after_rollback(service: Service, record: Restore) -> Restore:
    """A restore that is undone.

    The database that it had made, or the backup of what was there, is kept as long as its undo was, from now on: rows
    that came later are in it.
    """
    service.scripts.remove(record.id)
    since = record.before_rollback
    release(service, record, inventory(service), but=since)
    now = service.clock()
    kept = record.method is Method.SHADOW or since is not None
    return replace(
        record,
        state=RestoreState.ROLLED_BACK,
        step=Step.DONE,
        finished_at=now,
        undo=None,
        safety=since or record.safety,
        undo_until=now + service.options.undo_for if kept else None,
    )


def complete(service: Service, record: Restore) -> Restore:
    """A restore that stands. The time to undo it counts from when that is known: nobody could decide on it before."""
    kept = record.undo_until is not None
    if record.method is Method.SHADOW and record.step is not Step.ROLLING_BACK:
        # Since the checklist, the live database may have come or gone.
        kept = record.undo in target_for(service, record).databases()
        record = replace(record, undo=record.undo if kept else None)
    release(service, record, inventory(service), but=record.safety if kept else None)
    now = service.clock()
    until = now + service.options.undo_for if kept else None
    # In place, the command comes after the commit.
    left_out = record.step is Step.POST_COMMAND or (record.step is Step.SWAPPING and service.options.post_command)
    if record.method is Method.IN_PLACE and left_out:
        service.events.emit(Event(RestoreEvent.COMMAND_NOT_FINISHED, restore=record.id))
        hint = f"run it on {record.changes} by hand, or: residency-backup rollback {record.id}"
        record = replace(record, message="RESTORE_POST_COMMAND was not finished", hint=hint)
    return replace(record, state=RestoreState.COMPLETE, step=Step.DONE, finished_at=now, undo_until=until)


def _went_through(target: Target, record: Restore) -> bool:
    """Whether the live database is as after. Where it is not, the shadow is dropped."""
    if record.shadow is not None:
        # The drop waits for a swap that is just being committed; then there is nothing to drop any more.
        if record.shadow in target.databases() and target.drop(record.shadow):
            return False
        return is_swapped(record, target.databases())
    return record.transaction is not None and _committed(target, record.transaction)


def _rolled_back(target: Target, record: Restore) -> bool:
    if record.method is Method.SHADOW:
        return is_swapped_back(record, _databases(target, record))
    return record.transaction is not None and _committed(target, record.transaction)


def _databases(target: Target, record: Restore) -> dict[str, int]:
    """The databases that stand when no swap of a restore's is under way any more.

    Raises:
        RestoreRollbackError: one does not come to its end.
    """
    ours = [name for name in (record.changes, record.shadow, record.undo) if name is not None]
    end = time.monotonic() + _COMMIT_SECONDS
    while target.renaming(ours):
        if time.monotonic() > end:
            raise RestoreRollbackError(f"the renaming of {record.changes} has neither ended nor failed", _BY_HAND)
        time.sleep(_POLL_SECONDS)
    return target.databases()


def _committed(target: Target, transaction: str) -> bool:
    """Whether a transaction was committed; a commit that was sent just now is waited for.

    Raises:
        RestoreRollbackError: nobody knows.
    """
    end = time.monotonic() + _COMMIT_SECONDS
    while (known := target.committed(transaction)) is None:
        if time.monotonic() > end:
            raise RestoreRollbackError(
                f"transaction {transaction} has neither ended nor failed, or is too old for the server to know",
                _BY_HAND,
            )
        time.sleep(_POLL_SECONDS)
    return known


def stranded(record: Restore, error: ResidencyBackupError) -> RestoreRollbackError:
    """The error of a clean-up that failed: what stands where, and how to finish by hand."""
    live = record.changes
    if record.method is Method.SHADOW:
        stands = (
            f"if database {record.undo} exists, {live} is as after the restore, else as before; {record.shadow} is "
            "half built, or is the database that a rollback put aside"
        )
        by_hand = in_psql("postgres", f"DROP DATABASE IF EXISTS {quoted(record.shadow or '')} WITH (FORCE)")
    elif record.transaction:
        stands = f"if transaction {record.transaction} was committed, {live} is as after the restore, else as before"
        asks = in_psql(live, f"SELECT pg_xact_status('{record.transaction}')")
        by_hand = f"this says whether it was: {asks}"
    else:
        stands = f"{live} is as before"
        by_hand = "nothing is to be done to the database"
    message = f"restore {record.id} could not be cleaned up: {error.message}; {stands}"
    return RestoreRollbackError(message, f"{_BY_HAND}; by hand: {by_hand}")
