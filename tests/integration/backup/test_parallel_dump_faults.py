"""A parallel dump that cannot read every range as of its snapshot fails, and says why."""

from __future__ import annotations

import re
import threading

import psycopg
import pytest
import structlog

from app.domain.backup import Codec
from app.embedded.server import wait_until
from app.errors import BackupCreationError, ServerUnavailableError
from app.postgres import server_facts
from app.postgres.dump import ranges, workers
from tests.fix_parallel_dumps import Interrupted, dump, dumped
from tests.fix_postgres import TestDatabase

pytestmark = pytest.mark.usefixtures("small_ranges")


def test_a_connection_lost_in_one_range_stops_all(mixed: TestDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "WAITING_BYTES", 64 << 10)

    def kill() -> None:
        ended = mixed.query(
            "SELECT count(pg_terminate_backend(pid)) FROM (SELECT pid FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name = 'psql' LIMIT 1) x"
        )
        assert ended == [(1,)]

    with pytest.raises(ServerUnavailableError, match="lost during the dump"):
        dump(mixed.url, Interrupted(kill), Codec.NONE, 3)
    assert not [each for each in threading.enumerate() if each.name.startswith("range-reader")]
    left = (
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND application_name IN ('psql', 'pg_dump')"
    )
    assert wait_until(lambda: mixed.query(left) == [(0,)], 10)


@pytest.mark.parametrize(
    "change",
    ["DROP TABLE e_values", "ALTER TABLE d_large ALTER id TYPE bigint", "TRUNCATE d_large", "VACUUM FULL e_values"],
)
def test_no_table_changes_its_form_before_its_range_is_read(
    mixed: TestDatabase, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "WAITING_BYTES", 64 << 10)
    before = dumped(mixed.url)[1]

    def alter() -> None:
        with mixed.connect() as connection:
            connection.execute("SET lock_timeout = '200ms'")
            with pytest.raises(psycopg.errors.LockNotAvailable):
                connection.execute(change.encode())

    assert dump(mixed.url, Interrupted(alter)).tables == before.tables


@pytest.mark.parametrize("change", ["DROP TABLE z_large", "TRUNCATE z_large"])
def test_a_lost_snapshot_is_an_error_even_where_a_table_was_emptied_meanwhile(
    empty_database: TestDatabase, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "WAITING_BYTES", 64 << 10)
    for name in ("a_large", "z_large"):
        empty_database.execute(f"CREATE TABLE {name} AS SELECT i, repeat('z', 200) t FROM generate_series(1, 20000) i")

    def lose() -> None:
        empty_database.query(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name IN ('residency-backup', 'pg_dump')"
        )
        with empty_database.connect() as connection:
            connection.execute("SET lock_timeout = '5s'")
            connection.execute(change.encode())

    with pytest.raises(BackupCreationError):
        dump(empty_database.url, Interrupted(lose))


def test_a_table_dropped_before_its_range_is_asked_for_fails_the_dump_by_name(
    mixed: TestDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = ranges.TableRange.query.fget  # type: ignore[attr-defined]
    missing = property(lambda self: real(self).replace(b"public.d_large", b"public.d_gone"))
    monkeypatch.setattr(ranges.TableRange, "query", missing)
    with pytest.raises(BackupCreationError, match=r"public\.d_gone.* does not exist"):
        dumped(mixed.url)


@pytest.mark.parametrize("too_many", [0, 3])  # others may take what the server said is free
@pytest.mark.parametrize(("limit", "used"), [(5, 3), (3, 1), (2, 0)])
def test_fewer_connections_than_wanted_are_used_and_said(
    mixed: TestDatabase, limit: int, used: int, too_many: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = server_facts.free_connections
    monkeypatch.setattr(server_facts, "free_connections", lambda connection: real(connection) + too_many)
    role = f"limited_{limit}"
    mixed.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'secret' CONNECTION LIMIT {limit} IN ROLE pg_read_all_data")
    try:
        url = re.sub(r"//[^@]*@", f"//{role}:secret@", mixed.url)
        with structlog.testing.capture_logs() as logs:
            _, index = dumped(url, jobs=8)
    finally:
        mixed.execute(f"DROP ROLE {role}")
    assert index.complete
    assert any(each.pages for each in index.segments) == bool(used)
    (warning,) = (each for each in logs if each["log_level"] == "warning")
    assert (warning["event"], warning["used"], warning["wanted"]) == (
        "backup uses fewer connections than wanted",
        used,
        8,
    )
