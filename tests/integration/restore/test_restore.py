"""Restores on a real server: what comes back, what can be undone, and what is left."""

from __future__ import annotations

import gzip
import json
import re
import shlex
import subprocess
import sys
import threading
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
import zstandard

from app.archive.manifest import parse_manifest
from app.domain.backup import Tier
from app.domain.restore import Method, RestoreState
from app.embedded.postgres import binaries
from app.embedded.server import environment
from app.errors import RestorePostCommandError, RestoreValidationError
from app.operations.backup.take import BackupRequest, take_backup
from app.operations.backups.expire import expire
from app.operations.backups.inventory import find, inventory
from app.operations.backups.prune import prune
from app.operations.health.check import check, repair
from app.operations.restore.preview import diff, preview
from app.operations.restore.request import RestoreRequest
from app.operations.restore.rollback import rollback
from tests.fix_damaged import Damaged, execute, require_nothing_left
from tests.fix_postgres import copy_of_all_tables, psql, scratch_database
from tests.fix_service import At, Site
from tests.tiers import sample_of

MERGED = ("On-Call Note", "call_assignments", "swap_requests", "attachments", "notifications", "people")
LATER = 1 << 16


def test_a_replace_brings_everything_back_and_keeps_what_was_there(damaged: Damaged) -> None:
    outcome = damaged.run(mode="replace")
    assert damaged.content() == damaged.whole
    record = outcome.restore
    assert record.method is Method.SHADOW
    assert outcome.warnings == ()
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


def test_an_undo_that_is_due_is_a_finding_and_is_removed_by_repair(damaged: Damaged) -> None:
    record = damaged.run(mode="replace").restore
    assert damaged.databases() == {record.undo}
    now = damaged.service()
    service = replace(now, clock=lambda: now.clock() + timedelta(hours=25))
    assert any("can no longer be rolled back" in each.message for each in check(service))
    assert any(str(record.undo) in line for line in repair(service))
    require_nothing_left(damaged)
    assert expire(service) == []


def test_a_merge_brings_rows_back_twice_is_once_and_its_inverse_is_exact(damaged: Damaged) -> None:
    asked = {"mode": "merge", "tables": list(MERGED)}
    plan = preview(damaged.service(), RestoreRequest.parse(damaged.service(), backup=damaged.backup, **asked))
    assert damaged.content() == damaged.broken
    outcome = damaged.run(**asked)
    assert outcome.changes is not None
    assert outcome.changes.tables == plan.changes.tables
    assert outcome.changes.samples == plan.changes.samples
    now = damaged.content()
    for name in ('"public"."On-Call Note"', '"public"."notifications"', '"public"."swap_requests"'):
        assert now[name] == damaged.whole[name]
    assert outcome.rows["updated"] > 0
    again = damaged.run(**asked)
    assert again.changes is not None
    assert [each.changed for each in again.changes.tables] == [0] * len(again.changes.tables)
    assert damaged.content() == now
    assert damaged.scripts() == sorted(f"{each.restore.id}.sql" for each in (outcome, again))
    assert all((damaged.site.backups / "restores" / name).stat().st_mode & 0o777 == 0o600 for name in damaged.scripts())
    for each in (again, outcome):
        rollback(damaged.service(), each.restore.id)
    assert damaged.content() == damaged.broken
    require_nothing_left(damaged)


def test_a_merge_refuses_what_has_no_place_and_names_it(damaged: Damaged) -> None:
    with pytest.raises(RestoreValidationError, match=r"public\.leave_balances"):
        damaged.run(mode="merge")
    assert damaged.content() == damaged.broken
    require_nothing_left(damaged)


def test_a_table_that_is_gone_comes_back_by_the_hint_of_the_refused_merge(damaged: Damaged, tmp_path: Path) -> None:
    damaged.site.database.execute('DROP TABLE "On-Call Note" CASCADE')
    with pytest.raises(RestoreValidationError, match="are not in the live database") as refused:
        damaged.run(mode="merge")
    asked = re.search("pg_dump -s -d staging (.*?) -f table.sql", refused.value.hint)
    assert asked is not None
    staging, file = f"{damaged.name}_staging", tmp_path / "table.sql"
    damaged.run(mode="replace", into=staging)
    dump = [
        str(binaries() / "pg_dump"),
        "-s",
        "-d",
        damaged.server.url(staging),
        *shlex.split(asked[1]),
        "-f",
        str(file),
    ]
    subprocess.run(dump, env=environment(), check=True)
    psql(damaged.site.database.url, file)
    damaged.run(mode="merge")
    back = ('"public"."leave_balances"', '"public"."On-Call Note"', '"public"."notifications"', '"public"."people"')
    content = damaged.content()
    assert {name: content[name] for name in back} == {name: damaged.whole[name] for name in back}


