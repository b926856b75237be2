"""The three methods by which a restore changes a database. Each records what it is about to do, then does it.

shadow database:  safety backup -> create shadow -> load -> prove -> post command -> swap by renaming
in place:         safety backup -> one transaction: empty the database, load -> post command
rows:             rows into temporary tables -> check -> safety backup -> one transaction: changes and their inverse
                  (before a merge across migrations, a copy of the backup is migrated: restore/migration.py)
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from shlex import quote

from app.domain.events import RestoreEvent
from app.domain.restore import Method, Side, Step, shadow_name, undo_name
from app.domain.servers import Identity
from app.errors import BackupPermissionError
from app.operations.backups.servers import note_restored
from app.operations.restore.foreign import loading_role
from app.operations.restore.job import RestoreJob
from app.operations.restore.migration import Rows, migrated_rows, rows_of
from app.operations.restore.parts import with_what_was_read
from app.operations.restore.revisions import offering_migration, revision_notes
from app.operations.restore.safety import safety_backup
from app.operations.restore.subscriptions import detach_copies, pause, report_subscriptions
from app.ports.target import LoadOptions

COUNTS = ("inserted", "updated", "deleted", "unchanged", "conflicting", "blocked")


def change(job: RestoreJob) -> None:
    """Change the database by the method that fits the request and the role."""
    {Method.SHADOW: _by_shadow, Method.IN_PLACE: _in_place, Method.ROWS: _by_rows}[job.method](job)


def _by_shadow(job: RestoreJob) -> None:
    """Build the database beside the live one, prove it, and swap the two."""
    safety_backup(job)
    live, restore_id = job.request.changes, job.record.id
    shadow, undo = shadow_name(live, restore_id), undo_name(live, restore_id)
    job.journal.write(Step.LOADING, method=Method.SHADOW, shadow=shadow, undo=undo)
    with job.phase("create"):
        # A database that is not there yet cannot be connected to: the live one's server creates it.
        creator = job.target if job.live else job.service.target
        creator.create(shadow, job.source.manifest.server if job.source.manifest else None)
    _load_and_prove(job, shadow)
    _run_post_command(job, shadow)
    detach_copies(job, shadow)
    _swap(job, shadow, undo)
    report_subscriptions(job)


def _load_and_prove(job: RestoreJob, shadow: str) -> None:
    archive, outcome = job.source.archive, job.outcome
    path, role = job.request.search_path, loading_role(job)
    options = LoadOptions(facts=job.source.facts, search_path=path, role=role, proven_next=True)
    with job.phase("load", archive.index.raw_bytes):
        loaded = job.target.load(shadow, archive, options, job.progress.advance)
    outcome.rows = {str(table): rows for table, rows in loaded.rows.items()}
    outcome.warnings += loaded.remarks
    job.journal.write(Step.PROVING)
    with job.phase("prove", archive.index.raw_bytes):
        outcome.warnings += job.target.prove(shadow, archive, options, job.progress.advance, outcome.otherwise.append)
    job.emit(RestoreEvent.PROVEN, database=shadow)


def _swap(job: RestoreJob, shadow: str, undo: str) -> None:
    live, journal = job.request.changes, job.journal
    until = job.service.clock() + job.service.options.undo_for
    oids = job.target.databases()
    journal.write(
        Step.SWAPPING,
        undo_until=until if job.live else None,
        made_oid=oids.get(shadow),
        replaced_oid=oids.get(live),
    )
    _note_made(job, oids.get(shadow))
    with job.phase("swap"):
        if job.live:
            pause(job.target, journal, Side.REPLACED)
        seconds = job.target.swap(shadow, live, undo)
    # Since the checks, the live database may have come or gone.
    is_kept = undo in job.target.databases()
    job.outcome.downtime = seconds if is_kept else None  # nobody misses a database that was not there
    journal.note(undo=undo if is_kept else None, undo_until=until if is_kept else None)
    job.emit(RestoreEvent.SWAPPED, database=live, downtime=job.outcome.downtime, undo=undo)


def _note_made(job: RestoreJob, oid: int | None) -> None:
    """Note in the tree which database will be live, before it is: else the next backup would refuse it as another's."""
    if job.request.into is not None or oid is None:
        return
    try:
        note_restored(job.service, job.record, Identity(job.facts.system_identifier, oid))
    except BackupPermissionError as error:  # no backup can be made there, so none is refused either
        command = f"residency-backup adopt --confirm {quote(job.request.changes)}"
        job.outcome.warnings.append(
            f"BACKUP_DIR does not say which database is the live one now: {error.message}; before the next backup, "
            f"when it can be written: {command}"
        )


