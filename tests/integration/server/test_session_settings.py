"""What role, database or server have set for each session decides neither what a merge sees nor what it may take.

Seen in public trackers: checks that depend on the time zone (pgpartman/pg_partman#36), temp_file_limit
(osm-search/Nominatim#3226), transactions that are serializable by default.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.errors import ServerUnavailableError
from app.postgres.database import Database
from tests.fix_archives import as_role
from tests.fix_merge import archive_of, merge, request, undo
from tests.fix_postgres import TestDatabase, copy_of_all_tables
from tests.tiers import sample_of

SPILLING = "SELECT count(*) FROM (SELECT g FROM generate_series(1, 100000) g ORDER BY -g) s"
NEW_YORK = "America/New_York"
# In UTC each row breaks the check, and the two nights share the key of the index.
DAYS = f"""
    SET TimeZone = '{NEW_YORK}';
    CREATE FUNCTION day(timestamptz) RETURNS date LANGUAGE sql IMMUTABLE AS 'SELECT $1::date';
    CREATE TABLE nights (id int PRIMARY KEY, at timestamptz, day date CHECK (at::date = day));
    CREATE UNIQUE INDEX ON nights (public.day(at));
    INSERT INTO nights VALUES (1, '2025-01-01 23:00', '2025-01-01'), (2, '2025-01-02 01:00', '2025-01-02')"""


def test_what_depends_on_the_time_zone_is_evaluated_in_that_of_the_database(empty_database: TestDatabase) -> None:
    empty_database.execute(DAYS)
    empty_database.execute(f"ALTER DATABASE \"{empty_database.name}\" SET TimeZone = '{NEW_YORK}'")
    archive, before = archive_of(empty_database), copy_of_all_tables(empty_database.url)
    empty_database.execute("DELETE FROM nights WHERE id = 1; UPDATE nights SET at = at + '1 hour'")
    damaged = copy_of_all_tables(empty_database.url)
    done, inverse = merge(empty_database, archive, request())
    assert (done.total("inserted"), done.total("updated"), done.total("blocked")) == (1, 1, 0)
    assert copy_of_all_tables(empty_database.url) == before
    empty_database.execute(f"ALTER DATABASE \"{empty_database.name}\" SET TimeZone = 'UTC'")
    undo(empty_database, inverse)
    assert copy_of_all_tables(empty_database.url) == damaged


@pytest.mark.parametrize("level", sample_of(["repeatable read", "serializable"], [0]))
def test_a_merge_sees_what_was_written_while_it_waited_for_its_locks(empty_database: TestDatabase, level: str) -> None:
    empty_database.execute("CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'backup')")
    empty_database.execute(f"ALTER DATABASE \"{empty_database.name}\" SET default_transaction_isolation = '{level}'")
    archive = archive_of(empty_database)
    empty_database.execute("DELETE FROM t")
    with empty_database.connect() as writer, ThreadPoolExecutor(1) as pool:
        with writer.transaction():
            writer.execute("INSERT INTO t VALUES (1, 'live')")
            merging = pool.submit(merge, empty_database, archive, request("keep-live"))
            wait_for_one_who_waits(empty_database)
        done, _ = merging.result()
    assert (done.total("inserted"), done.total("conflicting")) == (0, 1)
    assert empty_database.query("SELECT v FROM t") == [("live",)]


def wait_for_one_who_waits(database: TestDatabase) -> None:
    end = time.monotonic() + 30
    while not database.query("SELECT FROM pg_locks WHERE NOT granted AND relation = 't'::regclass"):
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_limit_of_temporary_files_ends_no_session_of_a_superuser_and_is_named_to_others(
    empty_database: TestDatabase,
) -> None:
    role = f"limited_{empty_database.name}"
    limited = Database.from_url(as_role(empty_database.url, role))
    empty_database.execute(
        f"CREATE ROLE {role} LOGIN SUPERUSER PASSWORD 'secret';"
        f"ALTER ROLE {role} SET temp_file_limit = '64kB'; ALTER ROLE {role} SET work_mem = '64kB'"
    )
    try:
        with limited.connect() as connection:
            assert connection.execute(SPILLING).fetchone() == (100_000,)
        empty_database.execute(f"ALTER ROLE {role} NOSUPERUSER")
        with (
            pytest.raises(ServerUnavailableError, match=r"refuses: .*temp_file_limit") as caught,
            limited.connect() as connection,
        ):
            connection.execute(SPILLING)
        where, _, command = caught.value.hint.partition(": ")
        assert where == "lift it for the role, as a superuser"
        assert command == f"psql -d postgres -c 'ALTER ROLE \"{role}\" SET temp_file_limit = -1'"
    finally:
        empty_database.execute(f"DROP ROLE {role}")
