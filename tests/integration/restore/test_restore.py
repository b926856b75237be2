"""Restores on a real server: what comes back, what can be undone, and what is left."""

from __future__ import annotations

import json
import sys
import threading
import time
from dataclasses import replace

import psycopg
import pytest

from app.archive.manifest import parse_manifest
from app.domain.backup import Tier
from app.domain.restore import Method, RestoreState
from app.errors import RestorePostCommandError, RestoreValidationError
from app.operations.backup.take import BackupRequest, take_backup
from app.operations.health.check import check
from app.operations.restore.preview import diff, preview
from app.operations.restore.request import RestoreRequest
from app.operations.restore.rollback import rollback
from tests.fix_damaged import Damaged, execute, require_nothing_left
from tests.fix_postgres import copy_of_all_tables
from tests.fix_service import Site


def test_a_replace_brings_everything_back_and_keeps_what_was_there(damaged: Damaged) -> None:
    outcome = damaged.run(mode="replace")
    assert damaged.content() == damaged.whole
    record = outcome.restore
    assert record.method is Method.SHADOW
    assert outcome.warnings == []
    assert outcome.downtime is not None
    assert outcome.rows["public.people"] == damaged.whole['"public"."people"'][0]
    assert damaged.databases() == {record.undo}
    assert copy_of_all_tables(damaged.server.url(record.undo)) == damaged.broken
    assert [each.check for each in outcome.findings][:4] == ["backup", "disk", "mode", "confirmation"]
    assert outcome.findings[-1].check == "safety backup"
    assert damaged.pins() == {record.safety: f"restore {record.id}"}
    (kept,) = damaged.records()
    assert (kept.state, kept.safety, kept.report["rows"]) == (RestoreState.COMPLETE, record.safety, outcome.rows)
    assert any(record.id in each.message and each.severity == "ok" for each in check(damaged.service()))


def test_a_rollback_of_a_replace_gives_back_exactly_what_was_there(damaged: Damaged) -> None:
    record = damaged.run(mode="replace").restore
    undone = rollback(damaged.service(), record.id).restore
    assert damaged.content() == damaged.broken
    assert undone.state is RestoreState.ROLLED_BACK
    assert damaged.databases() == {record.shadow}, "rows that came after the restore are in it"
    assert damaged.pins() == {}
    with pytest.raises(RestoreValidationError, match="rolled back already"):
        rollback(damaged.service(), record.id)


def test_what_was_kept_goes_when_its_time_is_over(damaged: Damaged) -> None:
    record = damaged.run(damaged.service(RESTORE_UNDO_HOURS="0"), mode="replace").restore
    assert damaged.content() == damaged.whole
    require_nothing_left(damaged)
    with pytest.raises(RestoreValidationError, match="nothing that was before it is kept") as refused:
        rollback(damaged.service(), record.id)
    assert str(record.safety) in refused.value.hint
    damaged.run(damaged.service(RESTORE_UNDO_HOURS="0"), mode="merge", tables=["people"])
    require_nothing_left(damaged)


COMMAND = (
    "import os, psycopg; "
    "connection = psycopg.connect(os.environ['DATABASE_URL'], autocommit=True); "
    "connection.execute('CREATE TABLE made_after AS SELECT current_database() AS name'); "
    "print(connection.execute('SELECT name FROM made_after').fetchone())"
)


def test_the_post_command_works_on_the_shadow_before_the_swap(damaged: Damaged) -> None:
    command = f'{sys.executable} -c "{COMMAND}"'
    outcome = damaged.run(damaged.service(RESTORE_POST_COMMAND=command), mode="replace")
    assert damaged.site.database.query("SELECT name FROM made_after") == [(outcome.restore.shadow,)]
    failing = f"""{sys.executable} -c "import os, sys; print(os.environ['DATABASE_URL']); sys.exit('too bad')" """
    before = damaged.content()
    with pytest.raises(RestorePostCommandError, match="too bad") as failed:
        damaged.run(damaged.service(RESTORE_POST_COMMAND=failing), mode="replace")
    assert damaged.content() == before
    assert "it printed: ***" in failed.value.message
    assert damaged.databases() == {outcome.restore.undo}


def test_a_preview_and_a_diff_touch_nothing_and_agree(damaged: Damaged) -> None:
    plan = preview(damaged.service(), RestoreRequest.parse(damaged.service(), backup=damaged.backup, mode="replace"))
    assert "table public.leave_balances is not in the live database" in plan.changes.schema
    assert plan.changes == diff(damaged.service(), damaged.backup, None)
    assert damaged.records() == []
    assert damaged.content() == damaged.broken
    second = take_backup(damaged.service(), BackupRequest(tier=Tier.MANUAL))
    assert second is not None
    between = diff(damaged.service(), damaged.backup, second.backup.id)
    counts = {each.table: (each.inserted, each.updated, each.deleted) for each in between.tables}
    assert {
        each.table: (each.inserted, each.updated, each.deleted) for each in plan.changes.tables if each.changed
    } == {
        table: count for table, count in counts.items() if any(count) and not table.startswith("public.audit_log")
    } | {each.table: (0, 0, each.deleted) for each in plan.changes.tables if each.table == "public.audit_log"}


