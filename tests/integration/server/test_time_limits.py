"""Time limits that a server, a role or a database sets: none of them ends a session of ours."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from app.domain.backup import Tier
from app.domain.checks import Severity
from app.domain.restore import Method, Mode
from app.operations.backup.take import BackupRequest, take_backup
from app.operations.backups.verify import verify
from app.operations.health.check import check
from app.operations.restore.preview import diff, preview
from app.operations.restore.request import RestoreRequest
from app.operations.restore.rollback import rollback
from app.operations.restore.run import restore
from app.operations.service import Progress
from app.postgres.session_settings import LOCK_LIMIT, time_limits
from tests.fix_archives import as_role
from tests.fix_matrix import Major, running_major
from tests.fix_postgres import TestDatabase
from tests.fix_service import Site, make_site
from tests.tiers import ALL, majors

LIMIT_MS = 300
# They end a connection whose other end does not answer any more, and no work.
_OF_THE_NETWORK = {"tcp_user_timeout", "wal_sender_timeout"}
_SETTABLE = "SELECT name FROM pg_settings WHERE name ~ 'timeout' AND context = 'user'"
# Rows, an index and a constraint that take longer than the limit, however fast the machine is.
_CONTENT = """
    CREATE FUNCTION slow(id int) RETURNS boolean IMMUTABLE LANGUAGE plpgsql
        AS $$ BEGIN PERFORM pg_catalog.pg_sleep(0.012); RETURN true; END $$;
    CREATE TABLE people (id int PRIMARY KEY, name text, CHECK (public.slow(id)));
    INSERT INTO people SELECT g, 'person ' || g FROM generate_series(1, 30) g;
    CREATE INDEX ON people (public.slow(id))"""


class Stretched(Progress):
    """A progress that lasts longer than the limit in the midst of each phase: whoever waits meanwhile must outlive it.

    Attributes:
        phases: those that it stretched.
    """

    def __init__(self, database: TestDatabase) -> None:
        self.phases: list[str] = []
        self._database = database
        self._phase: str | None = None
        self._once = threading.Lock()

    def start(self, what: str, total: int | None) -> None:  # noqa: ARG002 -- the port's
        self._phase = what

    def advance(self, amount: int) -> None:  # noqa: ARG002 -- the port's
        with self._once:
            if self._phase is not None:
                self.phases.append(self._phase)
                self._phase = None
                wait_for_the_limit(self._database)


def wait_for_the_limit(database: TestDatabase) -> None:
    """Wait until the server has ended a session that did nothing for as long as the limit allows."""
    with database.connect() as idle, suppress(psycopg.OperationalError):
        end = time.monotonic() + 30
        while time.monotonic() < end:
            for _ in idle.notifies(timeout=1):
                pass
        pytest.fail("the limit is not in force")


@pytest.fixture(params=majors(18), ids=str)
def limited(request: pytest.FixtureRequest) -> Iterator[tuple[Major, TestDatabase]]:
    """A database of a server that limits everything that can be limited."""
    with running_major(request.param) as major, major.database("limited") as database:
        database.execute(_CONTENT)
        database.execute("CREATE ROLE keeper LOGIN PASSWORD 'secret'; ALTER DATABASE limited OWNER TO keeper")
        database.execute("ALTER SCHEMA public OWNER TO keeper; ALTER TABLE people OWNER TO keeper")
        database.execute("ALTER FUNCTION slow OWNER TO keeper")
        with database.connect() as admin:
            for name in limits_of(major):
                setting = sql.SQL("ALTER SYSTEM SET {} = {}").format(sql.Identifier(name), sql.Literal(LIMIT_MS))
                admin.execute(setting)
            admin.execute("SELECT pg_reload_conf()")
        yield major, database


def limits_of(major: Major) -> list[str]:
    """All limits that a server of that major has."""
    return [*time_limits(major.number * 10_000), LOCK_LIMIT]


@pytest.mark.timeout(120)  # it waits much
def test_no_verb_dies_of_a_time_limit(
    limited: tuple[Major, TestDatabase], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    major, database = limited
    monkeypatch.setenv("PATH", str(major.programs), prepend=":")
    # Whatever limit a later major brings, somebody has to look at it.
    known = {name for (name,) in database.query(_SETTABLE)} - _OF_THE_NETWORK
    assert known == set(limits_of(major))
    for name in limits_of(major):
        assert database.query(f"SHOW {name}") == [(f"{LIMIT_MS}ms",)]

    site: Site = make_site(database, tmp_path / "backups", filled=False)
    service, progress = site.service(), Stretched(database)
    taken = take_backup(service, BackupRequest(tier=Tier.MANUAL), progress)
    assert taken is not None
    backup = taken.backup.id
    assert not taken.warnings
    assert all(found.severity is not Severity.ERROR for found in check(service))
    assert verify(service, backup, progress).verified

    def broken() -> None:
        database.execute("DELETE FROM people WHERE id <= 5")

    def rows() -> int:
        return int(database.query("SELECT count(*) FROM people")[0][0])

    broken()
    merge = RestoreRequest.parse(service, backup, mode=Mode.MERGE, confirm=database.name)
    assert preview(service, merge, progress).changes.total("inserted") == 5
    assert diff(service, backup, None, progress).total("inserted") == 5
    merged = restore(service, merge, progress)
    assert rows() == 30
    rollback(service, merged.restore.id, progress)
    assert rows() == 25

    replaced = restore(
        service, RestoreRequest.parse(service, backup=backup, mode=Mode.REPLACE, confirm=database.name), progress
    )
    assert (rows(), replaced.restore.method) == (30, Method.SHADOW)
    rollback(service, replaced.restore.id, progress)
    assert rows() == 25

    keeper = site.service(DATABASE_URL=as_role(database.url, "keeper"))
    in_place = restore(
        keeper, RestoreRequest.parse(keeper, backup=backup, mode=Mode.REPLACE, confirm=database.name), progress
    )
    assert (rows(), in_place.restore.method) == (30, Method.IN_PLACE)
    assert {"dump", "read back", "verify", "compare"} < set(progress.phases)
    if ALL:
        assert take_backup(service, BackupRequest(tier=Tier.FULL), progress) is not None
