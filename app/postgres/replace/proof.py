"""Proves a restored database: it is dumped once more, nothing of that is kept, and what it holds is compared.

The dump engine reads it, so that the proof costs what a dump costs; only a digest of each table is left of the rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from app.archive.index import TableDigest, TableName
from app.archive.inspect.content import Content, Entries, EntryName, content_of
from app.archive.inspect.words import both_texts, say_the_same
from app.archive.reader import Archive
from app.domain.changes import MOST_SAMPLES, OtherWords
from app.errors import RestoreDataError
from app.ports.attempts import dump_whole
from app.ports.target import Loading
from app.postgres.database import Database
from app.postgres.digest import table_digest, use_read_settings
from app.postgres.dump.source import PostgresSource
from app.postgres.operator_path import UNQUALIFIABLE
from app.postgres.session import as_restore_errors
from app.postgres.without_login_triggers import without_login_triggers

_SHOWN = 10
# Types of entries that every pg_dump makes, and calls alike.
_ALIKE = {
    b"CONSTRAINT",
    b"FK CONSTRAINT",
    b"INDEX",
    b"MATERIALIZED VIEW",
    b"SEQUENCE",
    b"TABLE",
    b"TRIGGER",
    b"VIEW",
}
_PUBLIC = EntryName(b"SCHEMA", b"-", b"public")
_HINT = "restore again; if it stays so, verify the backup and see the server's log"
Again = Callable[[TableName], TableDigest | None]


@dataclass(slots=True)
class Differences:
    """What is not as in the archive: `errors` prove that the content is another, `remarks` do not.

    Attributes:
        otherwise: the objects that a remark says to read otherwise.
    """

    errors: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    otherwise: list[OtherWords] = field(default_factory=list)

    def require_equal(self, name: str, otherwise: Callable[[OtherWords], object] = lambda _: None) -> list[str]:
        """The remarks.

        Args:
            name: the database's.
            otherwise: called with each object that differs in words alone.

        Raises:
            RestoreDataError: there are errors; names them.
        """
        for words in self.otherwise:
            otherwise(words)
        if self.errors:
            message = f"database {name} is not what the backup holds: {listed(self.errors)}"
            raise RestoreDataError(message, _HINT)
        return self.remarks


def compare(
    database: Database,
    archive: Archive,
    loading: Loading,
    jobs: int,
    progress: Callable[[int], None] = lambda _: None,
) -> Differences:
    """Compare a whole database with an archive; see `app.ports.target.Target.prove`.

    Args:
        database: the restored one.
        archive: what it should hold.
        loading: how it was loaded.
        jobs: connections at once.
        progress: called with the number of bytes read.

    Raises:
        RestorePermissionError: the role may not read all of it.
        RestoreBusyError: a table stayed locked.
        TargetUnavailableError: the server went away.
        BackupReadError, BackupValidationError: the archive cannot be read.
    """
    expected, ours = content_of(archive), not loading.foreign
    settings = dict(loading.facts.read_settings) if loading.facts else {}
    encoding = settings.pop("client_encoding", None) or expected.encoding
    database = without_login_triggers(database, database.name)
    with as_restore_errors():
        own = PostgresSource(database).facts().read_settings
        reading = database.with_settings({name: value for name, value in settings.items() if own.get(name) != value})
        found = _read(PostgresSource(reading, jobs, encoding, doubting=False), progress)

    def again(table: TableName) -> TableDigest | None:
        with as_restore_errors(), reading.connect() as connection:
            use_read_settings(connection, own | settings | ({"client_encoding": encoding} if encoding else {}))
            return table_digest(connection, table, archive.segments_of(table)[0].columns)

    differences = Differences()
    compare_tables(
        differences, archive.index.tables, comparable_tables(found.tables, expected, archive), again, ours=ours
    )
    compare_values(differences, expected, found.sequences, found.large_objects, ours=ours)
    wanted = expected.entries if loading.keeps_owners else _without_owners(expected.entries, found.entries)
    compare_schema(differences, wanted, found.entries, ours=ours)
    return differences


def _without_owners(expected: Entries, found: Entries) -> Entries:
    """What is wanted of a database that all belongs to who loaded it: a load as a role passes over the rest."""
    kept = {
        name: words
        for name, words in expected.words.items()
        if not (
            name.type == b"DEFAULT ACL"
            or (name.type == b"COMMENT" and name.name.startswith(b"EXTENSION "))
            # Of the schema public a dump has an entry if its owner is another than usual.
            or (name == _PUBLIC and name not in found.words)
        )
    }
    for entries in kept.values():
        for words in entries:
            words.owner = None
    return replace(expected, words=kept)


def _read(source: PostgresSource, progress: Callable[[int], None]) -> Content:
    _, content = dump_whole(source, lambda: Content(progress))
    content.finish()
    return content


def comparable_tables(
    found: Mapping[TableName, TableDigest], expected: Content, archive: Archive
) -> dict[TableName, TableDigest]:
    """What was found, without empty tables that the archive has too, but no rows of: a standby's unlogged ones."""
    given = {table.table for table in archive.index.tables}
    kept = (
        table for table in found.values() if table.rows or table.table in given or not expected.describes(table.table)
    )
    return {table.table: table for table in kept}


