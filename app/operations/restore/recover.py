"""Recovers restores whose process died, or whose clean-up failed: finds out how they ended, and cleans up.

for each interrupted restore or rollback:
is the live database before or after?   (restore/position.py)
after  -> the restore is complete; its undo is kept from now on
before -> what was made beside it is dropped, its pins are released; it failed
record that
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
from app.operations.restore.hooks import run_after_recovery
from app.operations.restore.position import POLL_SECONDS, REPAIR_LATER, is_applied, is_rolled_back
from app.operations.restore.subscriptions import resume
from app.operations.service import Service, target_for
from app.ports.events import Event, failure
from app.ports.target import Target

PATIENCE_SECONDS = 5.0  # of a clean-up that is cut off: a server is started again in that time, or a network is back
_AS_BEFORE = "the live database is as before"
_BEFORE_ANY_CHANGE = {Step.CHECKING, Step.BEFORE_COMMAND, Step.SAFETY, Step.LOADING, Step.PROVING}


def interrupted(service: Service) -> list[Restore]:
    """Restores, made on this server, whose process died or could not clean up."""
    dead = service.restores.dead_restores(service.database, service.clock())
    all_restores = service.restores.restores(service.database)
    abandoned = (record for record in all_restores if record.state is RestoreState.ABANDONED)
    by_id = {record.id: record for record in (*dead, *abandoned)}
    return of_this_server(service.source, list(by_id.values()))


def recover_all(service: Service) -> list[str]:
    """Recover every interrupted restore, as far as possible; returns what was done, in words.

    Raises:
        RestoreRollbackError: the first failure, after all others were tried.
    """
    done, failures = [], []
    for record in interrupted(service):
        try:
            recovered = recover(service, record)
        except RestoreRollbackError as error:
            failures.append(error)
            continue
        if recovered is not None:
            done.append(f"restore {record.id}, {_how_it_ended(record)}: {recovered.state}{_remark(recovered)}")
    if failures:
        raise failures[0]
    return done


def recover(service: Service, record: Restore) -> Restore | None:
    """Clean up after one, and record how it ended. None if another process did so first.

    Raises:
        RestoreRollbackError: that failed; says what stands where.
    """
    # The error of a clean-up that failed earlier is no longer true.
    recovered = clean_up(service, replace(record, error=None, message=None, hint=None))
    if recovered.state is RestoreState.FAILED:
        message = f"{_why_it_failed(record)}; {_AS_BEFORE}"
        recovered = replace(recovered, error="RestoreError", message=message, hint="restore again")
    if done := run_after_recovery(service, record, recovered):
        recovered = replace(recovered, message="; ".join(filter(None, (recovered.message, *done))))
    if not service.restores.replace_restore(recovered, record):
        return None
    figures = {"step": str(record.step), "state": str(recovered.state)}
    service.events.emit(Event(RestoreEvent.RECOVERED, restore=record.id, figures=figures))
    return recovered


def recover_untouched(service: Service) -> list[str]:
    """Recover abandoned restores that had not changed the live database; called again until that succeeds.

    Only what was made beside the database has to be removed. What happened to any other restore, somebody should read
    first.
    """
    done = []
    for record in interrupted(service):
        if record.state is RestoreState.ABANDONED and record.step in _BEFORE_ANY_CHANGE:
            try:
                recovered = recover(service, record)
            except ResidencyBackupError as error:
                service.events.emit(failure(RestoreEvent.CLEAN_UP_WAITS, error, restore=record.id))
            else:
                done += [record.id] if recovered else []
    return done


def clean_up(service: Service, record: Restore, *, patience: float = 0.0) -> Restore:
    """Clean up after an interrupted restore or rollback; returns the record as it should be, not saved.

    Args:
        service: the parts.
        record: the restore.
        patience: for how many seconds a transient failure, such as a network's, is tried again.

    Raises:
        RestoreRollbackError: that failed; says what stands where.
    """
    end = time.monotonic() + patience
    pause = POLL_SECONDS
    while True:
        try:
            return _cleaned_up(service, record)
        except ResidencyBackupError as error:
            if not error.transient or time.monotonic() + pause > end:
                raise _recovery_failed(record, error) from error
            service.events.emit(failure(RestoreEvent.CLEAN_UP_AGAIN, error, restore=record.id))
        time.sleep(pause)
        pause *= 2


def _cleaned_up(service: Service, record: Restore) -> Restore:
    target = target_for(service, record)
    if record.step is Step.ROLLING_BACK:
        done = is_rolled_back(target, record)
        # The database that is live again was about to be put aside: its subscriptions were disabled for that.
        resume(service.events, target, record, Side.REPLACED if done else Side.MADE)
        return as_rolled_back(service, record) if done else as_complete(service, record)
    if not _drop_shadow(target, record) and is_applied(target, record):
        return as_complete(service, record)
    resume(service.events, target, record, Side.REPLACED)
    service.tree.scripts.remove(record.id)
    release(service, record, inventory(service))
    return replace(
        record,
        state=RestoreState.FAILED,
        finished_at=service.clock(),
        shadow=None,
        undo=None,
        undo_until=None,
    )


def _drop_shadow(target: Target, record: Restore) -> bool:
    """Drop the database that a replace was built in, if it is still there; returns whether it was.

    The drop waits for a swap that is being committed; then there is nothing to drop any more.
    """
    return record.shadow is not None and record.shadow in target.databases() and target.drop(record.shadow)


def as_complete(service: Service, record: Restore) -> Restore:
    """The record of a restore that is done. The time to undo it counts from now: nobody could decide on it before."""
    is_kept = record.undo_until is not None
    if record.method is Method.SHADOW and record.step is not Step.ROLLING_BACK:
        # Since the checks, the live database may have come or gone.
        is_kept = record.undo in target_for(service, record).databases()
        record = replace(record, undo=record.undo if is_kept else None)
    release(service, record, inventory(service), but=record.safety if is_kept else None)
    now = service.clock()
    until = now + service.options.undo_for if is_kept else None
    # In place, the command comes after the commit.
    command = service.options.post_command
    unfinished = record.step is Step.POST_COMMAND or (record.step is Step.SWAPPING and command)
    if record.method is Method.IN_PLACE and unfinished:
        service.events.emit(Event(RestoreEvent.COMMAND_NOT_FINISHED, restore=record.id))
        hint = f"run it on {record.changes} by hand, or: residency-backup rollback {record.id}"
        record = replace(record, message="RESTORE_POST_COMMAND was not finished", hint=hint)
    return replace(
        record,
        state=RestoreState.COMPLETE,
        step=Step.DONE,
        finished_at=now,
        undo_until=until,
        rolled_back_by=None,
    )


def as_rolled_back(service: Service, record: Restore) -> Restore:
    """The record of a restore that is undone.

    The database that the restore had made, or the backup that the rollback took first, is kept from now on for as long
    as an undo is: it holds rows that came after the restore.
    """
    service.tree.scripts.remove(record.id)
    release(service, record, inventory(service), but=record.before_rollback)
    now = service.clock()
    is_kept = record.method is Method.SHADOW or record.before_rollback is not None
    return replace(
        record,
        state=RestoreState.ROLLED_BACK,
        step=Step.DONE,
        finished_at=now,
        undo=None,
        safety=record.before_rollback or record.safety,
        undo_until=now + service.options.undo_for if is_kept else None,
    )


def _why_it_failed(record: Restore) -> str:
    if record.state is not RestoreState.ABANDONED:
        return f"its process died in step '{record.step}'"
    return f"it failed in step '{record.step}'" + (f": {record.cause}" if record.cause else "")


def _how_it_ended(record: Restore) -> str:
    if record.state is RestoreState.ABANDONED:
        return f"which could not be cleaned up after step '{record.step}'"
    return f"whose process died in step '{record.step}'"


def _remark(recovered: Restore) -> str:
    if recovered.state is RestoreState.FAILED and recovered.message:
        return f"; {recovered.message[recovered.message.rindex(_AS_BEFORE) :]}"  # the rest is how it ended
    return "; " + ": ".join(filter(None, (recovered.message, recovered.hint))) if recovered.message else ""


def _recovery_failed(record: Restore, error: ResidencyBackupError) -> RestoreRollbackError:
    """The error of a clean-up that failed: what stands where, and how to finish by hand."""
    live = record.changes
    if record.method is Method.SHADOW:
        where = (
            f"if database {record.undo} exists, {live} is as after the restore, else as before; {record.shadow} is "
            "half built, or is the database that a rollback put aside"
        )
        by_hand = in_psql("postgres", f"DROP DATABASE IF EXISTS {quoted(record.shadow or '')} WITH (FORCE)")
    elif record.transaction:
        where = f"if transaction {record.transaction} was committed, {live} is as after the restore, else as before"
        query = in_psql(live, f"SELECT pg_xact_status('{record.transaction}')")
        by_hand = f"this says whether it was: {query}"
    elif record.shadow:  # a merge that was migrating a copy of its backup
        where = f"{live} is as before"
        by_hand = in_psql("postgres", f"DROP DATABASE IF EXISTS {quoted(record.shadow)} WITH (FORCE)")
    else:
        where = f"{live} is as before"
        by_hand = "the database needs nothing"
    message = f"restore {record.id} could not be cleaned up: {error.message}; {where}"
    return RestoreRollbackError(message, f"{REPAIR_LATER}; by hand: {by_hand}")
