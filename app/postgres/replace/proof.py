"""Proves a restored database: dumps it without keeping the dump, and compares its content with the archive.

It is read by the dump engine, so a proof costs what a dump costs. Of the rows, only each table's digest is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from app.archive.index import TableDigest, TableName
from app.archive.inspect.content import Content, Entries, EntryName, content_of
from app.archive.inspect.large_objects import LargeObjects
from app.archive.inspect.words import both_texts, say_the_same
from app.archive.reader import Archive
from app.domain.changes import MOST_SAMPLES, OtherWords
from app.domain.listed import listed
from app.errors import RestoreDataError
from app.ports.attempts import dump_whole
from app.ports.target import LoadOptions
from app.postgres.database import Database
from app.postgres.digest import leaves_of_partitioned, table_digest, use_read_settings
from app.postgres.dump.source import PostgresSource
from app.postgres.operator_path import UNQUALIFIABLE
from app.postgres.session import as_restore_errors
from app.postgres.without_login_triggers import without_login_triggers

_SHOWN = 10
# Types of entries that every version of pg_dump writes, under the same names.
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
# What a new database has, and a dump of it does not name.
_UNNAMED = {_PUBLIC, EntryName(b"COMMENT", b"-", b"SCHEMA public")}
_OF_TABLES = {b"CONSTRAINT", b"FK CONSTRAINT", b"TRIGGER"}
_HINT = (
    "restore again; if that does not help, see the server's log, and verify the backups: residency-backup verify --all"
)
Again = Callable[[TableName], TableDigest | None]


@dataclass(slots=True)
class Differences:
    """Differences from the archive: `errors` prove that the content differs, `remarks` do not.

    Attributes:
        otherwise: objects whose texts differ.
    """

    errors: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    otherwise: list[OtherWords] = field(default_factory=list)

    def require_equal(self, name: str, otherwise: Callable[[OtherWords], object] = lambda _: None) -> list[str]:
        """The remarks, if there are no errors.

        Args:
            name: of the database.
            otherwise: called with each object whose texts differ.

        Raises:
            RestoreDataError: there are errors; names them.
        """
        for words in self.otherwise:
            otherwise(words)
        if self.errors:
            message = f"database {name} differs from the backup: {listed(self.errors, _SHOWN)}"
            raise RestoreDataError(message, _HINT)
        return self.remarks


def compare(
    database: Database,
    archive: Archive,
    options: LoadOptions,
    jobs: int,
    progress: Callable[[int], None] = lambda _: None,
) -> Differences:
    """Compare a whole database with an archive; see `app.ports.target.Target.prove`.

    Args:
        database: the restored one.
        archive: of the content that it should have.
        options: how it was loaded.
        jobs: number of connections.
        progress: called with the number of bytes read.

    Raises:
        RestorePermissionError: the role may not read everything.
        RestoreBusyError: a table stayed locked.
        TargetUnavailableError: the server went away.
        BackupReadError, BackupValidationError: the archive cannot be read.
    """
    expected, ours = content_of(archive), not options.foreign
    settings = dict(options.facts.read_settings) if options.facts else {}
    encoding = settings.pop("client_encoding", None) or expected.encoding
    if expected.quotes_all and not ours:
        settings["quote_all_identifiers"] = "on"
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
    comparable = comparable_tables(found.tables, expected, archive)
    if not ours:
        join_partitions(comparable, _leaves(reading), archive, again)
        count_alone(differences, comparable, archive)
    compare_tables(differences, archive.index.tables, comparable, again, ours=ours)
    compare_values(differences, expected, found.sequences, found.large_objects, ours=ours)
    expected_entries = expected.entries if options.keeps_owners else _without_owners(expected.entries, found.entries)
    if options.keeps_owners and (others := expected.large_objects.differing_owners(found.large_objects)):
        differences.remarks.append(f"owners of {others} large objects differ from the backup")
    compare_schema(differences, expected_entries, found.entries, ours=ours)
    return differences


def _leaves(database: Database) -> dict[TableName, list[TableName]]:
    with as_restore_errors(), database.connect() as connection:
        return leaves_of_partitioned(connection)


def _without_owners(expected: Entries, found: Entries) -> Entries:
    """The entries expected of a database that was loaded as a role, which owns everything."""
    kept = {
        name: words
        for name, words in expected.words.items()
        if not (
            name.type == b"DEFAULT ACL"
            or (name.type == b"COMMENT" and name.name.startswith(b"EXTENSION "))
            # A dump has an entry for schema public only if its owner is not the default one.
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
    """The found tables without empty ones that the archive describes but has no rows of: a standby's unlogged ones."""
    given = {table.table for table in archive.index.tables}
    kept = (
        table for table in found.values() if table.rows or table.table in given or not expected.describes(table.table)
    )
    return {table.table: table for table in kept}


def join_partitions(
    found: dict[TableName, TableDigest], leaves: Mapping[TableName, Sequence[TableName]], archive: Archive, read: Again
) -> None:
    """Replace partitions by their table if a foreign dump has their rows as one (``--load-via-partition-root``)."""
    given = {table.table for table in archive.index.tables}
    for root in leaves.keys() & given:
        if digest := read(root):
            found[root] = digest
            for leaf in set(leaves[root]) - given:
                found.pop(leaf, None)


