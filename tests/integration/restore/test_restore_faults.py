"""Faults of restores: each its own error and exit code, the live database as before, nothing left behind."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import psycopg
import pytest
from sqlalchemy import make_url

from app.domain.backup import Tier
from app.domain.restore import RestoreState
from app.embedded.postgres import EmbeddedPostgres
from app.errors import (
    BackupCancelledError,
    BackupNotFoundError,
    BackupValidationError,
    Cancelled,
    CatalogError,
    MergeConflictError,
    ResidencyBackupError,
    RestoreBusyError,
    RestoreCancelledError,
    RestoreDataError,
    RestorePermissionError,
    RestorePostCommandError,
    RestoreRollbackError,
    RestoreRunningError,
    RestoreStorageError,
    RestoreValidationError,
    TargetUnavailableError,
)
from app.operations.backups.inventory import inventory
from app.operations.health.check import check, repair
from app.operations.restore.request import RestoreRequest
from app.operations.restore.rollback import rollback
from app.operations.service import SILENT, Progress
from app.postgres import lock_retries
from app.postgres.replace import swap
from tests.fix_damaged import Damaged, execute, make_damaged, require_nothing_left
from tests.fix_postgres import scratch_database
from tests.fix_service import At, make_site

END = "\n-- PostgreSQL database dump complete\n"


@dataclass(slots=True)
class Fault:
    """What is asked for, with which settings, and what happens meanwhile."""

    asked: dict[str, Any] = field(default_factory=lambda: {"mode": "replace"})
    settings: dict[str, str] = field(default_factory=dict)
    progress: Progress = SILENT


def dump(damaged: Damaged, name: str, text: str, end: str = END) -> Fault:
    """A foreign dump of that text."""
    file = damaged.site.backups.parent / f"{name}.sql"
    file.write_text(text + end)
    return Fault({"mode": "replace", "backup": str(file)})


def replaced(**asked: Any) -> Callable[[Damaged], Fault]:
    return lambda _: Fault({"mode": "replace", **asked})


def merged(**asked: Any) -> Callable[[Damaged], Fault]:
    return lambda _: Fault({"mode": "merge", **asked})


def with_settings(**settings: str) -> Callable[[Damaged], Fault]:
    return lambda _: Fault(settings=settings)


def file_of(damaged: Damaged) -> Path:
    return damaged.site.backups / f"{damaged.backup}.sql"


def flip(damaged: Damaged) -> None:
    """One bit in the rows of the backup."""
    content = bytearray(file_of(damaged).read_bytes())
    content[content.index(b"COPY public.people") + 400] ^= 1
    file_of(damaged).write_bytes(content)


def corrupt(damaged: Damaged) -> Fault:
    flip(damaged)
    return Fault()


def corrupt_while_loading(damaged: Damaged) -> Fault:
    return Fault(progress=AtStart(lambda: flip(damaged), phase="create"))


def cut_while_loading(damaged: Damaged) -> Fault:
    def cut() -> None:
        execute(
            damaged.server,
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname LIKE '{damaged.name}_restore_%'",
        )

    return Fault(progress=At(cut, phase="load"))


def cancelled_in(phase: str) -> Callable[[Damaged], Fault]:
    return lambda _: Fault(progress=At(lambda: os.kill(os.getpid(), signal.SIGTERM), phase=phase))


def broken_rows(damaged: Damaged) -> Fault:
    rows = "COPY public.t (id) FROM stdin;\n1\n1\n\\.\n"
    table = "CREATE TABLE public.t (id integer);\n"
    return dump(damaged, "twice", f"{table}{rows}ALTER TABLE ONLY public.t ADD CONSTRAINT t_pkey PRIMARY KEY (id);\n")


def other_type(damaged: Damaged) -> Fault:
    damaged.site.database.execute(
        "DELETE FROM notifications; ALTER TABLE notifications ALTER COLUMN subject TYPE int USING 0"
    )
    return Fault({"mode": "merge", "tables": ["notifications"]})


def no_database(damaged: Damaged) -> Fault:
    return Fault({"mode": "merge", "into": f"{damaged.name}_nowhere"})


def under_way(damaged: Damaged) -> Fault:
    """A second restore, begun in the middle of the first."""

    def second() -> None:
        with pytest.raises(RestoreRunningError, match="under way"):
            damaged.run(mode="replace")
        raise RestoreRunningError("as the second was refused")

    return Fault(progress=AtStart(second, phase="swap"))


class AtStart(At):
    """Acts when its phase begins, in the restore's own thread."""

    def start(self, what: str, total: int | None) -> None:
        super().start(what, total)
        self.advance(1)