def test_chosen_tables_become_what_they_were(damaged: Damaged) -> None:
    damaged.site.database.execute(
        "INSERT INTO notifications SELECT 900001, user_id, kind, 'new' FROM notifications LIMIT 1"
    )
    outcome = damaged.run(mode="replace", tables=["public.notifications"])
    name = '"public"."notifications"'
    assert damaged.content() == damaged.broken | {name: damaged.whole[name]}
    assert outcome.rows["deleted"] == 1
    rollback(damaged.service(), outcome.restore.id)
    assert damaged.content()[name] != damaged.whole[name]
    assert damaged.scripts() == []


def test_one_row_comes_back_by_a_condition(damaged: Damaged) -> None:
    outcome = damaged.run(mode="merge", tables=["notifications"], where="id = 7")
    assert outcome.rows["inserted"] == 1
    assert damaged.site.database.query("SELECT count(*) FROM notifications WHERE id = 7") == [(1,)]


def test_a_restore_into_another_database_leaves_the_live_one_alone(damaged: Damaged) -> None:
    other = f"{damaged.name}_staging"
    first = damaged.run(mode="replace", into=other)
    assert (first.warnings, first.restore.safety, first.restore.undo_until) == ((), None, None)
    assert copy_of_all_tables(damaged.server.url(other)) == damaged.whole
    assert damaged.content() == damaged.broken
    with pytest.raises(RestoreValidationError, match="cannot be rolled back"):
        rollback(damaged.service(), first.restore.id)
    with psycopg.connect(damaged.server.url(other), autocommit=True) as connection:
        connection.execute("DELETE FROM notifications")
    spoilt = copy_of_all_tables(damaged.server.url(other))
    second = damaged.run(mode="replace", into=other)
    assert copy_of_all_tables(damaged.server.url(other)) == damaged.whole
    rollback(damaged.service(), second.restore.id)
    assert copy_of_all_tables(damaged.server.url(other)) == spoilt
    third = damaged.run(mode="merge", into=other)
    assert copy_of_all_tables(damaged.server.url(other)) == damaged.whole
    rollback(damaged.service(), third.restore.id)
    assert copy_of_all_tables(damaged.server.url(other)) == spoilt
    assert damaged.content() == damaged.broken


def foreign(damaged: Damaged, folder: Path, suffix: str) -> Path:
    """A dump by the stock pg_dump."""
    argv = [str(binaries() / "pg_dump"), "-d", damaged.site.database.url]
    text = subprocess.run(argv, env=environment(), check=True, capture_output=True).stdout
    pack = {".gz": gzip.compress, ".zst": zstandard.ZstdCompressor().compress}.get(suffix, bytes)
    file = folder / f"foreign.sql{suffix}"
    file.write_bytes(pack(text))
    return file


@pytest.mark.parametrize("suffix", sample_of(["", ".gz", ".zst"], [1]))
def test_any_plain_dump_is_restored_by_its_path(damaged: Damaged, tmp_path: Path, suffix: str) -> None:
    file = foreign(damaged, tmp_path, suffix)
    damaged.site.database.execute("DELETE FROM notifications")
    outcome = damaged.run(backup=str(file), mode="replace")
    assert damaged.content() == damaged.broken
    assert outcome.restore.backup == str(file)
    assert outcome.restore.safety is not None
    damaged.site.database.execute("DELETE FROM notifications WHERE id = 8")
    assert damaged.run(backup=str(file), mode="merge", tables=["notifications"]).rows["inserted"] == 1


def test_a_backup_that_lost_its_manifest_is_restored_by_its_file_and_a_person_is_told(damaged: Damaged) -> None:
    (damaged.site.backups / f"{damaged.backup}.sql.json").unlink()
    outcome = damaged.run(mode="replace")
    assert damaged.content() == damaged.whole
    assert any("no manifest" in each for each in outcome.warnings)
    assert set(damaged.pins()) == {outcome.restore.safety}


def test_a_database_that_is_gone_is_made_anew(damaged: Damaged) -> None:
    execute(damaged.server, f'DROP DATABASE "{damaged.name}"')
    plan = preview(damaged.service(), RestoreRequest.parse(damaged.service(), backup=damaged.backup, mode="replace"))
    assert plan.changes.total("inserted") == sum(rows for rows, _ in damaged.whole.values() if rows)
    outcome = damaged.run(mode="replace")
    assert damaged.content() == damaged.whole
    assert outcome.restore.safety is None
    assert "none is taken" in outcome.findings[-1].message
    require_nothing_left(damaged)


