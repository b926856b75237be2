"""The changes that a merge makes or would make: numbers for each table, and sample rows by key."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from app.domain.adaptation import Adaptation
from app.domain.psql import shell_word
from app.domain.restore import Mode, OnConflict, Policy
from app.domain.revisions import SchemaVersions

MOST_SAMPLES = 100
SHOWN_CHARACTERS = 200  # of a value in a sample


class SampleKind(StrEnum):
    """Why a row is a sample."""

    INSERTED = "inserted"
    UPDATED = "updated"
    DELETED = "deleted"
    DIFFERS = "differs"  # in both, with other values: the policy decides
    UNIQUE = "unique key taken"  # another row has its value of a secondary unique key
    CHECK = "not allowed"  # a CHECK or NOT NULL constraint refuses it
    PARTITION = "no partition"  # the live table has no partition for it, or a foreign table
    PARENT = "missing parent"  # the row that a foreign key refers to is in neither
    REFERENCED = "still referenced"  # other rows refer to a row that would be deleted
    UNFIT = "value does not fit"  # the live column's type does not take a value


@dataclass(frozen=True, slots=True, kw_only=True)
class Values:
    """The values of one column of a row as text, shortened; None for NULL, and if a side has no such row."""

    backup: str | None
    live: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Obstacle:
    """The row that stands in the way of another.

    Attributes:
        table: ``schema.name``.
        key: column -> value as text, shortened. Of a missing parent the values that are referred to.
        side: ``live`` or ``backup``: where the row is; None if it is missing.
    """

    table: str
    key: dict[str, str | None]
    side: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A row, shown by its key, with the values that matter.

    Attributes:
        table: ``schema.name``.
        key: column -> value as text; the whole row, with shortened values, if the table has no key.
        columns: those that differ, or that a constraint refuses.
        values: of these columns.
        constraint: the name of the constraint that blocks it; None if it has none.
        in_the_way: the row that blocks it, if one does.
        keyless: whether the table has no key.
    """

    table: str
    kind: SampleKind
    key: dict[str, str | None]
    columns: tuple[str, ...] = ()
    values: dict[str, Values] = field(default_factory=dict)
    constraint: str | None = None
    in_the_way: Obstacle | None = None
    keyless: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockedRows:
    """The rows of one table that are blocked for one reason.

    Attributes:
        columns: those that a constraint refuses.
        rows: their number.
        constraint: its name; None if it is no constraint, or the server names none.
        other: the other table: of the parent, or of the rows that refer to these.
        hint: what would let them pass; None if nothing simple does.
    """

    table: str
    kind: SampleKind
    columns: tuple[str, ...]
    rows: int
    constraint: str | None = None
    other: str | None = None
    hint: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Retyped:
    """A column that has another type in the live database, or in the second backup."""

    column: str
    backup: str
    live: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnChanges:
    """How the columns of one table differ between the backup and the live database, or a second backup.

    Attributes:
        table: ``schema.name``.
        only_backup, only_live: columns that one side has.
        retyped: columns of both with different types.
    """

    table: str
    only_backup: tuple[str, ...] = ()
    only_live: tuple[str, ...] = ()
    retyped: tuple[Retyped, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.only_backup or self.only_live or self.retyped)

    def lines(self, *, two_backups: bool = False) -> Iterator[str]:
        """Up to three sentences on a backup and the live database, or on two backups."""
        one, other = ("the first", "the second") if two_backups else ("the backup", "the live database")
        for columns, here, lacking in ((self.only_backup, one, other), (self.only_live, other, one)):
            where = f"only in {here}" if two_backups else f"not in {lacking}"
            if len(columns) == 1:
                yield f"column {self.table}.{columns[0]} is {where}"
            elif columns:
                yield f"columns {', '.join(columns)} of {self.table} are {where}"
        for column in self.retyped[:1] if len(self.retyped) == 1 else ():
            yield f"column {self.table}.{column.column} is {column.backup} in {one}, {column.live} in {other}"
        if len(self.retyped) > 1:
            types = ", ".join(f"{column.column} {column.live} (was {column.backup})" for column in self.retyped)
            yield f"columns of {self.table} have other types in {other}: {types}"


