"""Restores that are refused, or fail at their edges, and rollbacks that cannot be done."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest
from sqlalchemy import make_url

from app.domain.restore import RestoreState
from app.embedded.postgres import EmbeddedPostgres
from app.errors import (
    CatalogError,
    RestoreBusyError,
    RestorePermissionError,
    RestoreRollbackError,
    RestoreRunningError,
    RestoreValidationError,
    TargetUnavailableError,
)
from app.operations.health.check import check, repair
from app.operations.restore.request import RestoreRequest
from app.operations.restore.rollback import rollback
from app.postgres import lock_retries
from app.postgres.replace import swap
from tests.fix_damaged import Damaged, execute, make_damaged, require_nothing_left
from tests.fix_postgres import scratch_database
from tests.fix_restore_faults import AtStart, flip
from tests.fix_service import At, make_site


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
