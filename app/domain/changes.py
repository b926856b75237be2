"""The changes that a merge makes or would make: numbers for each table, and sample rows by key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from app.domain.adaptation import Adaptation
from app.domain.restore import OnConflict, Policy
from app.domain.revisions import SchemaVersions

MOST_SAMPLES = 100


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A row, shown by its key alone.

    Attributes:
        table: ``schema.name``.
        key: column -> value as text; the whole row if the table has no key.
        columns: those that differ, or that a constraint refuses.
    """

    table: str
    kind: SampleKind
    key: dict[str, str | None]
    columns: tuple[str, ...] = ()


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
        samples: up to `MOST_SAMPLES`; conflicts before changes, from tables and kinds in turn.
        notes: sentences for people: columns left alone, tables not compared.
        schema: differences between the backup's tables and the live ones.
        warnings: sentences that a person must see.
        versions: how far both schemas are; None if nobody asked.
        otherwise: up to `MOST_SAMPLES` objects that `schema` names, with both definitions.
    """

    tables: tuple[TableChanges, ...] = ()
    samples: tuple[Sample, ...] = ()
    notes: tuple[str, ...] = ()
    schema: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
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
        where: an SQL condition on a table's columns, for rows of the backup.
        exact: the tables become as they are in the backup: other rows are deleted, and rows that cannot be restored are
            an error. This is a replace of chosen tables.
        version_tables: further tables in which a migration tool keeps its state; no rows are restored into them.
        backup: name of the backup, for hints; None if unknown.
        into: name of the database, for hints, if it is not the live one.
        search_path: for functions; None means the path of database and role.
        adaptation: how the backup is fitted to the live schema.
    """

    on_conflict: OnConflict = field(default_factory=OnConflict)
    tables: Sequence[str] = ()
    dependents: bool = False
    where: str | None = None
    exact: bool = False
    version_tables: Sequence[str] = ()
    backup: str | None = None
    into: str | None = None
    search_path: str | None = None
    adaptation: Adaptation = field(default_factory=Adaptation)

    @property
    def whole(self) -> bool:
        """Whether it replaces the whole database."""
        return self.exact and not self.tables

    def refuses(self, changes: Changes) -> bool:
        """Whether the request does not allow these changes. Then none of them is made."""
        blocked = changes.total("blocked")
        strict = self.on_conflict.policy is Policy.FAIL
        return bool((strict and (changes.total("conflicting") or blocked)) or (self.exact and blocked))