def test_without_the_right_to_create_databases_it_goes_in_place(own: Damaged) -> None:
    outcome = own.run(mode="replace")
    assert outcome.restore.method is Method.IN_PLACE
    assert any("in place" in note for note in outcome.notes)
    assert own.content() == own.whole
    assert own.databases() == set()
    assert own.pins() == {outcome.restore.safety: f"restore {outcome.restore.id}"}
    own.site.database.execute("DELETE FROM notifications WHERE id = 8")
    since = own.content()
    undone = rollback(own.service(), outcome.restore.id)
    assert own.content() == own.broken
    kept = undone.restore.safety
    assert own.pins() == {kept: outcome.restore.pin}
    assert any(str(kept) in note for note in undone.notes)
    assert any(str(kept) in each.message for each in check(own.service()))
    own.run(own.service(RESTORE_UNDO_HOURS="0"), backup=str(kept), mode="replace")
    assert own.content() == since, "what came since the restore is not lost"


def test_a_post_command_that_fails_in_place_is_undone_with_the_restore(own: Damaged) -> None:
    with pytest.raises(RestorePostCommandError):
        own.run(own.service(RESTORE_POST_COMMAND="false"), mode="replace")
    assert own.content() == own.broken
    assert [each.state for each in own.records()] == [RestoreState.FAILED]
    require_nothing_left(own)


def test_in_place_into_another_database_says_that_nothing_undoes_it(own: Damaged) -> None:
    other = f"{own.name}_staging"
    execute(own.server, f'CREATE DATABASE "{other}" OWNER owner_{own.name}')
    outcome = own.run(mode="replace", into=other)
    assert copy_of_all_tables(own.server.url(other)) == own.whole
    assert any("cannot be rolled back" in each for each in outcome.warnings)


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


def test_retention_keeps_what_a_restore_needs(damaged: Damaged) -> None:
    for _ in range(3):
        take_backup(damaged.service(), BackupRequest(tier=Tier.MANUAL))
    service = damaged.service(BACKUP_KEEP_MANUAL="1", BACKUP_KEEP_SAFETY="1")
    removed: list[str] = []
    act = At(lambda: removed.extend(each.id for each in prune(service).removed), phase="load", after=LATER)
    outcome = damaged.run(damaged.service(), act, mode="replace", backup="oldest")
    assert act.done
    assert removed
    assert damaged.backup not in removed
    assert outcome.restore.backup == damaged.backup
    assert damaged.content() == damaged.whole
    for _ in range(2):
        damaged.run(service, mode="merge", tables=["people"], backup="latest-safety")
        prune(service)
    assert outcome.restore.safety in {each.id for each in inventory(service)}


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
    assert manifest.kept == record.pin


def test_latest_never_means_what_somebody_wanted_to_get_away_from(damaged: Damaged) -> None:
    safety = damaged.run(mode="replace").restore.safety
    service = damaged.service()
    assert find(service, "latest-safety").id == safety
    assert find(service, "latest").id == find(service, "oldest").id == damaged.backup


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
        "table public.people is another",
        "view public.mine is not in the backup",
    )


def test_check_says_when_what_a_rollback_needs_was_dropped(damaged: Damaged) -> None:
    record = damaged.run(mode="replace").restore
    execute(damaged.server, f'DROP DATABASE "{record.undo}"')
    found = [each for each in check(damaged.service()) if each.check == "restores" and record.id in each.message]
    assert [(each.severity, "cannot be rolled back" in each.message) for each in found] == [("warning", True)]


@pytest.mark.parametrize("into", ["postgres", "template1", "x" * 64, ""])
def test_what_no_database_of_ours_can_be_called_is_refused(damaged: Damaged, into: str) -> None:
    with pytest.raises(RestoreValidationError):
        damaged.run(mode="replace", into=into, confirm=into)
    require_nothing_left(damaged)


def test_another_databases_backup_is_never_the_latest_and_is_told_of(damaged: Damaged) -> None:
    with scratch_database(damaged.server) as stranger:
        other = damaged.service(DATABASE_URL=stranger.url)
        assert take_backup(other, BackupRequest(tier=Tier.WEEKLY)) is not None
        strange = find(other, "latest").id
    assert find(damaged.service(), "latest").id == damaged.backup
    plan = preview(damaged.service(), RestoreRequest.parse(damaged.service(), backup=strange, mode="replace"))
    assert any("is a backup of database" in warning for warning in plan.warnings)
