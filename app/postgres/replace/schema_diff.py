"""Compares a backup's schema with the live one, by pg_dump's entries: tables, indexes, functions, grants."""

from __future__ import annotations

import os
import time

from app.archive.inspect.content import Content, Entries, EntryName, content_of
from app.archive.inspect.words import both_texts, say_the_same
from app.archive.reader import Archive
from app.archive.scanner import scan
from app.domain.changes import MOST_SAMPLES, OtherWords
from app.errors import RestoreError
from app.postgres.binaries import find_binary
from app.postgres.database import Database
from app.postgres.dump.failures import BLOCKED
from app.postgres.dump.source import PG_DUMP_LOCK_MS, PostgresSource
from app.postgres.programs import ProgramError, as_killed, running
from app.postgres.session import as_restore_errors
from app.postgres.session_settings import LOCK_WAIT_MS

# Entries that are no part of the schema: filling materialized views.
_DATA = {b"MATERIALIZED VIEW DATA"}


def schema_differences(database: Database, archive: Archive) -> tuple[list[str], list[OtherWords]]:
    """Compare an archive's schema with a database's.

    Returns:
        A line for each difference; and both texts of up to `MOST_SAMPLES` objects that differ.

    Raises:
        TargetUnavailableError: the server does not answer.
        RestoreError: pg_dump fails.
        BackupReadError, BackupValidationError: the archive cannot be read.
    """
    wanted = entries_of(archive)
    if wanted.bare:
        return ["the schema is not compared: the file has no comments that name its objects"], []
    live = live_entries(database)
    for name in wanted.unsure | live.unsure:
        wanted.words.pop(name, None)
        live.words.pop(name, None)
    lines = [f"{name} is not in the live database" for name in wanted.words if name not in live.words]
    lines += [f"{name} is not in the backup" for name in live.words if name not in wanted.words]
    others = []
    if (wanted.server, wanted.program) == (
        live.server,
        live.program,
    ):  # other versions write the same object differently
        common = [(name, words, live.words[name]) for name, words in wanted.words.items() if name in live.words]
        others = [entry for entry in common if not say_the_same(entry[1], entry[2])]
    lines += [f"{name} differs" for name, _, _ in others]
    return sorted(lines), [both_texts(*entry) for entry in others[:MOST_SAMPLES]]


def entries_of(archive: Archive) -> Entries:
    """An archive's schema, as pg_dump --schema-only writes it."""
    return of_the_schema(content_of(archive).entries)


def of_the_schema(entries: Entries) -> Entries:
    """Entries of a dump without those that pg_dump --schema-only does not write."""
    for name in [entry for entry in entries.words if entry.type in _DATA or _is_of_a_large_object(entry)]:
        del entries.words[name]
    return entries


def _is_of_a_large_object(name: EntryName) -> bool:
    """Whether an entry is the comment on, or grants on, a large object."""
    return name.schema == b"-" and name.name.startswith(b"LARGE OBJECT ")


def live_entries(database: Database) -> Entries:
    """A database's schema.

    Raises:
        TargetUnavailableError: the server does not answer.
        RestoreError: pg_dump fails.
    """
    with as_restore_errors():
        version = PostgresSource(database).facts().version
        program = find_binary("pg_dump", version).path
    words = ["--schema-only", "--no-password", f"--lock-wait-timeout={PG_DUMP_LOCK_MS}"]
    argv = [program, f"--dbname={database.conninfo}", *words]
    deadline = time.monotonic() + LOCK_WAIT_MS / 1000
    while True:
        content = Content()
        try:
            with running(argv, database.environment(os.environ)) as dump:
                content.add(scan(dump.blocks()))
                dump.check()
        except ProgramError as error:
            if BLOCKED.search(error.message) and time.monotonic() < deadline:
                continue  # its locks are released, so that sessions that waited for them go on
            with as_restore_errors(), database.connect():
                pass  # if the server does not answer, this raises the clearer error
            killed = as_killed(error, f"reading the schema of database {database.name}")
            message = f"the schema of database {database.name} cannot be read: {error.message}"
            raise RestoreError(message, *([killed.hint] if killed else [])) from error
        content.finish()
        return content.entries
