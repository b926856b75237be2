"""Rows without a partition, and rows of foreign tables, in a merge; and rows that share what is unique."""

from __future__ import annotations

import pytest

from app.domain.changes import SampleKind
from app.errors import MergeConflictError
from tests.fix_merge import archive_of, beside, done_as_previewed, merge, request, undo
from tests.fix_postgres import TestDatabase

PARTS = """
    CREATE TABLE p (id int, k text, v int, PRIMARY KEY (id, k)) PARTITION BY LIST (k);
    CREATE TABLE pa PARTITION OF p FOR VALUES IN ('a') PARTITION BY RANGE (id);
    CREATE TABLE pa0 PARTITION OF pa FOR VALUES FROM (0) TO (10);
    CREATE TABLE pa1 PARTITION OF pa FOR VALUES FROM (10) TO (20);
    CREATE TABLE pb PARTITION OF p FOR VALUES IN ('b');
    CREATE TABLE child (id int PRIMARY KEY, p int, k text, FOREIGN KEY (p, k) REFERENCES p);
    CREATE TABLE free (k int, said text) PARTITION BY HASH (k);
    CREATE TABLE free0 PARTITION OF free FOR VALUES WITH (MODULUS 2, REMAINDER 0);
    CREATE TABLE free1 PARTITION OF free FOR VALUES WITH (MODULUS 2, REMAINDER 1);
    INSERT INTO p VALUES (1, 'a', 1), (11, 'a', 2), (2, 'b', 3);
    INSERT INTO child VALUES (1, 1, 'a'), (2, 2, 'b'), (3, 11, 'a');
    INSERT INTO free SELECT i, 'said' FROM generate_series(1, 20) i"""


REFERS = "ALTER TABLE child ADD FOREIGN KEY (p, k) REFERENCES p"


@pytest.mark.parametrize(
    ("change", "blocked"),
    [
        (f"DROP TABLE pb CASCADE; DELETE FROM child; DELETE FROM p; {REFERS}", {"2"}),
        (f"DELETE FROM child; DROP TABLE pa1 CASCADE; {REFERS}", {"11"}),
        (f"DELETE FROM child; DROP TABLE pa CASCADE; DELETE FROM p; {REFERS}", {"1", "11"}),
        ("DELETE FROM child; DELETE FROM p; DROP TABLE pb CASCADE; CREATE TABLE pd PARTITION OF p DEFAULT", set()),
    ],
)
def test_rows_whose_partition_is_gone_are_blocked_and_the_rest_is_done(
    empty_database: TestDatabase, change: str, blocked: set[str]
) -> None:
    empty_database.execute(PARTS)
    done = done_as_previewed(empty_database, change)
    shown = [each for each in done.samples if each.kind is SampleKind.PARTITION]
    assert {each.key["id"] for each in shown} == blocked
    assert all((each.table, each.columns[-1]) == ("public.p", "k") for each in shown)
    orphans = [each for each in done.samples if each.kind is SampleKind.PARENT]
    assert len(orphans) == len(blocked)  # who refers to what does not come
    assert done.total("blocked") == 2 * len(blocked)


def test_a_table_without_a_key_and_a_replace_say_so_too(empty_database: TestDatabase) -> None:
    empty_database.execute(PARTS)
    done = done_as_previewed(empty_database, "DROP TABLE free1; DELETE FROM free WHERE k < 5", tables=["free"])
    assert done.total("blocked") > 0
    assert done.total("inserted") > 0
    assert {each.kind for each in done.samples} == {SampleKind.INSERTED, SampleKind.PARTITION}
    empty_database.execute("CREATE TABLE free1 PARTITION OF free FOR VALUES WITH (MODULUS 2, REMAINDER 1)")
    archive = archive_of(empty_database)
    empty_database.execute("INSERT INTO free VALUES (1, 'x'); DELETE FROM free WHERE said = 'said'")
    empty_database.execute("DROP TABLE free0")
    with pytest.raises(MergeConflictError, match="cannot be restored") as failed:
        merge(empty_database, archive, request(tables=["free"], exact=True))
    assert "PARTITION OF" in (failed.value.hint or "")


