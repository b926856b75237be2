"""The demo's database: as large as promised, valid, repeatable, and rich in what a backup must carry."""

import hashlib
from typing import Any, Protocol

import psycopg
import pytest
from psycopg import sql

from demo.residency import copy_blocks, fill
from demo.residency_text import NULL

SCALE = 0.05


class Database(Protocol):
    @property
    def url(self) -> str: ...


@pytest.fixture
def filled(empty_database: Database) -> Any:
    with psycopg.connect(empty_database.url) as connection:
        fill(connection, scale=SCALE)
        yield connection


def scalar(connection: psycopg.Connection, query: str) -> Any:
    row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return row[0]


def content(connection: psycopg.Connection, counts: dict[str, int]) -> dict[str, str]:
    """A digest of every table's rows, whatever their order on disk."""
    digests = {}
    for name in (*counts, "person_workload"):
        lines: list[bytes] = []
        query = f"COPY (SELECT * FROM {name}) TO STDOUT".encode()
        with connection.cursor() as cursor, cursor.copy(query) as copy:
            lines.extend(bytes(block) for block in copy)
        digests[name] = hashlib.sha256(b"".join(sorted(lines))).hexdigest()
    return digests


def filled_and_undone(url: str, seed: int) -> dict[str, str]:
    with psycopg.connect(url) as connection, connection.transaction(force_rollback=True):
        return content(connection, fill(connection, scale=SCALE, seed=seed))


def test_rows_are_counted_and_reported(empty_database: Database) -> None:
    reports: dict[str, int] = {}
    with psycopg.connect(empty_database.url) as connection:
        counts = fill(connection, scale=SCALE, progress=reports.__setitem__)
        in_tables = {name: scalar(connection, f"SELECT count(*) FROM {name}") for name in counts}
        tables = scalar(
            connection,
            "SELECT count(*) FROM pg_class"
            " WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition",
        )

    assert counts == in_tables == reports
    assert len(counts) == tables >= 18
    assert 9_000 < sum(counts.values()) < 12_000
    assert all(counts.values())


def test_same_seed_gives_the_same_content_and_another_seed_does_not(empty_database: Database) -> None:
    first = filled_and_undone(empty_database.url, 7)
    again = filled_and_undone(empty_database.url, 7)
    other = filled_and_undone(empty_database.url, 8)

    assert first == again
    assert first["assignments"] != other["assignments"]


def test_every_constraint_and_index_is_valid(filled: psycopg.Connection) -> None:
    assert scalar(filled, "SELECT count(*) FROM pg_constraint WHERE NOT convalidated") == 0
    assert scalar(filled, "SELECT count(*) FROM pg_index WHERE NOT indisvalid") == 0
    filled.execute("SET CONSTRAINTS ALL IMMEDIATE")


def test_check_constraints_hold_when_asked_again(filled: psycopg.Connection) -> None:
    checks = filled.execute(
        "SELECT conrelid::regclass::text, pg_get_expr(conbin, conrelid) FROM pg_constraint"
        " WHERE contype = 'c' AND conrelid <> 0 AND connamespace = 'public'::regnamespace"
    ).fetchall()

    assert len(checks) >= 18
    for table, expression in checks:
        violations = scalar(filled, f"SELECT count(*) FROM {table} WHERE NOT ({expression})")
        assert violations == 0, f"{table}: {expression}"


