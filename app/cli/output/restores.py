"""What the command line prints of restores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from app import documents
from app.cli.output.changes import show_changes
from app.cli.output.checks import finding_line
from app.cli.output.messages import document, warn
from app.cli.output.table import Table, print_table
from app.cli.output.text import say
from app.domain.changes import Changes
from app.domain.restore import Restore, RestoreState, newer_restores
from app.operations.restore.job import RestoreOutcome
from app.operations.restore.preview import Preview
from app.operations.restore.rollback import RollbackOutcome
from app.operations.service import Service


def restored(outcome: RestoreOutcome, *, as_json: bool) -> None:
    """A restore that is done."""
    if as_json:
        document(documents.restore(outcome))
        return
    record = outcome.restore
    for finding in outcome.findings:
        finding_line(finding)
    if outcome.changes is not None:
        show_changes(outcome.changes, ("inserted", "updated", "deleted"))
    elif outcome.rows:
        say(f"{sum(outcome.rows.values()):,} rows of {len(outcome.rows)} tables, proven by content")
    for note in outcome.notes:
        say(f"note: {note}")
    say(f"restore {record.id} of {record.backup} into {record.changes} is complete" + _times(outcome))
    if record.undo_until and record.finished_at and record.undo_until > record.finished_at:
        say(f"until {_time(record)} it can be undone: residency-backup rollback {record.id}")
    warn(outcome.warnings)


def previewed(plan: Preview, *, as_json: bool) -> None:
    """What a restore would do."""
    if as_json:
        document(documents.preview(plan))
        return
    say(f"{plan.mode} of {plan.backup} into {plan.database} ({plan.method}) would change:")
    show_changes(plan.changes, ("to insert", "to update", "to delete"))
    _notes(plan.changes)
    for command in plan.commands:
        say(f"command: {command}")
    if plan.refused:
        say("it would be refused for its conflicts", colour="red")
    say("nothing was touched")
    warn(plan.warnings)


def rolled_back(outcome: RollbackOutcome, *, as_json: bool) -> None:
    """A restore that is undone."""
    if as_json:
        document(documents.rollback(outcome))
        return
    say(f"restore {outcome.restore.id} is rolled back: {outcome.restore.changes} is what it was before")
    for note in outcome.notes:
        say(f"note: {note}")
    warn(outcome.warnings)


def differences(changes: Changes, one: str, other: str | None, *, as_json: bool) -> None:
    """What differs."""
    against = other or "the live database"
    if as_json:
        document(documents.differences(one, other, changes))
        return
    if not changes.schema and not any(table.changed for table in changes.tables):
        say(f"{one} and {against} hold the same rows")
        _notes(changes)
        return
    say(f"{one} against {against}:")
    sides = ("first", "second") if other else ("backup", "live")
    show_changes(changes, (f"only in {one}", "differs", f"only in {against}"), sides)
    _notes(changes)


def _notes(changes: Changes) -> None:
    for note in changes.notes:
        say(f"note: {note}")


def listing(service: Service, records: Sequence[Restore], lost: Mapping[str, str], *, as_json: bool) -> None:
    """All restores; `lost` says why some cannot be undone any more."""
    if as_json:
        document(documents.restores(records, lost))
        return
    if not records:
        say("there were no restores yet")
        return
    zone = service.clock().tzinfo
    servers = {record.server for record in records if record.server}
    table = Table(heads=("restore", f"begun ({zone})", "mode", "backup", "into", "state", "by", "can be undone"))
    for record in records:
        table.add(
            record.id,
            f"{record.started_at.astimezone(zone):%Y-%m-%d %H:%M:%S}",
            str(record.mode),
            record.backup,
            record.changes,
            _state(record),
            record.begun_by or "",
            _undo(service, record, newer_restores(record, records), lost, with_server=len(servers) > 1),
        )
    print_table(table)


def _state(record: Restore) -> str:
    if record.state is RestoreState.RUNNING:
        return f"{record.state}: {record.step}"
    return f"{record.state}: {record.error}" if record.error else str(record.state)


def _undo(
    service: Service, record: Restore, in_front: Sequence[Restore], lost: Mapping[str, str], *, with_server: bool
) -> str:
    """Until when it can be undone, after which others, and on which server if they are of several; or why not."""
    if record.state is not RestoreState.COMPLETE:
        return ""
    if record.undo_until is None or record.id in lost:
        return f"cannot be undone any more: {lost.get(record.id, '')}"
    until = f"until {record.undo_until.astimezone(service.clock().tzinfo):%Y-%m-%d %H:%M:%S}"
    where = [f"on server {record.server}"] if with_server and record.server else []
    return ", ".join([until, *where, *(f"after {newer.id}" for newer in in_front)])


def _times(outcome: RestoreOutcome) -> str:
    total = sum(outcome.seconds.values())
    parts = [f"{total:.1f} s"] if total else []
    if outcome.downtime is not None:
        parts.append(f"nobody could connect for {outcome.downtime:.2f} s")
    return f" ({', '.join(parts)})" if parts else ""


def _time(record: Restore) -> str:
    return f"{record.undo_until:%Y-%m-%d %H:%M %Z}"