def compare_tables(
    differences: Differences,
    expected: Iterable[TableDigest],
    found: Mapping[TableName, TableDigest],
    again: Again,
    *,
    ours: bool,
) -> None:
    """Compare rows.

    Args:
        differences: gets what differs.
        expected: the archive's tables.
        found: the database's.
        again: reads a table with its columns in the archive's order, which a table that inherits may have in another.
        ours: whether the archive is a complete dump of this service, read under known settings.
    """
    there = dict(found)
    for table in expected:
        restored = there.pop(table.table, None)
        if restored is None:
            differences.errors.append(f"table {table.table} is missing")
        elif restored.rows != table.rows:
            differences.errors.append(f"table {table.table} has {restored.rows} rows, not {table.rows}")
        elif restored.digest != table.digest and again(table.table) != table:
            (differences.errors if ours else differences.remarks).append(f"rows of table {table.table} differ")
    for more in there.values():
        if ours:
            differences.errors.append(f"table {more.table} is not in the backup")
        elif more.rows:
            differences.remarks.append(f"table {more.table}: the file has its {more.rows} rows in a form not compared")


def compare_values(
    differences: Differences,
    expected: Content,
    sequences: Mapping[bytes, bytes],
    large_objects: Mapping[int, str],
    *,
    ours: bool,
) -> None:
    """Compare sequences and large objects."""
    for name, value in expected.sequences.items():
        if sequences.get(name) != value:
            what = "is missing" if name not in sequences else "has another value"
            differences.errors.append(f"sequence {_shown(name)} {what}")
    for oid, digest in expected.large_objects.items():
        if large_objects.get(oid) != digest:
            what = "is missing" if oid not in large_objects else "differs"
            differences.errors.append(f"large object {oid} {what}")
    more = len(large_objects.keys() - expected.large_objects.keys())
    if more:
        (differences.errors if ours else differences.remarks).append(f"{more} large objects are not in the backup")


def compare_schema(differences: Differences, expected: Entries, found: Entries, *, ours: bool) -> None:
    """Compare the entries of the schema, as far as both dumps say the same in the same words."""
    alike = (expected.server, expected.program) == (found.server, found.program)
    sure = {name: words for name, words in expected.words.items() if name not in expected.unsure}
    missing = [
        f"{name} is missing"
        for name, words in sure.items()
        if len(found.words.get(name, ())) < len(words)
        and (alike or name.type in _ALIKE)
        and name.type != b"MATERIALIZED VIEW DATA"  # the load says which it could not fill
    ]
    differences.errors.extend(missing)
    if not alike:
        differences.remarks.append(_not_compared(expected, found))
        return
    common = [(name, words, found.words.get(name, words)) for name, words in sure.items()]
    other = [name for name, words, there in common if not say_the_same(words, there)]
    if other:
        texts = [both_texts(name, expected.words[name], found.words[name]) for name in other[:MOST_SAMPLES]]
        differences.otherwise += texts
        by_name = any(UNQUALIFIABLE.search(text.backup.encode()) for text in texts if text.backup)
        differences.remarks.append(
            f"{len(other)} objects read otherwise than in the backup: {listed(other)}"
            + ("; what compares in them may compare otherwise now: restore with --search-path" if by_name else "")
        )
    more = [name for name in found.words if name not in expected.words]
    if more and ours:
        differences.remarks.append(f"{len(more)} objects are not in the backup: {listed(more)}")


def _shown(literal: bytes) -> str:
    return literal.decode(errors="backslashreplace").strip("'")


def _not_compared(expected: Entries, found: Entries) -> str:
    def said(entries: Entries) -> str:
        return f"pg_dump {entries.program or '?'} of PostgreSQL {entries.server or '?'}"

    return f"the schema was not compared word by word: the backup is by {said(expected)}, the proof by {said(found)}"


def listed(things: Iterable[object]) -> str:
    """Some of them, and how many more there are."""
    texts = [str(thing) for thing in things]
    more = f" and {len(texts) - _SHOWN} more" if len(texts) > _SHOWN else ""
    return ", ".join(texts[:_SHOWN]) + more