FAULTS: dict[str, tuple[Callable[[Damaged], Fault], type[ResidencyBackupError], int]] = {
    "unknown mode": (replaced(mode="mirror"), RestoreValidationError, 13),
    "unknown policy": (merged(on_conflict="newest"), RestoreValidationError, 13),
    "wrong confirmation": (replaced(confirm="production"), RestoreValidationError, 13),
    "no confirmation": (replaced(confirm=None), RestoreValidationError, 13),
    "no such backup": (replaced(backup="daily/backup-1999-01-01"), BackupNotFoundError, 10),
    "no such file": (replaced(backup="/nowhere/dump.sql"), BackupNotFoundError, 10),
    "corrupt segment": (corrupt, RestoreValidationError, 13),
    "corrupt after it was verified": (corrupt_while_loading, BackupValidationError, 13),
    "no dump": (lambda it: dump(it, "notes", "milk, bread", ""), RestoreValidationError, 13),
    "shell command in it": (lambda it: dump(it, "evil", "\\! touch /tmp/evil\n"), RestoreValidationError, 13),
    "missing extension": (
        lambda it: dump(it, "ext", "CREATE EXTENSION IF NOT EXISTS postgis WITH SCHEMA public;\n"),
        RestoreValidationError,
        13,
    ),
    "missing role": (
        lambda it: dump(it, "role", "CREATE TABLE public.t (a int);\nALTER TABLE public.t OWNER TO nobody_here;\n"),
        RestoreValidationError,
        13,
    ),
    "missing collation": (
        lambda it: dump(it, "coll", 'CREATE TABLE public.t (\n    a text COLLATE pg_catalog."xx_XX"\n);\n'),
        RestoreValidationError,
        13,
    ),
    "constraint violated on load": (broken_rows, RestoreDataError, 18),
    "unfit for the live column": (other_type, RestoreDataError, 18),
    "too little room": (with_settings(BACKUP_MIN_FREE_MB=str(1 << 30)), RestoreStorageError, 14),
    "connection lost while loading": (cut_while_loading, TargetUnavailableError, 1),
    "post command fails": (with_settings(RESTORE_POST_COMMAND="false"), RestorePostCommandError, 1),
    "post command missing": (with_settings(RESTORE_POST_COMMAND="/no/such/program"), RestorePostCommandError, 1),
    "cancelled in the safety backup": (cancelled_in("dump"), RestoreCancelledError, 130),
    "cancelled while loading": (cancelled_in("load"), RestoreCancelledError, 130),
    "cancelled while proving": (cancelled_in("prove"), RestoreCancelledError, 130),
    "conflict, and the policy is to fail": (
        merged(tables=["people"], on_conflict="fail"),
        MergeConflictError,
        18,
    ),
    "no such table": (merged(tables=["peeple"]), RestoreValidationError, 13),
    "table gone": (merged(), RestoreValidationError, 13),
    "no database to merge into": (no_database, RestoreValidationError, 13),
    "another restore under way": (under_way, RestoreRunningError, 11),
}


@pytest.fixture(autouse=True)
def sigterm() -> Iterator[None]:
    """SIGTERM cancels, as in the worker and on the command line."""

    def cancel(number: int, _: FrameType | None) -> None:
        signal.signal(number, signal.SIG_IGN)
        raise Cancelled(BackupCancelledError("revoked"))

    before = signal.signal(signal.SIGTERM, cancel)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_has_its_error_and_leaves_everything_as_it_was(damaged: Damaged, name: str) -> None:
    inject, expected, code = FAULTS[name]
    fault = inject(damaged)
    before = damaged.content()
    with pytest.raises(ResidencyBackupError) as caught:
        damaged.run(damaged.service(**fault.settings), fault.progress, **fault.asked)
    error = caught.value
    assert type(error) is expected, (error, error.hint)
    assert error.exit_code == code
    assert not isinstance(fault.progress, At) or fault.progress.done, "the fault was never injected"
    assert damaged.content() == before
    require_nothing_left(damaged)
    records = damaged.records()
    assert all((each.state, each.error) == (RestoreState.FAILED, expected.__name__) for each in records)
    taken = [each.id for each in inventory(damaged.service()) if each.tier is Tier.SAFETY]
    assert [each.safety for each in records if each.safety] == taken
    assert all(f"safety backup taken before it is {each}" in error.hint for each in taken)
    assert all(each.hint == (error.hint or None) for each in records)
    assert not Path("/tmp/evil").exists()


