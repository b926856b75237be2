"""A verb that is signalled while the server works for it: it says so, the server stops too, and nothing is left."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from app.domain.backup import Tier
from app.embedded.postgres import EmbeddedPostgres
from app.embedded.server import wait_until
from app.operations.backup.take import BackupRequest, take_backup
from app.postgres.database import Database
from app.postgres.programs import ProgramResult
from tests.fix_damaged import Damaged, query, require_nothing_left
from tests.fix_fork import COMMAND_LINE, start_forked
from tests.fix_held import HELD, at_work, held
from tests.fix_service import Site, leftovers
from tests.tiers import ALL, sample_of

# A rule of the live database that waits for whoever has the lock.
RULE = f"""
    CREATE FUNCTION held(bigint) RETURNS boolean LANGUAGE sql AS
        'SELECT pg_catalog.pg_advisory_xact_lock_shared({HELD}) IS NOT NULL';
    ALTER TABLE notifications ADD CHECK (public.held(id)) NOT VALID"""
# One that takes for ever in every other database.
SLOW = """
    CREATE FUNCTION slow(bigint) RETURNS boolean LANGUAGE sql AS
        'SELECT pg_catalog.current_database() OPERATOR(pg_catalog.=) ''{name}'' OR pg_catalog.pg_sleep(600) IS NULL';
    ALTER TABLE notifications ADD CHECK (public.slow(id))"""
MERGE = ("restore", "{backup}", "--mode", "merge", "--table", "notifications")
WHERE = ("--where", f"pg_advisory_xact_lock({HELD}) IS NOT NULL")
REPLACE = ("restore", "{backup}", "--mode", "replace", "--confirm", "{name}")
# What the verb waits for, its words, and the signal.
VERBS = {
    "preview": ("rule", (*MERGE, *WHERE, "--dry-run"), signal.SIGTERM),
    "merge": ("write", (*MERGE, "--confirm", "{name}"), signal.SIGTERM),
    "diff": ("rule", ("diff", "{backup}"), signal.SIGINT),
    "create": ("question", ("create", "daily"), signal.SIGTERM),
    "check": ("question", ("check",), signal.SIGTERM),
    "replace": ("question", REPLACE, signal.SIGINT),
    "merge with a condition": ("rule", (*MERGE, *WHERE, "--confirm", "{name}"), signal.SIGINT),
    "preview of all": ("question", (*MERGE, "--dry-run"), signal.SIGINT),
}


def signalled(site: Site, words: Sequence[str], act: Callable[[int], object]) -> ProgramResult:
    """What a verb says that is signalled while the server works on its behalf."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = start_forked(COMMAND_LINE, words, site.process_env(LOG_LEVEL="WARNING"), out, err)
        assert wait_until(lambda: bool(at_work(site.database)) or process.poll() is not None, 60), "nobody waits"
        assert process.poll() is None, "it ended before the signal"
        act(process.pid)
        code = process.wait(60)
        assert wait_until(lambda: not at_work(site.database), 30), "the server goes on"
        out.seek(0)
        err.seek(0)
        return ProgramResult(code, out.read().decode(), err.read().decode())


def require_cancelled(said: ProgramResult) -> None:
    """It says that it was cancelled, and nothing else."""
    assert said.code == 130, said.stderr
    assert "CancelledError" in said.stderr
    assert "[warning" not in said.stderr, "what went wrong on the way out is nobody's concern"
    assert "another command" not in said.stderr


@pytest.mark.parametrize("verb", sample_of(list(VERBS), (0, 1)))
def test_a_verb_that_is_signalled_while_the_server_works_for_it_leaves_nothing(damaged: Damaged, verb: str) -> None:
    lock, words, number = VERBS[verb]
    database = damaged.site.database
    if lock == "rule":
        database.execute(RULE)
    before, files = damaged.content(), damaged.site.files()
    with held(database, lock):
        asked = [word.format(backup=damaged.backup, name=damaged.name) for word in words]
        said = signalled(damaged.site, asked, lambda pid: os.kill(pid, number))
    require_cancelled(said)
    assert damaged.content() == before
    left = damaged.site.files()
    assert {name: digest for name, digest in left.items() if not name.startswith("safety/")} == files
    assert not leftovers(damaged.site.backups)
    require_nothing_left(damaged)
    assert not damaged.service().catalog.running(damaged.name)


def test_a_replace_that_is_signalled_while_its_sessions_load_drops_what_it_made(
    site: Site, postgres_server: EmbeddedPostgres
) -> None:
    name = site.database.name
    site.database.execute(SLOW.format(name=name))
    taken = take_backup(site.service(), BackupRequest(tier=Tier.MANUAL))
    assert taken is not None
    words = [word.format(backup=taken.backup.id, name=name) for word in REPLACE]
    require_cancelled(signalled(site, words, lambda pid: os.kill(pid, signal.SIGTERM)))
    assert query(postgres_server, "SELECT datname FROM pg_database WHERE datname LIKE %s", f"{name}%") == [(name,)]


def test_a_server_looks_whether_the_process_that_it_works_for_is_there(damaged: Damaged) -> None:
    database = damaged.site.database
    with Database.from_url(database.url).connect() as connection:
        assert connection.execute("SHOW client_connection_check_interval").fetchone() == ("5s",)
    if ALL:  # it takes as long as that
        database.execute(RULE)
        with held(database, "rule"):
            words = [word.format(backup=damaged.backup) for word in VERBS["diff"][1]]
            assert signalled(damaged.site, words, lambda pid: os.kill(pid, signal.SIGKILL)).code == -signal.SIGKILL


@pytest.mark.skipif(not ALL, reason="it takes as long as the driver waits for the server's answer")
def test_a_server_that_does_not_answer_is_not_what_a_cancelled_verb_tells_of(damaged: Damaged) -> None:
    database = damaged.site.database
    database.execute(RULE)
    with held(database, "rule"):

        def act(pid: int) -> None:
            (backend,) = at_work(database)
            os.kill(backend, signal.SIGSTOP)
            os.kill(pid, signal.SIGTERM)
            wait_until(lambda: not Path(f"/proc/{pid}").exists(), 60)
            os.kill(backend, signal.SIGCONT)

        words = [word.format(backup=damaged.backup, name=damaged.name) for word in VERBS["preview"][1]]
        said = signalled(damaged.site, words, act)
    assert said.code == 130, said.stderr
    assert "CancelledError" in said.stderr