def test_nothing_refers_to_a_missing_row(filled: psycopg.Connection) -> None:
    references = filled.execute(
        "SELECT conname, conrelid::regclass::text, confrelid::regclass::text,"
        " (SELECT array_agg(attname::text ORDER BY n) FROM unnest(conkey) WITH ORDINALITY AS k (key, n)"
        "  JOIN pg_attribute ON attrelid = conrelid AND attnum = key),"
        " (SELECT array_agg(attname::text ORDER BY n) FROM unnest(confkey) WITH ORDINALITY AS k (key, n)"
        "  JOIN pg_attribute ON attrelid = confrelid AND attnum = key)"
        " FROM pg_constraint WHERE contype = 'f' AND conparentid = 0"
    ).fetchall()

    assert len(references) >= 25
    for name, child, parent, columns, parent_columns in references:
        pairs = sql.SQL(" AND ").join(
            sql.SQL("c.{} = p.{}").format(sql.Identifier(one), sql.Identifier(other))
            for one, other in zip(columns, parent_columns, strict=True)
        )
        present = sql.SQL(" AND ").join(sql.SQL("c.{} IS NOT NULL").format(sql.Identifier(one)) for one in columns)
        query = f"SELECT count(*) FROM {child} c WHERE {{}} AND NOT EXISTS (SELECT FROM {parent} p WHERE {{}})"
        orphans = filled.execute(sql.SQL(query).format(present, pairs)).fetchone()
        assert orphans == (0,), name


CATALOG = "SELECT count(*) FROM pg_catalog."
FEATURES = {
    "enums": ("pg_type WHERE typtype = 'e'", 10),
    "a value of an enum with a space": ("pg_enum WHERE enumlabel LIKE '% %'", 3),
    "domains": ("pg_type WHERE typtype = 'd' AND typnamespace = 'public'::regnamespace", 2),
    "a composite type": ("pg_class WHERE relkind = 'c' AND relname = 'contact'", 1),
    "a partitioned table": ("pg_partitioned_table WHERE partstrat = 'r'", 1),
    "partitions": ("pg_class WHERE relispartition AND relkind = 'r'", 5),
    "a default partition": ("pg_partitioned_table WHERE partdefid <> 0", 1),
    "a view": ("pg_views WHERE schemaname = 'public'", 1),
    "a materialized view with rows": ("pg_matviews WHERE ispopulated", 1),
    "identity always": ("pg_attribute WHERE attidentity = 'a'", 4),
    "identity by default": ("pg_attribute WHERE attidentity = 'd'", 3),
    "generated columns": ("pg_attribute WHERE attgenerated = 's'", 3),
    "explicit sequences": (
        "pg_sequences WHERE sequencename ~ '(number|code|log_id|notification_id)_seq$'",
        5,
    ),
    "a sequence that cycles": ("pg_sequences WHERE cycle", 1),
    "composite references": ("pg_constraint WHERE contype = 'f' AND cardinality(conkey) > 1", 3),
    "references to the same table": ("pg_constraint WHERE contype = 'f' AND conrelid = confrelid", 3),
    "deferred references": ("pg_constraint WHERE contype = 'f' AND condeferred", 2),
    "exclusions": ("pg_constraint WHERE contype = 'x'", 2),
    "partial indexes": ("pg_index WHERE indpred IS NOT NULL", 4),
    "expression indexes": ("pg_index WHERE indexprs IS NOT NULL", 2),
    "GIN, GiST and BRIN": (
        "pg_class c JOIN pg_am a ON a.oid = relam WHERE amname IN ('gin', 'gist', 'brin') AND c.oid > 16383",
        6,
    ),
    "triggers": ("pg_trigger WHERE NOT tgisinternal", 8),
    "plpgsql functions": (
        "pg_proc WHERE prolang = (SELECT oid FROM pg_language WHERE lanname = 'plpgsql')",
        2,
    ),
    "comments": ("pg_description WHERE classoid = 'pg_class'::regclass AND objoid > 16383", 10),
    "names that need quotes": ("pg_attribute WHERE attname ~ '[A-Z ]' AND attnum > 0", 5),
    "extended statistics": ("pg_statistic_ext", 1),
    "uuid keys by default": ("pg_attrdef WHERE pg_get_expr(adbin, adrelid) = 'gen_random_uuid()'", 9),
    "no extension but plpgsql": ("pg_extension WHERE extname = 'plpgsql'", 1),
}


