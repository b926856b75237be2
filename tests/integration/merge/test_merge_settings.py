"""What a database has set changes no restored value, though it change how text is read, or what fires."""

from __future__ import annotations

import uuid

import pytest

from app.ports.target import LoadOptions
from tests.fix_archives import archive_of as archive_and_facts
from tests.fix_archives import target
from tests.fix_merge import archive_of, merge, request, undo
from tests.fix_postgres import TestDatabase, copy_of_all_tables

TABLE = """
    CREATE TABLE t (id int PRIMARY KEY, words text[], day date, span interval, bytes bytea);
    INSERT INTO t VALUES (1, '{a,NULL,"NULL"}', '2025-02-05', '-1 day -02:03:04', '\\x00ff5c'),
        (2, '{x}', '2025-03-04', '1 year -2 mons 3 days -04:05:06', NULL)"""
SETTINGS = [
    "array_nulls = off",
    "datestyle = 'SQL, DMY'",
    "intervalstyle = sql_standard",
    "bytea_output = escape",
    "default_transaction_isolation = serializable",
    "session_replication_role = replica",
]


def set_for_all(database: TestDatabase, setting: str) -> None:
    database.execute(f'ALTER DATABASE "{database.name}" SET {setting}')


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_merge_and_its_undo_bring_the_values_that_were(empty_database: TestDatabase, setting: str) -> None:
    empty_database.execute(TABLE)
    set_for_all(empty_database, setting)
    archive, before = archive_of(empty_database), copy_of_all_tables(empty_database.url)
    empty_database.execute("DELETE FROM t WHERE id = 1; UPDATE t SET words = ARRAY['q', NULL], day = '2025-12-11'")
    damaged = copy_of_all_tables(empty_database.url)
    done, inverse = merge(empty_database, archive, request())
    assert (done.total("inserted"), done.total("updated")) == (1, 1)
    assert copy_of_all_tables(empty_database.url) == before
    undo(empty_database, inverse)
    assert copy_of_all_tables(empty_database.url) == damaged


def test_a_trigger_for_the_role_of_a_replica_does_not_fire(empty_database: TestDatabase) -> None:
    empty_database.execute(
        f"{TABLE}; CREATE FUNCTION spoil() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN new.day := '1999-01-01'; RETURN new; END $$;"
        "CREATE TRIGGER spoil BEFORE INSERT OR UPDATE ON t FOR EACH ROW EXECUTE FUNCTION spoil();"
        "ALTER TABLE t ENABLE REPLICA TRIGGER spoil"
    )
    archive, before = archive_of(empty_database), copy_of_all_tables(empty_database.url)
    empty_database.execute("DELETE FROM t WHERE id = 1")
    set_for_all(empty_database, "session_replication_role = replica")
    _, inverse = merge(empty_database, archive, request())
    assert copy_of_all_tables(empty_database.url) == before
    undo(empty_database, inverse)
    merge(empty_database, archive, request())
    assert copy_of_all_tables(empty_database.url) == before


def test_a_replace_brings_nulls_of_arrays_as_nulls(empty_database: TestDatabase) -> None:
    empty_database.execute(TABLE)
    set_for_all(empty_database, "array_nulls = off")
    archive, facts = archive_and_facts(empty_database)
    server, shadow = target(empty_database), f"shadow_{uuid.uuid4().hex[:8]}"
    server.create(shadow, facts)
    try:
        server.load(shadow, archive, LoadOptions(facts=facts), lambda _: None)
        assert server.prove(shadow, archive, LoadOptions(facts=facts), lambda _: None) == []
    finally:
        server.drop(shadow)
