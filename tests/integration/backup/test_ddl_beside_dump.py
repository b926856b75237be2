"""Schema changes beside a dump: nobody waits for long, and the dump comes to its end.

Without the watch each of these would stand still until somebody ends it: the change waits for the dump, sessions of the
dump, or of the application, wait for the change.
"""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from app.archive.index import Index, TableName
from app.archive.writer import ArchiveWriter
from app.domain.backup import Codec, Tier
from app.embedded.postgres import EmbeddedPostgres
from app.errors import TableLockedError
from app.operations.backup.take import BackupRequest, take_backup
from app.ports import attempts
from app.ports.attempts import dump_whole
from app.ports.source import ChangedError
from app.postgres.database import Database
from app.postgres.dump import early_reads, ranges, read_ahead, snapshot, watch, workers
from app.postgres.dump.source import PostgresSource
from tests.fix_postgres import TestDatabase, copy_of_all_tables, psql, scratch_database
from tests.fix_service import Site
from tests.fix_sessions import BOUND, Beside
from tests.tiers import sample_of, times

LARGE = """
    CREATE TABLE a_large AS SELECT i AS id, repeat('a', 200) AS t FROM generate_series(1, 4000) i;
    CREATE TABLE z_large AS SELECT i AS id, repeat('z', 200) AS t FROM generate_series(1, 4000) i;
    ALTER TABLE z_large ADD PRIMARY KEY (id);
    CREATE TABLE small (id int PRIMARY KEY, t text); INSERT INTO small VALUES (1, 'secret value');
    CREATE MATERIALIZED VIEW seen AS SELECT * FROM small"""


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables of some hundred kilobytes are large, and patience is short."""
    monkeypatch.setattr(ranges, "RANGE_BYTES", 128 << 10)
    monkeypatch.setattr(ranges, "LARGE_BYTES", 256 << 10)
    monkeypatch.setattr(ranges, "MANY_BYTES", 512 << 10)
    monkeypatch.setattr(workers, "WAITING_BYTES", 64 << 10)
    monkeypatch.setattr(watch, "GIVE_WAY_SECONDS", 0.3)


@pytest.fixture
def large(empty_database: TestDatabase) -> TestDatabase:
    empty_database.execute(LARGE)
    return empty_database


class Slow(io.BytesIO):
    """A file on a disk that stands still in the middle of the first table, once, while something happens."""

    def __init__(self, happens: Callable[[], None]) -> None:
        super().__init__()
        self._happens: Callable[[], None] | None = happens

    def write(self, data: object, /) -> int:
        if self._happens and b"FROM stdin;" in bytes(data):  # type: ignore[call-overload]
            happens, self._happens = self._happens, None
            happens()
        return super().write(data)  # type: ignore[arg-type]


def dumped(database: TestDatabase, happens: Callable[[], None] = lambda: None, jobs: int = 2) -> tuple[bytes, Index]:
    """A whole dump, in as many attempts as it takes; the first stands still while something happens."""
    stream = Slow(happens)

    def begin() -> ArchiveWriter:
        stream.seek(0)
        stream.truncate()
        return ArchiveWriter(stream, Codec.NONE)

    _, writer = dump_whole(PostgresSource(Database.from_url(database.url), jobs), begin)
    return stream.getvalue(), writer.finish()


Copy = dict[str, tuple[int, str]]


def require_restores(data: bytes, server: EmbeddedPostgres, file: Path, *instants: Copy) -> None:
    """The dump shows one of these instants, all of it."""
    file.write_bytes(data)
    with scratch_database(server) as restored:
        psql(restored.url, file)
        assert copy_of_all_tables(restored.url) in instants


@pytest.mark.parametrize(
    "change",
    sample_of(
        [
            "ALTER TABLE z_large ADD COLUMN more int",
            "ALTER TABLE z_large ALTER id TYPE bigint",
            "TRUNCATE z_large",
            "DROP TABLE z_large",
            "REINDEX TABLE z_large",
            "VACUUM FULL z_large",
            "CLUSTER z_large USING z_large_pkey",
            "ALTER TABLE small RENAME COLUMN t TO u",
            "DROP TABLE small CASCADE",
            "REFRESH MATERIALIZED VIEW seen",
            "LOCK TABLE z_large IN ACCESS EXCLUSIVE MODE",
            "CREATE INDEX CONCURRENTLY ON z_large (t)",
        ],
        (0, 2, 5, 8, 9, 10, 11),
    ),
)
def test_a_change_of_the_schema_holds_nobody_up(
    large: TestDatabase, postgres_server: EmbeddedPostgres, tmp_path: Path, change: str
) -> None:
    table = "small" if "small" in change else "seen" if "seen" in change else "z_large"
    begin = ("BEGIN", change, "COMMIT") if change.startswith("LOCK") else (change,)
    before, changing = copy_of_all_tables(large.url), list[Beside]()

    def happens() -> None:
        changing.append(Beside(large, *begin).start().wait_until_it_waits())
        if "CONCURRENTLY" in change:  # it waits for the snapshot, and holds nobody up meanwhile
            changing[0] = Beside(large, f"SELECT count(*) FROM {table}").start()
        reading = Beside(large, f"SELECT FROM {table} LIMIT 1").start().wait()
        assert reading.error is None or isinstance(reading.error, psycopg.errors.UndefinedTable)

    data, index = dumped(large, happens)
    assert index.complete
    assert changing[0].wait().error is None
    require_restores(data, postgres_server, tmp_path / "backup.sql", before, copy_of_all_tables(large.url))


@pytest.mark.parametrize("change", ["TRUNCATE small", "DROP TABLE small CASCADE", "TRUNCATE z_large"])
def test_a_change_between_our_locks_and_those_of_the_programs_costs_nobody_anything(
    large: TestDatabase, postgres_server: EmbeddedPostgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    real, before, changing = early_reads.large_tables, copy_of_all_tables(large.url), list[Beside]()
    monkeypatch.setattr(watch, "GIVE_WAY_SECONDS", 60.0)  # it is not what helps here

    def after_our_locks(*arguments: object) -> object:
        if not changing:
            changing.append(Beside(large, change).start().wait_until_it_waits())
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(early_reads, "large_tables", after_our_locks)
    data, _ = dumped(large)
    assert changing[0].wait().error is None
    require_restores(data, postgres_server, tmp_path / "backup.sql", before, copy_of_all_tables(large.url))


@contextmanager
def busy(database: TestDatabase, sessions: int, *statements: str) -> Iterator[None]:
    """Sessions that run statements again and again, and are never held up."""
    over, errors = threading.Event(), list[psycopg.Error]()

    def work(number: int) -> None:
        with database.connect() as connection:
            connection.execute(f"SET statement_timeout = '{BOUND}'".encode())
            try:
                for turn in range(1_000_000):
                    for statement in statements:
                        connection.execute(statement.format(f"{number}_{turn}").encode())
                    if over.wait(0.002):  # some hundred turns a second are enough
                        return
            except psycopg.Error as error:
                errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(sessions)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert not errors


def test_a_database_whose_sessions_make_and_drop_tables_all_the_time_is_backed_up_every_time(
    site: Site, restored: Callable[[Path], TestDatabase]
) -> None:
    with busy(
        site.database,
        3,
        "CREATE TABLE job_{0} (id serial PRIMARY KEY, said text)",
        "INSERT INTO job_{0} (said) SELECT 'x' FROM generate_series(1, 10)",
        "DROP TABLE job_{0}",
    ):
        for _ in range(times(1, 3)):
            taken = take_backup(site.service(), BackupRequest(tier=Tier.DAILY))
            assert taken is not None
    # The last one may show a table that was about to go.
    copy = copy_of_all_tables(restored(site.backups / taken.backup.file).url)
    assert {name: rows for name, rows in copy.items() if '"job_' not in name} == copy_of_all_tables(site.database.url)


def test_a_database_whose_sessions_empty_and_fill_a_table_all_the_time_is_backed_up_every_time(
    large: TestDatabase, postgres_server: EmbeddedPostgres, tmp_path: Path
) -> None:
    large.execute("CREATE TABLE staging (id int PRIMARY KEY, t text)")
    fill = "INSERT INTO staging SELECT i, 'x' FROM generate_series(1, 100) i"
    with busy(large, 1, f"BEGIN; TRUNCATE staging; {fill}; COMMIT", "TRUNCATE staging", fill):
        data, index = dumped(large)
        (staging,) = (each for each in index.tables if each.table.name == "staging")
    assert staging.rows in {0, 100}
    full = copy_of_all_tables(large.url)
    large.execute("TRUNCATE staging")
    empty = copy_of_all_tables(large.url)
    require_restores(data, postgres_server, tmp_path / "backup.sql", empty, full)


def test_a_change_that_was_rolled_back_long_ago_is_none(large: TestDatabase) -> None:
    """Until a VACUUM freezes it, a row of the catalogs bears the number of whoever failed to change it."""
    alter = "ALTER TABLE small ALTER t SET NOT NULL"
    large.execute(f"BEGIN; {alter}; ROLLBACK")
    small = TableName("public", "small")
    history = early_reads.AttemptHistory(wanted={small}, emptied={small})
    database = Database.from_url(large.url)
    with (
        database.connect() as connection,
        early_reads.early_session(database, history) as session,
        snapshot.exported_snapshot(connection, session) as taken,
    ):
        session.large_tables(connection, taken)
        session.require_unchanged(connection)
        large.execute(alter)
        with pytest.raises(ChangedError, match="was altered"):
            session.require_unchanged(connection)


def test_views_that_come_and_go_do_not_end_a_dump(
    large: TestDatabase, postgres_server: EmbeddedPostgres, tmp_path: Path
) -> None:
    """A lock keeps no view: pg_dump fails on one that is gone when it asks for its definition."""
    with busy(large, 2, "CREATE VIEW report_{0} AS SELECT * FROM small", "DROP VIEW report_{0}"):
        for _ in range(times(1, 3)):
            data, _ = dumped(large)
    require_restores(data, postgres_server, tmp_path / "backup.sql", copy_of_all_tables(large.url))


def test_who_asks_again_and_again_with_a_short_timeout_gets_his_turn(large: TestDatabase) -> None:
    """As pg_repack and pgcompact do: none of their requests waits for long, and the application waits behind each."""

    def happens() -> None:
        with large.connect() as other:
            other.execute("SET lock_timeout = '150ms'")
            while True:
                try:
                    other.execute("ALTER TABLE z_large ADD COLUMN more int")
                except psycopg.errors.LockNotAvailable:
                    continue
                break

    assert dumped(large, happens)[1].complete


def test_a_circle_of_waiting_that_the_server_cannot_see_is_broken(large: TestDatabase) -> None:
    """Somebody refreshes a view that pg_dump asks for, and then wants a table of ours."""
    in_the_way = (
        "SELECT FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE NOT granted AND application_name = 'pg_dump'"
    )
    errors: list[psycopg.Error] = []

    def work() -> None:
        with large.connect() as other, other.transaction():
            other.execute("REFRESH MATERIALIZED VIEW seen")
            refreshed.set()
            while not large.query(in_the_way):
                time.sleep(0.01)
            other.execute(f"SET statement_timeout = '{BOUND}'".encode())
            try:
                other.execute("TRUNCATE z_large")
            except psycopg.Error as error:
                errors.append(error)
                raise

    refreshed, thread = threading.Event(), threading.Thread(target=work, daemon=True)
    thread.start()
    refreshed.wait()
    data, _ = dumped(large)
    thread.join()
    assert not errors
    assert b"\tzzzz" not in data  # it shows what was after the change


def test_large_objects_keep_nobody_from_a_table(large: TestDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read_ahead, "AHEAD_BYTES", 1)
    large.execute("SELECT lo_from_bytea(4711, decode(repeat('ab', 2000000), 'hex'))")
    locking: list[Beside] = []

    def happens() -> None:
        migrating = ("BEGIN", "LOCK TABLE small IN ACCESS EXCLUSIVE MODE", "COMMIT")
        locking.append(Beside(large, *migrating).start().wait())

    assert dumped(large, happens)[1].complete
    assert locking[0].error is None


def test_who_stays_in_the_way_is_named_without_what_he_said(
    large: TestDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot, "LOCK_WAIT_MS", 200)
    with psycopg.connect(large.url, application_name="migration") as other:
        other.execute("ALTER TABLE small ALTER t SET DEFAULT 'secret value'")
        with pytest.raises(TableLockedError) as caught:
            dumped(large)
        pid = other.info.backend_pid
        assert f"table public.small of database {large.name} stayed locked by pid {pid}" in caught.value.message
        assert "(application migration, ALTER TABLE)" in caught.value.message
        assert "secret" not in caught.value.message + caught.value.hint
        assert f"pid = {pid}" in caught.value.hint
        assert caught.value.transient


def test_a_prepared_transaction_in_the_way_is_named(
    own_postgres_server: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot, "LOCK_WAIT_MS", 200)
    with psycopg.connect(own_postgres_server.url(), autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET max_prepared_transactions = 5")
    own_postgres_server.restart()
    with scratch_database(own_postgres_server) as database:
        database.execute("CREATE TABLE small (id int)")
        database.execute("BEGIN; LOCK TABLE small; PREPARE TRANSACTION 'forgotten'")
        try:
            with pytest.raises(TableLockedError, match="prepared transaction forgotten") as caught:
                dumped(database)
            assert "ROLLBACK PREPARED" in caught.value.hint
        finally:
            database.execute("ROLLBACK PREPARED 'forgotten'")


def test_a_dump_that_gave_way_every_time_says_to_whom(large: TestDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "ATTEMPTS", 1)
    monkeypatch.setattr(attempts, "SECONDS", 0.0)
    changing: list[Beside] = []

    def happens() -> None:
        changing.append(Beside(large, "ALTER TABLE z_large ADD COLUMN more int").start().wait())

    with pytest.raises(TableLockedError, match=r"gave way .* \(application scheduler, ALTER TABLE\)") as caught:
        dumped(large, happens)
    assert type(caught.value) is TableLockedError
    assert changing[0].error is None
