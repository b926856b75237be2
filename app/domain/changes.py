"""What a merge does, or would do, and what it found: counts for each table, samples by key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from app.domain.restore import OnConflict, Policy

MOST_SAMPLES = 100


class SampleKind(StrEnum):
    """Why a row is in the samples."""

    INSERTED = "inserted"
    UPDATED = "updated"
    DELETED = "deleted"
    DIFFERS = "differs"  # in backup and live database, and not the same: what the policy decides on
    UNIQUE = "unique key taken"  # another row has its value of a secondary unique key
    CHECK = "not allowed"  # a check, or a column that must have a value, refuses it
    PARTITION = "no partition"  # the live table has none for it, or one that is a foreign table
    PARENT = "missing parent"  # the row that a foreign key refers to is in neither
    REFERENCED = "still referenced"  # other rows refer to what would go


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A row, by its key; `columns` are those that differ or stand in the way. Only the key's values are shown.

    Attributes:
        table: ``schema.name``.
        key: column -> value as text; the whole row where the table has no key.
    """

    table: str
    kind: SampleKind
    key: dict[str, str | None]
    columns: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TableChanges:
    """Rows of one table.

    Attributes:
        inserted, updated, deleted: what changes in the live database.
        unchanged: in both, and equal.
        conflicting: in both and different, whatever the policy then does with them.
        blocked: not brought back, since a unique key or a foreign key stands in the way.
        live_only: only the live database has them; a merge leaves them alone.
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
        """Rows of the live database that change."""
        return self.inserted + self.updated + self.deleted


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherWords:
    """An object whose words in the backup mean another thing than those in the database.

    Attributes:
        object: ``table public.people``.
        backup, database: the words of either side; None if they are longer than what is kept.
    """

    object: str
    backup: str | None
    database: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """A merge's plan or outcome; the two are the same thing, before and after.

    Attributes:
        tables: those of the backup that take part, by name.
        samples: up to `MOST_SAMPLES`, conflicts before changes, tables and kinds in turn.
        notes: what else a person should know: triggers that fire, columns left alone, tables not compared.
        schema: differences between the backup's tables and the live ones.
        warnings: what a person must see.
        otherwise: up to `MOST_SAMPLES` objects that `schema` names, with both texts.
    """

    tables: tuple[TableChanges, ...] = ()
    samples: tuple[Sample, ...] = ()
    notes: tuple[str, ...] = ()
    schema: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    otherwise: tuple[OtherWords, ...] = ()

    def total(self, what: str) -> int:
        """Sum of one of the counts over all tables: ``inserted``."""
        return sum(getattr(each, what) for each in self.tables)


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeRequest:
    """What to bring back, and how.

    Attributes:
        tables: ``schema.name`` or, where unambiguous, ``name``; empty means all of the backup.
        dependents: the tables that refer to these take part too, and theirs.
        where: an SQL condition over a table's columns that rows of the backup must meet.
        exact: the tables become what they are in the backup: rows that it lacks are deleted, and rows that cannot be
            brought back are an error. This is a replace of selected tables.
        version_tables: tables, beside those that are known, in which a migration tool keeps its state; no rows are
            brought into them.
        backup: what the operator calls the backup, for hints; None where nobody said.
        into: likewise the database, if it is not the live one.
        search_path: schemas that functions look in; None means those of database and role.
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

    @property
    def whole(self) -> bool:
        """Whether it stands for a replace of the whole database."""
        return self.exact and not self.tables

    def refuses(self, changes: Changes) -> bool:
        """Whether that plan is one that this request does not allow: nothing of it is done then."""
        blocked = changes.total("blocked")
        strict = self.on_conflict.policy is Policy.FAIL
        return bool((strict and (changes.total("conflicting") or blocked)) or (self.exact and blocked))
