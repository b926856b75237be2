"""A history of 30 migrations of the residency scheduler: each as SQL, and as what it does to rows in Python.

The rows are an oracle: texts by table, key and column. What a migration made is marked, because a merge may use it for
new rows only.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, field

import psycopg
from psycopg import sql

Row = dict[str, str | None]
Key = tuple[str, ...]
_TABLES = """
    SELECT n.nspname, c.relname, ARRAY(
        SELECT attname::text FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped ORDER BY 1),
        ARRAY(SELECT attname::text FROM pg_attribute JOIN pg_index ON indrelid = attrelid AND indisprimary
              WHERE attrelid = c.oid AND attnum = ANY (indkey) ORDER BY 1),
        ARRAY(SELECT attname::text FROM pg_attribute WHERE attrelid = c.oid AND attgenerated <> '' AND attnum > 0)
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND n.nspname !~ '^(pg_|information_schema)'
      AND c.relname <> 'alembic_version'
      AND EXISTS (SELECT FROM pg_index WHERE indrelid = c.oid AND indisprimary)"""


@dataclass
class OracleTable:
    """A table's rows by key.

    Attributes:
        key: its columns, sorted.
        computed: columns that the server computes.
        filled: columns that migrations made.
        made: whether a migration made the whole table.
    """

    key: tuple[str, ...]
    rows: dict[Key, Row]
    computed: set[str] = field(default_factory=set)
    filled: set[str] = field(default_factory=set)
    made: bool = False

    def add(self, column: str, value: Callable[[Row], str | None]) -> None:
        self.filled.add(column)
        for row in self.rows.values():
            row[column] = value(row)

    def drop(self, column: str) -> None:
        self.filled.discard(column)
        for row in self.rows.values():
            del row[column]

    def rename(self, column: str, name: str) -> None:
        for names in (self.filled, self.computed):
            if column in names:
                names.remove(column)
                names.add(name)
        for row in self.rows.values():
            row[name] = row.pop(column)

    def change(self, column: str, value: Callable[[str], str]) -> None:
        for row in self.rows.values():
            if (text := row[column]) is not None:
                row[column] = value(text)


Oracle = dict[str, OracleTable]


@dataclass(frozen=True)
class Migration:
    """One step: statements, and the same for the oracle."""

    statements: tuple[str, ...]
    model: Callable[[Oracle], object]


def rows_in(url: str) -> Oracle:
    """All rows of all tables with a key, as texts."""
    found: Oracle = {}
    with psycopg.connect(url, options="-c timezone=UTC") as connection:
        for schema, name, columns, key, computed in connection.execute(_TABLES).fetchall():
            texts = sql.SQL(", ").join(sql.SQL("{}::text").format(sql.Identifier(column)) for column in columns)
            query = sql.SQL("SELECT {} FROM {}").format(texts, sql.Identifier(schema, name))
            rows = [dict(zip(columns, row, strict=True)) for row in connection.execute(query)]
            by_key = {tuple(str(row[column]) for column in key): row for row in rows}
            assert len(by_key) == len(rows)
            found[f"{schema}.{name}"] = OracleTable(tuple(key), by_key, set(computed))
    return found


def plain(oracle: Oracle) -> dict[str, dict[Key, Row]]:
    """The rows alone, to be compared."""
    return {name: table.rows for name, table in oracle.items()}


def migrated(oracle: Oracle, start: int, end: int | None = None) -> Oracle:
    """The rows after all migrations from one revision to another, with what these made."""
    result = copy.deepcopy(oracle)
    for table in result.values():
        table.filled, table.made = set(), False
    for migration in HISTORY[start:end]:
        migration.model(result)
    return result


def merged(backup: Oracle, live: Oracle) -> Oracle:
    """The live rows after a merge of a migrated backup: what migrations made is for new rows only."""
    result = copy.deepcopy(live)
    for name, table in backup.items():
        into = result[name]
        for key, row in table.rows.items():
            if key not in into.rows:
                into.rows[key] = dict(row)
            elif not table.made:
                kept = table.filled | table.computed
                into.rows[key] |= {column: value for column, value in row.items() if column not in kept}
    return result


CALLS, NOTES, LEAVE, USERS = "public.call_assignments", "public.On-Call Note", "public.leave_balances", "public.users"


def _add(table: str, column: str, type_: str, value: str | None = None) -> Migration:
    """A new column, with a value for all rows."""
    default = "" if value is None else f" NOT NULL DEFAULT '{value}'"
    return Migration(
        (f"ALTER TABLE {_sql(table)} ADD {column} {type_}{default}",), lambda it: it[table].add(column, lambda _: value)
    )


def _sql(table: str) -> str:
    schema, _, name = table.partition(".")
    return f'{schema}."{name}"'


def _drop(table: str, column: str) -> Migration:
    return Migration((f'ALTER TABLE {_sql(table)} DROP "{column}"',), lambda it: it[table].drop(column))


def _rename(table: str, column: str, name: str) -> Migration:
    statement = f'ALTER TABLE {_sql(table)} RENAME "{column}" TO "{name}"'
    return Migration((statement,), lambda it: it[table].rename(column, name))


def _retype(table: str, column: str, type_: str, using: str, value: Callable[[str], str]) -> Migration:
    statement = f'ALTER TABLE {_sql(table)} ALTER "{column}" TYPE {type_} USING {using}'
    return Migration((statement,), lambda it: it[table].change(column, value))


def _move(table: str, name: str, statement: str) -> Migration:
    """Another name, or another schema."""
    return Migration((statement,), lambda it: it.update({name: it.pop(table)}))


def _words(*statements: str) -> Migration:
    """What changes no row."""
    return Migration(statements, lambda _: None)


def _filled(table: str, column: str, type_: str, expression: str, value: Callable[[Row], str | None]) -> Migration:
    """A new column that is filled from others, and must have a value then."""
    return Migration(
        (
            f"ALTER TABLE {_sql(table)} ADD {column} {type_}",
            f"UPDATE {_sql(table)} SET {column} = {expression}",
            f"ALTER TABLE {_sql(table)} ALTER {column} SET NOT NULL",
        ),
        lambda it: it[table].add(column, value),
    )


def _relabel(old: str, new: str) -> Migration:
    statement = f"ALTER TYPE call_kind RENAME VALUE '{old}' TO '{new}'"
    return Migration((statement,), lambda it: it[CALLS].change("kind", lambda text: new if text == old else text))


def _split_remark(it: Oracle) -> None:
    it[CALLS].add("remark_head", lambda row: None if row["note"] is None else row["note"].partition(" ")[0])
    it[CALLS].add("remark_tail", lambda row: None if row["note"] is None else row["note"].partition(" ")[2])
    it[CALLS].drop("note")


def _new_stipends(it: Oracle) -> None:
    calls = it[CALLS]
    paid = {key: row for key, row in calls.rows.items() if row["stipend"] is not None}
    rows: dict[Key, Row] = {key: {"call_id": row["id"], "amount": row["stipend"]} for key, row in paid.items()}
    it["public.call_stipends"] = OracleTable(("call_id",), rows, made=True)
    calls.drop("stipend")


def _new_sites(it: Oracle) -> None:
    rows: dict[Key, Row] = {(code,): {"code": code, "title": title} for code, title in SITES.items()}
    it["public.call_sites"] = OracleTable(("code",), rows, made=True)


def _fewer_notes(it: Oracle) -> None:
    notes = it["oncall.call_notes"]
    notes.rows = {key: row for key, row in notes.rows.items() if int(str(row["Note ID"])) % 7}


def _hours(text: str) -> float:
    """An interval of hours, minutes and seconds, perhaps of days too."""
    days, _, clock = text.rpartition(" ")
    hours, minutes, seconds = (float(part) for part in clock.split(":"))
    return (float(days.split()[0]) * 24 if days else 0) + hours + minutes / 60 + seconds / 3600


SITES = {"A": "Main hospital", "B": "Clinic"}
HISTORY = (
    Migration(("DROP VIEW call_roster",), lambda _: None),
    _add(CALLS, "site", "text"),
    _add(CALLS, "priority", "integer", "3"),
    _rename(CALLS, "remark", "note"),
    _retype(CALLS, "pages_answered", "bigint", "pages_answered", str),
    _drop(LEAVE, "carried_over"),
    _move(NOTES, "public.call_notes", 'ALTER TABLE "On-Call Note" RENAME TO call_notes'),
    _rename("public.call_notes", "Text", "body"),
    Migration(
        (
            "ALTER TABLE call_assignments ADD remark_head text, ADD remark_tail text",
            (
                "UPDATE call_assignments SET remark_head = split_part(note, ' ', 1),"
                " remark_tail = substr(note, length(split_part(note, ' ', 1)) + 2)"
            ),
            "ALTER TABLE call_assignments DROP note",
        ),
        _split_remark,
    ),
    _words("ALTER TYPE call_kind ADD VALUE 'jeopardy'"),
    _relabel("home call", "home"),
    _filled(CALLS, "shift_code", "text", "kind || '-' || id", lambda row: f"{row['kind']}-{row['id']}"),
    _words("ALTER TABLE call_assignments ADD CONSTRAINT call_assignments_shift_code UNIQUE (shift_code)"),
    Migration(
        (
            "CREATE TABLE call_sites (code text PRIMARY KEY, title text NOT NULL)",
            *(f"INSERT INTO call_sites VALUES ('{code}', '{title}')" for code, title in SITES.items()),
        ),
        _new_sites,
    ),
    Migration(
        (
            (
                "CREATE TABLE call_stipends (call_id bigint PRIMARY KEY REFERENCES call_assignments ON DELETE CASCADE,"
                " amount numeric(8, 2) NOT NULL)"
            ),
            "INSERT INTO call_stipends SELECT id, stipend FROM call_assignments WHERE stipend IS NOT NULL",
            "ALTER TABLE call_assignments DROP stipend",
        ),
        _new_stipends,
    ),
    _retype(LEAVE, "days_taken", "integer", "ceil(days_taken * 8)", lambda text: str(math.ceil(float(text) * 8))),
    _rename(LEAVE, "days_taken", "hours_taken"),
    Migration(("DROP TABLE attachments",), lambda it: it.pop("public.attachments")),
    Migration(
        ("ALTER TABLE call_assignments ADD site_code text NOT NULL DEFAULT 'A' REFERENCES call_sites",),
        lambda it: it[CALLS].add("site_code", lambda _: "A"),
    ),
    _words("ALTER TABLE call_assignments ALTER length DROP DEFAULT, ALTER handover SET DEFAULT '08:00'"),
    Migration(
        ("UPDATE call_notes SET body = upper(body)",),
        lambda it: it["public.call_notes"].change("body", str.upper),
    ),
    _words("ALTER TABLE call_assignments ADD CONSTRAINT priority_range CHECK (priority BETWEEN 1 AND 5)"),
    Migration(
        (
            "ALTER TABLE call_notes ADD tagged boolean",
            'UPDATE call_notes SET tagged = "Tags" IS NOT NULL',
            'ALTER TABLE call_notes DROP "Tags"',
        ),
        lambda it: (
            it["public.call_notes"].add("tagged", lambda row: "false" if row["Tags"] is None else "true"),
            it["public.call_notes"].drop("Tags"),
        ),
    ),
    _retype(USERS, "username", "text", "username", str),
    _move("public.call_notes", "oncall.call_notes", "CREATE SCHEMA oncall; ALTER TABLE call_notes SET SCHEMA oncall"),
    Migration(
        ("ALTER TABLE call_assignments ADD is_long boolean GENERATED ALWAYS AS (length > '12:00') STORED",),
        lambda it: (
            it[CALLS].add("is_long", lambda row: "true" if _hours(str(row["length"])) > 12 else "false"),
            it[CALLS].computed.add("is_long"),
        ),
    ),
    Migration(
        (
            "CREATE TYPE call_sort AS ENUM ('overnight', 'weekend', 'standby', 'home', 'jeopardy')",
            (
                "ALTER TABLE call_assignments ALTER kind TYPE call_sort USING replace(kind::text, 'backup', 'standby')"
                "::call_sort"
            ),
            "DROP TYPE call_kind",
        ),
        lambda it: it[CALLS].change("kind", lambda text: text.replace("backup", "standby")),
    ),
    _add(CALLS, "planned_at", "timestamptz", "2025-01-01 00:00:00+00"),
    _rename(CALLS, "priority", "urgency"),
    Migration(('DELETE FROM oncall.call_notes WHERE "Note ID" % 7 = 0',), _fewer_notes),
)