def test_all_that_is_wrong_is_named_at_once(damaged: Damaged) -> None:
    flip(damaged)
    with pytest.raises(RestoreValidationError) as caught:
        damaged.run(damaged.service(BACKUP_MIN_FREE_MB=str(1 << 30)), mode="replace")
    for words in ("does not verify", "1 more", "too little free space"):
        assert words in caught.value.message


def test_what_is_not_confirmed_is_not_begun(damaged: Damaged) -> None:
    flip(damaged)
    with pytest.raises(RestoreValidationError, match="the confirmation 'x'"):
        damaged.run(mode="replace", confirm="x")
    assert damaged.records() == []


def test_a_table_that_stays_locked(damaged: Damaged, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock_retries, "LOCK_WAIT_MS", 200)
    with psycopg.connect(damaged.site.database.url) as connection:
        connection.execute("LOCK TABLE people IN ROW EXCLUSIVE MODE")
        with pytest.raises(RestoreBusyError) as caught:
            damaged.run(mode="merge", tables=["people"])
    assert caught.value.exit_code == 1
    assert damaged.content() == damaged.broken
    require_nothing_left(damaged)


def test_a_session_that_will_not_go_away(damaged: Damaged, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(swap, "GIVE_UP_SECONDS", 1.0)
    monkeypatch.setattr(swap, "_END", "SELECT 1 WHERE %s::text[] IS NULL")  # as where the role may not end it
    with psycopg.connect(damaged.site.database.url, application_name="report"):
        with pytest.raises(RestoreBusyError, match="report"):
            damaged.run(mode="replace")
        assert damaged.content() == damaged.broken
    require_nothing_left(damaged)


def test_a_server_that_is_down(damaged: Damaged) -> None:
    url = psycopg.conninfo.make_conninfo(damaged.site.database.url, port="1")
    with pytest.raises(TargetUnavailableError):
        damaged.run(damaged.service(DATABASE_URL=url), mode="replace")
    require_nothing_left(damaged)


def test_a_role_without_the_right_to_make_what_is_missing(own: Damaged) -> None:
    with pytest.raises(RestorePermissionError, match="may not create") as failed:
        own.run(mode="replace", into=f"{own.name}_new")
    commands = failed.value.hint or ""
    assert "psql -d postgres -c 'ALTER ROLE " in commands
    assert f"""psql -d postgres -c 'CREATE DATABASE "{own.name}_new" OWNER """ in commands
    assert "…" not in commands
    require_nothing_left(own)


def test_a_catalog_in_the_database_that_is_replaced(damaged: Damaged) -> None:
    service = damaged.service(BACKUP_CATALOG_URL=damaged.site.database.url)
    with pytest.raises(RestoreValidationError, match="would lose its own record"):
        damaged.run(service, mode="replace")


def test_a_catalog_in_the_database_that_is_replaced_by_another_name_of_the_server(damaged: Damaged) -> None:
    url = make_url(damaged.site.database.url).set(host="127.1")
    service = damaged.service(BACKUP_CATALOG_URL=url.render_as_string(hide_password=False))
    with pytest.raises(RestoreValidationError, match="would lose its own record"):
        damaged.run(service, mode="replace")


def test_a_catalog_that_stood_in_the_database_once_is_no_obstacle(
    damaged: Damaged, postgres_server: EmbeddedPostgres
) -> None:
    damaged.site.database.execute("CREATE TABLE backup_restores (id text)")
    with scratch_database(postgres_server) as elsewhere:
        damaged.run(damaged.service(BACKUP_CATALOG_URL=elsewhere.url), mode="replace")
    assert damaged.content() == damaged.whole


def test_a_catalog_lost_in_the_middle_stops_the_restore(damaged: Damaged, postgres_server: EmbeddedPostgres) -> None:
    with scratch_database(postgres_server) as elsewhere:
        service = damaged.service(BACKUP_CATALOG_URL=elsewhere.url)
        lose = AtStart(
            lambda: execute(postgres_server, f'DROP DATABASE "{elsewhere.name}" WITH (FORCE)'), phase="prove"
        )
        with pytest.raises(CatalogError):
            damaged.run(service, lose, mode="replace")
        assert lose.done
        assert damaged.content() == damaged.broken
        assert damaged.databases() == set()
        assert damaged.pins() == {}


def test_a_message_delivered_twice_is_run_once(damaged: Damaged) -> None:
    damaged.run(mode="merge", tables=["people"], request_key="task-1")
    with pytest.raises(RestoreRunningError, match="run once"):
        damaged.run(mode="merge", tables=["people"], request_key="task-1")
    assert len(damaged.records()) == 1


def test_a_server_that_dies_while_loading_is_settled_when_it_is_back(
    own_postgres_server: EmbeddedPostgres, tmp_path: Path
) -> None:
    with scratch_database(own_postgres_server) as database:
        damaged = make_damaged(make_site(database, tmp_path / "backups"), own_postgres_server)
        with pytest.raises(RestoreRollbackError) as caught:
            damaged.run(progress=At(own_postgres_server.kill, phase="load"), mode="replace")
        assert "check --repair" in caught.value.hint
        assert "DROP DATABASE" in caught.value.hint
        assert [each.state for each in damaged.records()] == [RestoreState.ABANDONED]
        own_postgres_server.restart()
        said = [each.message for each in check(damaged.service()) if each.check == "restores"]
        assert any("it could not be cleaned up after step 'loading'" in each for each in said)
        assert any("failed" in line for line in repair(damaged.service()))
        assert damaged.content() == damaged.broken
        require_nothing_left(damaged)


def test_a_rollback_that_fails_says_what_stands_where(damaged: Damaged) -> None:
    record = damaged.run(mode="merge", tables=["people"]).restore
    damaged.site.database.execute("UPDATE people SET last_name = 'since'")
    now = damaged.content()
    with pytest.raises(RestoreRollbackError) as caught:
        rollback(damaged.service(), record.id)
    assert caught.value.exit_code == 19
    assert "is as the restore left it" in caught.value.message
    assert str(record.safety) in caught.value.message
    assert f"{record.id}.sql" in caught.value.hint
    assert damaged.content() == now
    assert [each.state for each in damaged.records()] == [RestoreState.COMPLETE]


def test_a_rollback_whose_database_is_gone_names_the_safety_backup(damaged: Damaged) -> None:
    record = damaged.run(mode="replace").restore
    execute(damaged.server, f'DROP DATABASE "{record.undo}"')
    with pytest.raises(RestoreValidationError, match="is gone") as caught:
        rollback(damaged.service(), record.id)
    assert str(record.safety) in caught.value.hint
    assert damaged.content() == damaged.whole


def test_a_rollback_that_finds_the_database_in_use_can_be_tried_again(
    damaged: Damaged, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = damaged.run(mode="replace").restore
    with monkeypatch.context() as patch, psycopg.connect(damaged.site.database.url, application_name="report"):
        patch.setattr(swap, "GIVE_UP_SECONDS", 1.0)
        patch.setattr(swap, "_END", "SELECT 1 WHERE %s::text[] IS NULL")
        with pytest.raises(RestoreRollbackError, match="report") as caught:
            rollback(damaged.service(), record.id)
    assert "ALTER DATABASE" in caught.value.hint
    assert str(record.undo) in caught.value.message
    assert damaged.content() == damaged.whole
    rollback(damaged.service(), record.id)
    assert damaged.content() == damaged.broken


def test_a_request_with_nothing_in_it_is_refused() -> None:
    with pytest.raises(TypeError):
        RestoreRequest()  # type: ignore[call-arg]
