"""How a merge fits a backup to a live schema that has changed since.

Some tables and columns are left out, others are called otherwise, and new columns get a value. Names may be quoted as
in SQL; names without quotes are taken as they are, as `--table` takes them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from app.domain.psql import quoted, shell_word
from app.errors import RestoreValidationError

_PART = r'"(?:[^"]|"")+"|[^".=\s](?:[^".=]*[^".=\s])?'
_NAME = rf"\s*(?:{_PART})\s*(?:\.\s*(?:{_PART})\s*)*"
_PARTS = re.compile(_PART)
_WHOLE = re.compile(_NAME)
_PAIR = re.compile(rf"({_NAME})=(.*)", re.DOTALL)
_BARE = re.compile(r'[^".=\s](?:[^".=]*[^".=\s])?')
_Spec = TypeVar("_Spec")


@dataclass(frozen=True, slots=True)
class TableRef:
    """A table as an option names it; without a schema, the only table of that name."""

    schema: str | None
    name: str

    @classmethod
    def parse(cls, text: str, option: str) -> TableRef:
        """The table that a text names: ``people``, ``public.people`` or ``public."My people"``.

        Raises:
            RestoreValidationError: it names none.
        """
        return _table(_parts(text), f"{option} {text}", f"write {option} public.people")

    def names(self, schema: str, name: str) -> bool:
        """Whether it names a table."""
        return self.name == name and self.schema in (None, schema)

    def __str__(self) -> str:
        return _listed(self.schema, self.name)


@dataclass(frozen=True, slots=True)
class ColumnRef:
    """A column as an option names it."""

    table: TableRef
    column: str

    @classmethod
    def parse(cls, text: str, option: str) -> ColumnRef:
        """The column that a text names: ``people.phone`` or ``public."My people"."Phone"``.

        Raises:
            RestoreValidationError: it names none.
        """
        *table, column = _parts(text) or [""]
        return cls(_table(table, f"{option} {text}", f"write {option} public.people.phone"), column)

    def __str__(self) -> str:
        return _listed(self.table.schema, self.table.name, self.column)


@dataclass(frozen=True, slots=True)
class TableMapping:
    """A table of the backup whose rows go into a live table of another name."""

    old: TableRef
    new: TableRef

    def __str__(self) -> str:
        return f"{self.old}={self.new}"


@dataclass(frozen=True, slots=True)
class ColumnMapping:
    """A column of the backup that the live table has under another name."""

    old: ColumnRef
    new: str

    def __str__(self) -> str:
        return f"{self.old}={_part(self.new)}"


@dataclass(frozen=True, slots=True)
class Fill:
    """The value, as an SQL expression over the row, that a new row gets in a column that the backup lacks."""

    column: ColumnRef
    sql: str

    def __str__(self) -> str:
        return f"{self.column}={self.sql}"


@dataclass(frozen=True, slots=True)
class Filled:
    """What a migration put into a copy of the backup: used for new rows, never compared and never an update.

    Attributes:
        columns: of live tables; the live rows keep their own values.
        tables: all columns of these but the key: live rows stay as they are.
    """

    columns: frozenset[ColumnRef] = frozenset()
    tables: frozenset[TableRef] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Adaptation:
    """How a merge fits a backup to the live schema.

    Attributes:
        skip_tables: tables that take no part.
        skip_columns: columns that count as absent in the backup.
        map_tables, map_columns: what is called otherwise in the live database.
        fills: values of columns that the backup lacks.
        filled: what a migration has filled already.
    """

    skip_tables: tuple[TableRef, ...] = ()
    skip_columns: tuple[ColumnRef, ...] = ()
    map_tables: tuple[TableMapping, ...] = ()
    map_columns: tuple[ColumnMapping, ...] = ()
    fills: tuple[Fill, ...] = ()
    filled: Filled = field(default_factory=Filled)

    @classmethod
    def parse(
        cls,
        *,
        skip_tables: object = None,
        skip_columns: object = None,
        map_tables: object = None,
        map_columns: object = None,
        fills: object = None,
    ) -> Adaptation:
        """Read the texts of the options, each a list of texts or None.

        Raises:
            RestoreValidationError: one of them makes no sense.
        """
        return cls(
            skip_tables=tuple(TableRef.parse(text, "--skip-table") for text in _texts(skip_tables, "skip_tables")),
            skip_columns=tuple(ColumnRef.parse(text, "--skip-column") for text in _texts(skip_columns, "skip_columns")),
            map_tables=tuple(map(_table_mapping, _texts(map_tables, "map_tables"))),
            map_columns=tuple(map(_column_mapping, _texts(map_columns, "map_columns"))),
            fills=tuple(map(_fill, _texts(fills, "fills"))),
        )

    @property
    def words(self) -> tuple[str, ...]:
        """The options on a command line, as a shell takes them."""
        return (
            *_options("--skip-table", self.skip_tables),
            *_options("--skip-column", self.skip_columns),
            *_options("--map-table", self.map_tables),
            *_options("--map-column", self.map_columns),
            *_options("--fill", self.fills),
        )

    def __bool__(self) -> bool:
        return self != Adaptation()

    def __add__(self, other: Adaptation) -> Adaptation:
        """Both together."""
        return Adaptation(
            skip_tables=self.skip_tables + other.skip_tables,
            skip_columns=self.skip_columns + other.skip_columns,
            map_tables=self.map_tables + other.map_tables,
            map_columns=self.map_columns + other.map_columns,
            fills=self.fills + other.fills,
            filled=Filled(self.filled.columns | other.filled.columns, self.filled.tables | other.filled.tables),
        )


def _options(option: str, specs: Iterable[_Spec]) -> Iterable[str]:
    return (f"{option} {shell_word(str(spec))}" for spec in specs)


def _texts(texts: object, name: str) -> Sequence[str]:
    """A list of texts, as the command line or the message of a task gives it.

    Raises:
        RestoreValidationError: it is none.
    """
    if not texts:  # as for tables: an empty list of any kind
        return ()
    if isinstance(texts, Sequence) and not isinstance(texts, str) and all(isinstance(text, str) for text in texts):
        return texts
    raise RestoreValidationError(f"{name} are given in a list, not {texts!r}", f'write "{name}": ["…"]')


def _table_mapping(text: str) -> TableMapping:
    old, new = _pair(text, "--map-table", "public.people=public.persons")
    return TableMapping(TableRef.parse(old, "--map-table"), TableRef.parse(new, "--map-table"))


def _column_mapping(text: str) -> ColumnMapping:
    old, new = _pair(text, "--map-column", "public.people.phone=mobile")
    parts = _parts(new)
    if len(parts) != 1:
        message = f"--map-column {text}: {new.strip()} is no column's name"
        raise RestoreValidationError(message, "the new name has no table: --map-column public.people.phone=mobile")
    return ColumnMapping(ColumnRef.parse(old, "--map-column"), parts[0])


def _fill(text: str) -> Fill:
    column, sql = _pair(text, "--fill", "public.people.phone=''")
    return Fill(ColumnRef.parse(column, "--fill"), sql.strip())


def _pair(text: str, option: str, example: str) -> tuple[str, str]:
    found = _PAIR.fullmatch(text)
    if found is None or not found[2].strip():
        message = f"{option} {text}: it says no name and, after =, what belongs to it"
        raise RestoreValidationError(message, f"write {option} {shell_word(example)}")
    return found[1], found[2]


def _parts(text: str) -> list[str]:
    """The parts of a name, without quotes; none if the text is no name."""
    if not _WHOLE.fullmatch(text):
        return []
    return [part[1:-1].replace('""', '"') if part.startswith('"') else part for part in _PARTS.findall(text)]


def _table(parts: Sequence[str], given: str, hint: str) -> TableRef:
    match parts:
        case [name]:
            return TableRef(None, name)
        case [schema, name]:
            return TableRef(schema, name)
    raise RestoreValidationError(f"{given}: it names nothing", f'{hint}, and quote other names: public."My table"')


def _listed(*parts: str | None) -> str:
    return ".".join(_part(part) for part in parts if part is not None)


def _part(name: str) -> str:
    return name if _BARE.fullmatch(name) else quoted(name)