def count_alone(differences: Differences, found: dict[TableName, TableDigest], archive: Archive) -> None:
    """Compare only the number of rows if a file has a table's columns in several orders, as its partitions have."""
    for table in archive.index.tables:
        orders = {segment.columns for segment in archive.segments_of(table.table)}
        if len(orders) > 1 and table.table in found and found[table.table].rows == table.rows:
            found[table.table] = table
            differences.remarks.append(
                f"rows of table {table.table} were counted alone: their columns are in {len(orders)} orders"
            )


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
        expected: tables of the archive.
        found: tables of the database.
        again: reads a table with the columns in the archive's order; a table that inherits may have another order.
        ours: whether the archive is a complete dump by this service, read under known settings.
    """
    unmatched = dict(found)
    for table in expected:
        restored = unmatched.pop(table.table, None)
        if restored is None:
            differences.errors.append(f"table {table.table} is missing")
        elif restored.rows != table.rows:
            differences.errors.append(f"table {table.table} has {restored.rows} rows, not {table.rows}")
        elif restored.digest != table.digest and again(table.table) != table:
            (differences.errors if ours else differences.remarks).append(f"rows of table {table.table} differ")
    if ours:
        differences.errors += [f"table {extra} is not in the backup" for extra in unmatched]
    elif extras := [extra for extra in unmatched.values() if extra.rows]:
        tables = "table" if len(extras) == 1 else f"{len(extras)} tables"
        differences.remarks.append(
            f"rows of {tables} were not compared: the file has them in another form, as INSERT: "
            + listed([f"{extra.table} ({extra.rows} rows)" for extra in extras], _SHOWN)
        )


def compare_values(
    differences: Differences,
    expected: Content,
    sequences: Mapping[bytes, bytes],
    large_objects: LargeObjects,
    *,
    ours: bool,
) -> None:
    """Compare sequences and large objects."""
    for name, value in expected.sequences.items():
        if sequences.get(name) != value:
            what = "is missing" if name not in sequences else "has another value"
            sure = ours or name in sequences  # a file may spell a name otherwise
            (differences.errors if sure else differences.remarks).append(f"sequence {_shown(name)} {what}")
    sentences, more = expected.large_objects.differences(large_objects)
    differences.errors += sentences
    if more:
        (differences.errors if ours else differences.remarks).append(f"{more} large objects are not in the backup")


def compare_schema(differences: Differences, expected: Entries, found: Entries, *, ours: bool) -> None:
    """Compare the entries of the schema; their texts only if both dumps are by the same versions."""
    alike = (expected.server, expected.program) == (found.server, found.program)
    certain = {name: words for name, words in expected.words.items() if name not in expected.unsure}
    missing = [
        name
        for name, words in certain.items()
        if len(found.words.get(name, ())) < len(words)
        and (alike or name.type in _ALIKE)
        and name.type != b"MATERIALIZED VIEW DATA"  # the load reports views that it could not fill
    ]
    if not ours:
        missing = [name for name in missing if not (name in _UNNAMED or _by_table(name, found))]
    if ours:
        differences.errors.extend(f"{name} is missing" for name in missing)
    elif missing:  # other versions and options give entries other names; the statements of all of them ran
        found_not = f"{len(missing)} not found under the dump's own names for them"
        differences.remarks.append(f"{found_not}: {listed(missing, _SHOWN)}")
    if not alike:
        differences.remarks.append(_not_compared(expected, found))
        return
    common = [(name, words, found.words.get(name, words)) for name, words in certain.items()]
    differing = [name for name, words, found_words in common if not say_the_same(words, found_words)]
    if differing:
        texts = [both_texts(name, expected.words[name], found.words[name]) for name in differing[:MOST_SAMPLES]]
        differences.otherwise += texts
        by_name = any(UNQUALIFIABLE.search(text.backup.encode()) for text in texts if text.backup)
        differences.remarks.append(
            f"{len(differing)} objects differ from the backup: {listed(differing, _SHOWN)}"
            + ("; comparisons in them may give other results now: restore with --search-path" if by_name else "")
        )
    unexpected = [name for name in found.words if name not in expected.words]
    if unexpected and ours:
        differences.remarks.append(f"{len(unexpected)} objects are not in the backup: {listed(unexpected, _SHOWN)}")


def _by_table(name: EntryName, found: Entries) -> bool:
    """Whether an entry is there with its table's name, which pg_dump left out before 9.6: ``people people_pkey``."""
    end = b" " + name.name
    return name.type in _OF_TABLES and any(
        other.name.endswith(end) and (other.type, other.schema) == (name.type, name.schema) for other in found.words
    )


def _shown(literal: bytes) -> str:
    return literal.decode(errors="backslashreplace").strip("'")


def _not_compared(expected: Entries, found: Entries) -> str:
    def versions(entries: Entries) -> str:
        if entries.program is None or entries.server is None:
            return "a pg_dump that does not say its version"
        return f"pg_dump {entries.program} of PostgreSQL {entries.server}"

    return (
        f"the schema's texts were not compared: the backup is by {versions(expected)}, the proof by {versions(found)}"
    )
