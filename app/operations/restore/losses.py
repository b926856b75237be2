"""What a replace of the whole database would lose because the file lacks it: tables, or their rows.

A dump may be of one table, of the schema alone, or without the rows of some tables: then a replace drops what the live
database has of the others. Of a backup of this service that is a warning: it has all that there was.
"""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterator

from app.archive.index import TableName, total_rows
from app.archive.inspect.first_bytes import UNPACK
from app.archive.inspect.tables import TablesInFile
from app.domain.backup import Codec
from app.domain.checks import Finding
from app.domain.listed import listed
from app.errors import RestoreValidationError
from app.operations.restore.job import Job

LOSSES = "losses"
_SHOWN = 10


def loss_findings(job: Job, tables: TablesInFile, extensions: Collection[str]) -> Iterator[Finding]:
    """Compare the tables of the file with those of the live database, if there is one.

    Args:
        job: a replace of the whole database.
        tables: of the file.
        extensions: that the file makes: they may bring tables of their own.

    Raises:
        RestoreError: the server does not answer.
    """
    if not tables.made and not extensions and (_with_data(job, tables) or tables.completes):
        yield Finding.failed(LOSSES, _of_other_tables(job, tables))
        return
    if not (lost := list(_lost(job, tables))):
        if not _has_rows(job, tables):
            yield Finding.ok(LOSSES, f"{job.source.name} has no rows at all")
        return
    message = f"{job.source.name} {'; it '.join(lost)}"
    if job.request.allow_missing or _is_of_this_database(job):
        yield Finding.warning(LOSSES, f"{message}; the replace removes that")
    else:
        yield Finding.failed(LOSSES, RestoreValidationError(message, _ways(job, tables)))


def rowless_findings(job: Job) -> Iterator[Finding]:
    """Warn of a merge that brings nothing."""
    if not job.source.archive.index.rows:
        yield Finding.warning(LOSSES, f"{job.source.name} has no rows: nothing can come from it")


def _is_of_this_database(job: Job) -> bool:
    """Whether this service made the backup of the live database: then it has all that there was."""
    backup = job.source.backup
    return job.source.facts is not None and backup is not None and backup.database == job.request.database


def _lost(job: Job, tables: TablesInFile) -> Iterator[str]:
    """What the live database has and the file lacks: what follows the file's name in a sentence."""
    if not job.live:
        return
    live, database = job.target.tables(), job.request.changes
    with_data = _with_data(job, tables)
    roots_with_data = {live.get(table, table) for table in with_data}
    unread = set(live.values()) - roots_with_data
    known = roots_with_data | {live.get(table, table) for table in tables.made}
    if not _has_rows(job, tables):
        if filled := sorted({live[table] for table in job.target.filled(live)}):
            yield f"has no rows at all, and {database} has some in {_number(filled)}: {listed(filled, _SHOWN)}"
    else:
        # An empty table has its place in a dump too, unless its rows were left out.
        left_out = [table for table, root in live.items() if root in unread & known]
        if left_out and (filled := sorted({live[table] for table in job.target.filled(left_out)})):
            are = "is" if len(filled) == 1 else "are"
            yield f"has no rows of {_number(filled)} that {are} not empty in {database}: {listed(filled, _SHOWN)}"
    if lacking := sorted(unread - known):
        yield f"lacks {_number(lacking)} that {database} has: {listed(lacking, _SHOWN)}"


def _with_data(job: Job, tables: TablesInFile) -> set[TableName]:
    return {digest.table for digest in job.source.archive.index.tables} | tables.described


def _has_rows(job: Job, tables: TablesInFile) -> bool:
    return tables.inserts or total_rows(job.source.archive.index.tables) > 0


def _number(tables: Collection[TableName]) -> str:
    return f"{len(tables)} {'table' if len(tables) == 1 else 'tables'}"


def _of_other_tables(job: Job, tables: TablesInFile) -> RestoreValidationError:
    """The error of a dump that fills or completes tables which it does not make."""
    if not _with_data(job, tables):
        message = f"{job.source.name} makes no tables, only indexes and keys, as by pg_dump --section=post-data"
        return RestoreValidationError(f"{message}: it can replace nothing", "use a whole dump")
    message = f"{job.source.name} has rows and makes no tables, as by pg_dump --data-only: it can replace nothing"
    if tables.inserts or not job.live:
        return RestoreValidationError(message, f"in a database that has its tables: {_by_psql(job)}")
    hint = f"its rows can come into the tables that are there: {_command(job)} --mode merge --dry-run"
    return RestoreValidationError(message, hint)


def _ways(job: Job, tables: TablesInFile) -> str:
    """What else may be meant, and how to say that all this may go."""
    request = job.request
    options = f" --as {_quoted(request.as_role)}" if request.as_role else ""
    options += f" --search-path {_quoted(request.search_path)}" if request.search_path else ""
    replace = f"{_command(job)} --mode replace --allow-missing{options} --confirm {_quoted(request.changes)}"
    ways = [f"if that may go: {replace}"]
    if _has_rows(job, tables) and not tables.inserts:
        rows = [f"{_command(job)} --mode merge --dry-run"]
        if len(found := _with_data(job, tables)) == 1:
            rows.append(f"{_command(job)} --mode replace --table {_quoted(str(*found))} --dry-run")
        ways.insert(0, f"for its rows alone: {', or '.join(rows)}")
    return "; ".join(ways)


def _command(job: Job) -> str:
    into = f" --into {_quoted(job.request.into)}" if job.request.into else ""
    return f"residency-backup restore {_quoted(job.source.name)}{into}"


def _by_psql(job: Job) -> str:
    """The command that runs the file in the database, whatever it is compressed or packed with."""
    archive, file = job.source.archive, _quoted(job.source.name)
    run = f"psql -X -v ON_ERROR_STOP=1 -1 -d {_quoted(job.request.changes)} -f"
    if archive.codec is not Codec.NONE:
        return f"{UNPACK[archive.codec]} {file} | {run} -"
    return f"{run} {file}" if archive.seekable else f"pg_restore --file=- {file} | {run} -"


def _quoted(text: str) -> str:
    return shlex.quote(text)