def test_schema_has_what_a_backup_must_carry(filled: psycopg.Connection) -> None:
    found = {name: scalar(filled, CATALOG + query) for name, (query, _) in FEATURES.items()}
    missing = {name: found[name] for name, (_, least) in FEATURES.items() if found[name] < least}
    types = {
        name
        for (name,) in filled.execute(
            "SELECT DISTINCT format_type(atttypid, NULL) FROM pg_attribute JOIN pg_class c ON c.oid = attrelid"
            " WHERE attnum > 0 AND relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')"
        )
    }

    assert not missing
    assert scalar(filled, "SELECT count(*) FROM pg_extension") == 1
    assert types >= {
        "uuid", "jsonb", "text[]", "weekday[]", "integer[]", "double precision[]", "bytea", "inet", "date", "interval",
        "time without time zone", "timestamp with time zone", "timestamp without time zone", "numeric",
        "daterange", "datemultirange", "tsvector", "bit", "contact", "email_address",
    }  # fmt: skip


AWKWARD = (
    r""""On-Call Note" WHERE "Text" = '\.'""",
    r""""On-Call Note" WHERE "Text" LIKE 'COPY people FROM stdin;' || chr(10) || '%'""",
    r""""On-Call Note" WHERE "Text" = ''""",
    r""""On-Call Note" WHERE "Text" ~ '\t' OR "Text" ~ '\r'""",
    r""""On-Call Note" WHERE "Tags" = '{}'""",
    r""""On-Call Note" WHERE array_position("Tags", NULL) IS NOT NULL""",
    "assignments WHERE notes IS NULL",
    "assignments WHERE notes = ''",
    "assignments WHERE notes LIKE '%🏥%'",
    "assignments WHERE supersedes_id IS NOT NULL",
    "call_assignments WHERE stipend = 'NaN'",
    "people WHERE burnout_score::text = '-0'",
    "people WHERE birthday < '0001-01-01'",
    "people WHERE upper_inf(contract)",
    "people WHERE first_name || last_name ~ '[À-ž]' AND last_name LIKE '%''%'",
    "absences WHERE returns_on = 'infinity'",
    "users WHERE last_login = '-infinity'",
    "attachments WHERE size = 0",
    "attachments WHERE size > 10000",
    "audit_log_default",
)


def test_awkward_values_are_there(filled: psycopg.Connection) -> None:
    missing = [rows for rows in AWKWARD if scalar(filled, f"SELECT count(*) FROM {rows}") == 0]

    assert not missing


def test_next_numbers_follow_the_last_row(filled: psycopg.Connection) -> None:
    calls = scalar(filled, "SELECT max(id) FROM call_assignments")
    messages = scalar(filled, "SELECT max(id) FROM notifications")
    runs = scalar(filled, "SELECT max(run_number) FROM schedule_runs")

    assert scalar(filled, "SELECT nextval(pg_get_serial_sequence('call_assignments', 'id'))") == calls + 1
    assert scalar(filled, "SELECT nextval('notification_id_seq')") == messages + 1
    assert scalar(filled, "SELECT nextval('schedule_run_number_seq')") == runs + 10


def test_load_fires_no_trigger_and_later_changes_do(filled: psycopg.Connection) -> None:
    before = scalar(filled, "SELECT count(*) FROM audit_log")
    assert scalar(filled, "SELECT max(updated_at) < '2025-07-01' FROM assignments")

    filled.execute(
        "UPDATE assignments SET notes = 'changed' WHERE id = (SELECT id FROM assignments WHERE notes IS NULL LIMIT 1)"
    )

    assert scalar(filled, "SELECT count(*) FROM audit_log") == before + 1
    assert scalar(filled, "SELECT count(*) FROM assignments WHERE updated_at > '2025-07-01'") == 1


def test_copy_text_is_escaped() -> None:
    ((block, rows),) = copy_blocks([("a\tb", NULL, ""), ("\\.", "x\ny\r", "\\N")])

    assert rows == 2
    assert block == "a\\tb\t\\N\t\n\\\\.\tx\\ny\\r\t\\\\N\n"
