"""The three ways in which a restore changes a database. Each records what it is about to do, then does it."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import asdict

import structlog

from app.domain.changes import Changes
from app.domain.restore import Method, Side, Step, shadow_name, undo_name
from app.domain.servers import Identity
from app.operations.backups.servers import note_restored
from app.operations.restore.foreign import loading_role
from app.operations.restore.replication import detach_copies, pause, say_what_is_next
from app.operations.restore.request import Job
from app.operations.restore.safety import safety_backup
from app.ports.target import Loading

log = structlog.get_logger(__name__)
COUNTS = ("inserted", "updated", "deleted", "unchanged", "conflicting", "blocked")


def change(job: Job) -> None:
    """Do it, the way that fits."""
    method = job.wanted.method(job.facts)
    way = {Method.SHADOW: _by_shadow, Method.IN_PLACE: _in_place, Method.ROWS: _by_rows}[method]
    way(job)


def _by_shadow(job: Job) -> None:
    """Build the database beside the live one, prove it, and swap the two."""
    safety_backup(job)
    live, restore_id = job.wanted.changes, job.journal.record.id
    shadow = shadow_name(live, restore_id)
    undo = undo_name(live, restore_id)
    job.journal.write(Step.LOADING, method=Method.SHADOW, shadow=shadow, undo=undo)
    archive = job.source.archive
    with job.phase("create"):
        maker = job.target if job.live else job.service.target
        maker.create(shadow, job.source.manifest.server if job.source.manifest else None)
    role, path = loading_role(job.service, job.wanted, job.source), job.wanted.merge.search_path
    loading = Loading(facts=job.source.facts, search_path=path, role=role)
    with job.phase("load", archive.index.raw_bytes):
        loaded = job.target.load(shadow, archive, loading, job.progress.advance)
        job.rows = {str(table): rows for table, rows in loaded.rows.items()}
        job.warnings += loaded.remarks
    job.journal.write(Step.PROVING)
    with job.phase("prove", archive.index.raw_bytes):
        job.warnings += job.target.prove(shadow, archive, loading, job.progress.advance, job.otherwise.append)
    log.info("restore proven: the database holds what the backup holds", database=shadow)
    _post_command(job, shadow)
    detach_copies(job, shadow)
    until = job.service.clock() + job.service.options.undo_for
    there = job.target.databases()
    oids = {"made_oid": there.get(shadow), "replaced_oid": there.get(live)}
    job.journal.write(Step.SWAPPING, undo_until=until if job.live else None, **oids)
    _note_made(job, there.get(shadow))
    with job.phase("swap"):
        if job.live:
            pause(job.target, job.journal, Side.REPLACED)
        seconds = job.target.swap(shadow, live, undo)
    # Since the checklist, the live database may have come or gone.
    kept = undo in job.target.databases()
    job.downtime = seconds if kept else None  # nobody misses what was not there
    job.journal.note(undo=undo if kept else None, undo_until=until if kept else None)
    log.info("restore swapped the databases", database=live, downtime=job.downtime, undo=undo)
    say_what_is_next(job)


def _note_made(job: Job, oid: int | None) -> None:
    """Note in the tree, before it is so, which database is live from then on: its backups are no other server's."""
    if job.wanted.into is None and oid is not None:
        note_restored(job.service, job.journal.record, Identity(job.facts.system_identifier, oid))


def _post_command(job: Job, database: str) -> None:
    command = job.service.options.post_command
    if not command:
        return
    job.journal.write(Step.POST_COMMAND)
    with job.phase("post command"):
        job.service.target.run(command, database)
    log.info("restore post command done", database=database)


def _in_place(job: Job) -> None:
    """Everything in one transaction of the live database: the role may make no other."""
    safety_backup(job)
    live = job.wanted.changes
    job.notes.append(f"the role may not create databases: {live} is replaced in place, in one transaction")
    log.info("restore goes in place: the role may not create databases", database=live)
    job.journal.write(Step.LOADING, method=Method.IN_PLACE)
    archive = job.source.archive
    # Only a safety backup undoes it.
    until = job.service.clock() + job.service.options.undo_for if job.journal.record.safety else None

    def on_commit(transaction: str) -> None:
        job.journal.write(Step.SWAPPING, transaction=transaction, undo_until=until)
        _note_made(job, job.facts.live.database_oid if job.facts.live else None)

    with job.phase("replace in place", archive.index.raw_bytes):
        path = job.wanted.merge.search_path
        job.warnings += job.target.replace_in_place(archive, job.source.facts, on_commit, path)
    job.rows = {str(table.table): table.rows for table in archive.index.tables}
    # What one transaction holds no other can see: the command comes after it, and undoes it where it does not end well.
    _post_command(job, live)


def _by_rows(job: Job) -> None:
    """Bring rows into the tables that are there, and write down how to undo it.

    What a dry run refuses is refused before the safety backup is taken: so the rows are put beside the live ones first.
    """
    service, restore_id = job.service, job.journal.record.id
    changed = job.target.databases().get(job.wanted.changes)
    job.journal.write(Step.LOADING, method=Method.ROWS, changed_oid=changed)
    archive = job.source.archive
    total = archive.index.raw_bytes
    with ExitStack() as stack:
        with job.phase("merge", total):
            merging = stack.enter_context(job.target.merging(archive, job.wanted.merge, job.progress.advance))
            merging.check()
        safety_backup(job)
        job.journal.write(Step.LOADING)
        script = stack.enter_context(service.scripts.create(restore_id))

        def on_commit(transaction: str) -> None:
            script.keep()
            until = service.clock() + service.options.undo_for
            job.journal.write(Step.SWAPPING, transaction=transaction, undo_until=until)

        with job.phase("merge"):
            job.changes = merging.apply(script.stream, on_commit)
    job.rows = {name: job.changes.total(name) for name in COUNTS}
    job.notes += job.changes.notes
    job.warnings += job.changes.warnings
    if blocked := job.changes.total("blocked"):
        job.warnings.append(f"{blocked} rows were not brought back: see the samples for what stands in their way")


def changes_report(changes: Changes) -> dict[str, object]:
    """Counts and samples, as JSON takes them."""
    tables = [asdict(table) for table in changes.tables]
    samples = [
        asdict(sample) | {"kind": str(sample.kind), "columns": list(sample.columns)} for sample in changes.samples
    ]
    schema = {"schema": list(changes.schema), "otherwise": [asdict(words) for words in changes.otherwise]}
    return {"tables": tables, "samples": samples, "notes": list(changes.notes), **schema}