@dataclass(frozen=True, slots=True, kw_only=True)
class TableChanges:
    """Numbers of rows of one table.

    Attributes:
        inserted, updated, deleted: changes in the live database.
        unchanged: in both, and equal.
        conflicting: in both and different, whatever the policy does with them.
        blocked: not restored, because a constraint refuses them.
        live_only: only in the live database; a merge leaves them alone.
    """

    table: str
    inserted: int = 0
    updated: int = 0
    deleted: int = 0
    unchanged: int = 0
    conflicting: int = 0
    blocked: int = 0
    live_only: int = 0

    @property
    def changed(self) -> int:
        """Number of rows of the live database that change."""
        return self.inserted + self.updated + self.deleted


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherWords:
    """An object whose definition in the backup differs in meaning from the one in the database.

    Attributes:
        object: ``table public.people``.
        backup, database: the two definitions; None if they are too long to keep.
    """

    object: str
    backup: str | None
    database: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """The plan of a merge, or its outcome.

    Attributes:
        tables: those of the backup that take part, by name.
        samples: up to `MOST_SAMPLES`: blocked rows, then conflicts, then other changes, of tables and kinds in turn.
        notes: sentences for people: columns left alone, tables not compared.
        schema: differences between the backup's tables and the live ones.
        warnings: sentences that a person must see.
        blocked: how many rows are blocked, by table and reason.
        columns: tables whose columns differ; `schema` says it in words.
        versions: how far both schemas are; None if nobody asked.
        otherwise: up to `MOST_SAMPLES` objects that `schema` names, with both definitions.
    """

    tables: tuple[TableChanges, ...] = ()
    samples: tuple[Sample, ...] = ()
    notes: tuple[str, ...] = ()
    schema: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    blocked: tuple[BlockedRows, ...] = ()
    columns: tuple[ColumnChanges, ...] = ()
    otherwise: tuple[OtherWords, ...] = ()
    versions: SchemaVersions | None = None

    def total(self, what: str) -> int:
        """Sum of one of the numbers (``inserted``) over all tables."""
        return sum(getattr(table, what) for table in self.tables)


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeRequest:
    """Which rows to restore, and how.

    Attributes:
        tables: ``schema.name``, or ``name`` if that is unambiguous; empty means all tables of the backup.
        dependents: whether tables that refer to these take part too, directly or through others.
        parents: whether tables that all of these refer to take part too, directly or through others.
        where: an SQL condition on a table's columns, for rows of the backup.
        exact: the tables become as they are in the backup: other rows are deleted, and rows that cannot be restored are
            an error. This is a replace of chosen tables.
        version_tables: further tables in which a migration tool keeps its state; no rows are restored into them.
        backup: name of the backup, for hints; None if unknown.
        into: name of the database, for hints, if it is not the live one.
        search_path: for functions; None means the path of database and role.
        migrate: the command line that a copy of the backup is migrated by first, for hints; None if it was not given.
        adaptation: how the backup is fitted to the live schema.
    """

    on_conflict: OnConflict = field(default_factory=OnConflict)
    tables: Sequence[str] = ()
    dependents: bool = False
    parents: bool = False
    where: str | None = None
    exact: bool = False
    version_tables: Sequence[str] = ()
    backup: str | None = None
    into: str | None = None
    search_path: str | None = None
    migrate: str | None = None
    adaptation: Adaptation = field(default_factory=Adaptation)

    @property
    def whole(self) -> bool:
        """Whether it replaces the whole database."""
        return self.exact and not self.tables

    def command(self, database: str, *, dry_run: bool = False) -> str:
        """The command line that asks for it, or for its preview. `database`: the name of the one that changes."""
        words = [f"residency-backup restore {shell_word(self.backup or 'latest')}"]
        words.append(f"--mode {Mode.REPLACE if self.exact else Mode.MERGE}")
        words += [f"--table {shell_word(table)}" for table in self.tables]
        words += ["--dependents"] if self.dependents else []
        words += ["--parents"] if self.parents else []
        given = {
            "--where": self.where,
            "--on-conflict": None if self.on_conflict == OnConflict() else str(self.on_conflict),
            "--into": self.into,
            "--search-path": self.search_path,
            "--migrate": self.migrate,
        }
        words += [f"{option} {shell_word(text)}" for option, text in given.items() if text is not None]
        words += self.adaptation.words
        return " ".join([*words, "--dry-run" if dry_run else f"--confirm {shell_word(database)}"])

    def refuses(self, changes: Changes) -> bool:
        """Whether the request does not allow these changes. Then none of them is made."""
        blocked = changes.total("blocked")
        strict = self.on_conflict.policy is Policy.FAIL
        return bool((strict and (changes.total("conflicting") or blocked)) or (self.exact and blocked))
