"""Backups of a hot standby: what it has no content of, and what its recovery does to who reads."""

from __future__ import annotations

import io
import os
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.archive.writer import ArchiveWriter
from app.domain.backup import Codec, Tier
from app.domain.restore import Mode
from app.embedded.server import wait_until
from app.errors import BackupCreationError, RestoreError, StandbyConflictError
from app.operations.backup.take import BackupRequest, take_backup
from app.operations.health.check import check
from app.operations.restore.preview import preview
from app.operations.restore.request import RestoreRequest
from app.operations.restore.run import restore
from app.postgres.binaries import find_binary
from app.postgres.database import Database
from app.postgres.dump.source import PostgresSource
from app.postgres.programs import ProgramError, output_of
from tests.fix_archives import as_role
from tests.fix_postgres import TestDatabase
from tests.fix_service import make_site
from tests.fix_standby import Pair, standby_pair

_CONFLICTS = "SELECT confl_snapshot FROM pg_stat_database_conflicts WHERE datname = current_database()"


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    """A primary and its standby, with tables that are in the WAL and some that are not."""
    with standby_pair(
        "followed",
        "CREATE TABLE people AS SELECT g AS id, 'person ' || g AS name FROM generate_series(1, 100) g",
        "CREATE UNLOGGED TABLE cache (id serial PRIMARY KEY, said text)",
        "INSERT INTO cache (said) VALUES ('gone after a crash')",
    ) as pair:
        yield pair


def test_a_standby_is_backed_up_without_what_is_unlogged(pair: Pair, tmp_path: Path) -> None:
    service = make_site(pair.standby, tmp_path / "backups", filled=False).service()
    warned = [found.message for found in check(service) if found.check == "unlogged tables"]
    assert len(warned) == 1
    assert "the server is a standby" in warned[0]
    assert "public.cache, public.cache_id_seq;" in warned[0]

    taken = take_backup(service, BackupRequest(tier=Tier.MANUAL))
    assert taken is not None
    assert (taken.backup.tables, taken.backup.rows) == (1, 100)

    at_home = make_site(pair.primary, tmp_path / "backups", filled=False).service()
    assert not [found for found in check(at_home) if found.check == "unlogged tables"]
    restored = restore(
        at_home,
        RestoreRequest.parse(at_home, backup=taken.backup.id, mode=Mode.REPLACE, into="beside", confirm="beside"),
    )
    assert not restored.warnings
    beside = TestDatabase("beside", pair.server.url("beside"))
    assert beside.query("SELECT count(*) FROM people") == [(100,)]
    assert beside.query(
        "SELECT relpersistence::text, (SELECT count(*) FROM cache) FROM pg_class WHERE relname = 'cache'"
    ) == [("u", 0)]


def test_a_standby_that_is_to_be_written_to_is_named_as_one(pair: Pair, tmp_path: Path) -> None:
    service = make_site(pair.standby, tmp_path / "backups", filled=False).service()
    taken = take_backup(service, BackupRequest(tier=Tier.MANUAL))
    assert taken is not None
    with pytest.raises(RestoreError) as caught:
        preview(service, RestoreRequest.parse(service, backup=taken.backup.id, mode=Mode.MERGE))
    assert "standby" in caught.value.hint


def test_a_standby_whose_sessions_are_serializable_is_told_what_to_set(pair: Pair) -> None:
    standby = Database.from_url(as_role(pair.standby.url, "strict"))
    written = "SET synchronous_commit = on"  # what is not written yet does not count for `catch_up`
    strict = "ALTER ROLE strict SET default_transaction_isolation = 'serializable'"
    pair.primary.execute(f"{written}; CREATE ROLE strict LOGIN PASSWORD 'secret'; {strict}")
    pair.catch_up()
    with pytest.raises(BackupCreationError, match="serializable by default") as caught, standby.connect():
        pytest.fail("the standby lets it in")
    where, _, command = caught.value.hint.partition(": ")
    assert where == "on the primary"
    program, to, *statements = shlex.split(command)
    pg_dump = find_binary("pg_dump", pair.primary.query("SHOW server_version")[0][0]).path
    with pytest.raises(ProgramError, match="cannot use serializable mode in a hot standby"):
        output_of([pg_dump, "-d", standby.conninfo], standby.environment(os.environ))
    assert [program, to] == ["psql", "-d"]
    for statement in statements[2::2]:
        pair.primary.execute(f"{written}; {statement}")
    pair.catch_up()
    with standby.connect() as connection:
        assert connection.execute("SHOW transaction_isolation").fetchone() == ("read committed",)


def test_a_dump_that_the_recovery_ended_says_what_helps(pair: Pair) -> None:
    source = PostgresSource(Database.from_url(pair.standby.url))

    def dump_what_is_vacuumed() -> None:
        with source.snapshot() as held:
            pair.primary.execute("DELETE FROM people WHERE id > 90")
            pair.primary.execute("VACUUM people")
            assert wait_until(lambda: pair.standby.query(_CONFLICTS)[0][0] > 0, 30)
            held.dump_into(ArchiveWriter(io.BytesIO(), Codec.NONE))

    with pytest.raises(StandbyConflictError) as caught:
        dump_what_is_vacuumed()
    assert "the standby cancelled the read of database followed" in caught.value.message
    assert "hot_standby_feedback" in caught.value.hint
    assert "max_standby_streaming_delay" in caught.value.hint
    assert caught.value.transient