FOREIGN = """
    CREATE EXTENSION file_fdw;
    CREATE SERVER files FOREIGN DATA WRAPPER file_fdw;
    CREATE TABLE logs (id int NOT NULL, kind text NOT NULL) PARTITION BY LIST (kind);
    CREATE TABLE logs_a PARTITION OF logs FOR VALUES IN ('a');
    CREATE TABLE logs_b PARTITION OF logs FOR VALUES IN ('b');
    CREATE FOREIGN TABLE logs_old PARTITION OF logs FOR VALUES IN ('old') SERVER files
        OPTIONS (program 'printf "7\\told\\n8\\told\\n"');
    INSERT INTO logs VALUES (1, 'a'), (2, 'a'), (2, 'a'), (3, 'b');
    CREATE TABLE base (id int, t text);
    INSERT INTO base VALUES (1, 'x');
    CREATE FOREIGN TABLE base_old (id int, t text) INHERITS (base) SERVER files
        OPTIONS (program 'printf "9\\told\\n"');
    CREATE TABLE base_kid (extra int) INHERITS (base);
    INSERT INTO base_kid VALUES (2, 'kid', 5)"""


@pytest.mark.parametrize("exact", [False, True], ids=["merge", "replace"])
def test_rows_of_foreign_partitions_count_on_neither_side(empty_database: TestDatabase, *, exact: bool) -> None:
    empty_database.execute(FOREIGN)
    archive = archive_of(empty_database)
    with beside(empty_database, archive, request(exact=True)) as found:  # as diff asks
        same = found.preview()
    assert [(each.table, each.unchanged, each.changed, each.live_only) for each in same.tables] == [
        ("public.base", 1, 0, 0),
        ("public.base_kid", 1, 0, 0),
        ("public.logs", 4, 0, 0),
    ]
    # The program that a foreign table reads may be gone: nobody asks it.
    empty_database.execute("ALTER FOREIGN TABLE logs_old OPTIONS (SET program 'false')")
    empty_database.execute("DELETE FROM logs_a WHERE id = 2; INSERT INTO logs_b VALUES (9, 'b'); DELETE FROM base_kid")
    tables = {"tables": ["logs", "base", "base_kid"]}
    with beside(empty_database, archive, request(exact=exact, **tables)) as found:
        preview = found.preview()
    done, inverse = merge(empty_database, archive, request(exact=exact, **tables))
    assert preview.tables == done.tables
    assert (done.total("inserted"), done.total("deleted")) == (3, 1 if exact else 0)
    assert (done.total("live_only"), done.total("blocked")) == (0 if exact else 1, 0)
    undo(empty_database, inverse)
    assert empty_database.query("SELECT id FROM logs_a UNION ALL SELECT id FROM logs_b ORDER BY 1") == [
        (1,),
        (3,),
        (9,),
    ]


def test_rows_that_belong_to_a_foreign_partition_by_now_are_blocked(empty_database: TestDatabase) -> None:
    empty_database.execute(FOREIGN)
    archive = archive_of(empty_database)
    empty_database.execute(
        "DROP TABLE logs_b; CREATE FOREIGN TABLE logs_b PARTITION OF logs FOR VALUES IN ('b') SERVER files"
        " OPTIONS (program 'printf \"3\\tb\\n\"'); DELETE FROM logs_a"
    )
    done, _ = merge(empty_database, archive, request())
    assert (done.total("inserted"), done.total("blocked")) == (3, 1)
    assert [each.key["id"] for each in done.samples if each.kind is SampleKind.PARTITION] == ["3"]


# As an index that another version of the C library ordered lets them in: it does not know of the second row.
DUPLICATES = """
    CREATE TABLE accounts (id text PRIMARY KEY, email text UNIQUE, n int);
    CREATE TABLE refers (id int PRIMARY KEY, account text);
    INSERT INTO accounts VALUES ('a', 'a@x', 1), ('b', 'b@x', 1);
    INSERT INTO refers VALUES (1, 'a');
    UPDATE pg_index SET indislive = false, indisready = false, indisvalid = false WHERE indrelid = 'accounts'::regclass;
    INSERT INTO accounts VALUES ('a', 'c@x', 2), ('c', 'b@x', 3);
    UPDATE pg_index SET indislive = true, indisready = true, indisvalid = true WHERE indrelid = 'accounts'::regclass"""


@pytest.mark.parametrize(
    "change",
    [
        "DELETE FROM accounts",
        "DELETE FROM accounts WHERE n > 1",
        "DELETE FROM accounts WHERE n = 1",
        "UPDATE accounts SET n = n + 10",
        "UPDATE accounts SET n = 5 WHERE id = 'a' AND n = 1",
        "DELETE FROM accounts WHERE id = 'a'; INSERT INTO accounts VALUES ('a', 'd@x', 9)",
        "SELECT",
    ],
)
def test_of_duplicates_a_preview_says_what_is_done(empty_database: TestDatabase, change: str) -> None:
    empty_database.execute(DUPLICATES)
    done = done_as_previewed(empty_database, change)
    (accounts,) = (each for each in done.tables if each.table == "public.accounts")
    assert accounts.live_only >= 0
    assert accounts.unchanged >= 0