def _run_post_command(job: RestoreJob, database: str) -> None:
    command = job.service.options.post_command
    if not command:
        return
    job.journal.write(Step.POST_COMMAND)
    with job.phase("post command"):
        job.service.target.run(command, database)
    job.emit(RestoreEvent.COMMAND_DONE, database=database)


def _in_place(job: RestoreJob) -> None:
    """Replace the content in one transaction of the live database: the role may not create another."""
    safety_backup(job)
    live, journal, archive = job.request.changes, job.journal, job.source.archive
    job.outcome.notes.append(f"the role may not create databases: {live} is replaced in place, in one transaction")
    job.emit(RestoreEvent.IN_PLACE, database=live)
    journal.write(Step.LOADING, method=Method.IN_PLACE)
    # Only a safety backup undoes it.
    until = job.service.clock() + job.service.options.undo_for if job.record.safety else None

    def on_commit(transaction: str) -> None:
        journal.write(Step.SWAPPING, transaction=transaction, undo_until=until)
        _note_made(job, job.facts.live.database_oid if job.facts.live else None)

    with job.phase("replace in place", archive.index.raw_bytes):
        job.outcome.warnings += job.target.replace_in_place(
            archive, job.source.facts, on_commit, job.request.search_path
        )
    job.outcome.rows = {str(table.table): table.rows for table in archive.index.tables}
    # The command cannot see rows of an open transaction, so it runs after the commit. If it fails, the safety backup is
    # restored.
    _run_post_command(job, live)


def _rows(job: RestoreJob, changed: int | None) -> Rows:
    """The rows to bring: of the backup, or of a copy that is migrated in a database of its own."""
    if not job.migration:
        job.journal.write(Step.LOADING, method=Method.ROWS, changed_oid=changed)
        return rows_of(job)
    scratch = shadow_name(job.request.changes, job.record.id)
    job.journal.write(Step.LOADING, method=Method.ROWS, changed_oid=changed, shadow=scratch)
    rows = migrated_rows(job, scratch)
    job.journal.write(Step.LOADING, shadow=None)
    return rows


def _by_rows(job: RestoreJob) -> None:
    """Bring rows into the existing tables, and write the script that undoes it.

    What a dry run refuses is refused before the safety backup is taken: the rows are put into temporary tables first.
    """
    service, journal = job.service, job.journal
    changed = job.target.databases().get(job.request.changes)
    rows = _rows(job, changed)
    with ExitStack() as stack:
        with job.phase("merge", rows.archive.index.raw_bytes), offering_migration(job):
            merging = stack.enter_context(job.target.merging(rows.archive, rows.request, job.progress.advance))
            merging.check()
        with_what_was_read(job.outcome.findings, job.source, service.events, job.record.id)
        safety_backup(job, merging.can_change() if job.request.of_chosen_tables and job.takes_safety else None)
        journal.write(Step.LOADING)
        script = stack.enter_context(service.tree.scripts.create(job.record.id))

        def on_commit(transaction: str) -> None:
            script.keep()
            until = service.clock() + service.options.undo_for
            journal.write(Step.SWAPPING, transaction=transaction, undo_until=until)

        with job.phase("merge"):
            changes = merging.apply(script.stream, on_commit)
    outcome = job.outcome
    outcome.changes = replace(changes, versions=job.versions)
    outcome.rows = {name: changes.total(name) for name in COUNTS}
    outcome.notes += (*revision_notes(job, outcome.findings), *rows.notes, *changes.notes)
    outcome.warnings += changes.warnings
    if blocked := changes.total("blocked"):
        outcome.warnings.append(f"{blocked} rows were not brought back: the samples show what blocks them")