def test_an_application_with_20_connections_comes_back_to_the_restored_data(damaged: Damaged) -> None:
    stop = threading.Event()
    seen: list[int] = []
    threads = [threading.Thread(target=application, args=(damaged, stop, seen)) for _ in range(20)]
    for thread in threads:
        thread.start()
    try:
        damaged.run(mode="replace")
    finally:
        seen.clear()
        end = time.monotonic() + 20
        while len(seen) < 40 and time.monotonic() < end:
            time.sleep(0.05)
        stop.set()
        for thread in threads:
            thread.join()
    rows = damaged.whole['"public"."notifications"'][0]
    assert len(seen) >= 40
    assert set(seen) == {rows}


def application(damaged: Damaged, stop: threading.Event, seen: list[int]) -> None:
    """One of the application's connections, which comes back whenever it is cut."""
    while not stop.is_set():
        try:
            with psycopg.connect(damaged.site.database.url, autocommit=True) as connection:
                while not stop.is_set():
                    seen += [rows for (rows,) in connection.execute("SELECT count(*) FROM notifications")]
                    stop.wait(0.02)
        except psycopg.OperationalError:
            stop.wait(0.05)


def test_the_command_line_restores_lists_and_undoes(damaged: Damaged) -> None:
    site = damaged.site
    confirmed = ("--confirm", damaged.name)
    plan = json.loads(site.cli("restore", damaged.backup, "--mode", "replace", "--dry-run", "--json").stdout)
    assert {each["table"] for each in plan["tables"] if each["inserted"]} >= {"public.leave_balances"}
    done = site.cli("restore", "latest-manual", "--mode", "replace", *confirmed, "--json")
    assert done.code == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["mode"] == "replace"
    assert result["rows"]["public.people"] == damaged.whole['"public"."people"'][0]
    assert result["safety"].startswith("safety/backup-")
    assert "hold the same rows" in site.cli("diff", damaged.backup).stdout
    listed = json.loads(site.cli("restores", "--json").stdout)
    assert [(each["restore"], each["state"]) for each in listed] == [(result["restore"], "complete")]
    undone = json.loads(site.cli("rollback", result["restore"], "--json").stdout)
    assert (undone["restore"], undone["rolled_back"]) == (result["restore"], True)
    assert damaged.content() == damaged.broken
    merged = site.cli("restore", damaged.backup, "--mode", "merge", "--table", "people", *confirmed)
    assert merged.code == 0
    assert "can be undone" in merged.stdout
    assert "until" in site.cli("restores").stdout
    refused = ("--on-conflict", "fail", "--table", "notifications", "--table", "people")
    site.database.execute("UPDATE people SET last_name = 'x' WHERE staff_number = 3")
    assert site.cli("restore", damaged.backup, "--mode", "merge", *refused, "--dry-run").code == 18
    assert site.cli("restore", damaged.backup, "--mode", "merge", *refused, *confirmed).code == 18
    assert site.cli("rollback", "0" * 12).code == 10
    assert "restore" in site.cli("--help").stdout
    assert "--dependents" in site.cli("restore", "--help").stdout


def test_the_manifest_of_a_safety_backup_says_what_it_is_for(damaged: Damaged) -> None:
    record = damaged.run(mode="replace").restore
    file = damaged.site.backups / f"{record.safety}.sql.json"
    manifest = parse_manifest(file.read_bytes(), file.name)
    assert manifest.label == f"before restore {record.id}"
    assert manifest.pinned_reason == record.pin


def test_a_preview_names_what_differs_in_the_schema(site: Site) -> None:
    service = site.service()
    backup = take_backup(service, BackupRequest(tier=Tier.MANUAL))
    assert backup is not None
    assert diff(service, "latest", None) == replace(diff(service, "latest", None), schema=())
    site.database.execute(
        "DROP INDEX assignments_superseding_idx; ALTER TABLE people ADD COLUMN pager text;"
        "CREATE VIEW mine AS SELECT 1; GRANT SELECT ON people TO PUBLIC"
    )
    assert diff(service, "latest", None).schema == (
        "column public.people.pager is not in the backup",
        "acl public.TABLE people is not in the backup",
        "index public.assignments_superseding_idx is not in the live database",
        "table public.people differs",
        "view public.mine is not in the backup",
    )


def test_check_says_when_what_a_rollback_needs_was_dropped(damaged: Damaged) -> None:
    record = damaged.run(mode="replace").restore
    execute(damaged.server, f'DROP DATABASE "{record.undo}"')
    found = [each for each in check(damaged.service()) if each.check == "restores" and record.id in each.message]
    assert [(each.severity, "cannot be rolled back" in each.message) for each in found] == [("warning", True)]
