"""Restores that merge or replace chosen tables on a real server, and their undoing."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from app.embedded.postgres import binaries
from app.embedded.server import environment
from app.errors import RestoreValidationError
from app.operations.restore.preview import preview
from app.operations.restore.request import RestoreRequest
from app.operations.restore.rollback import rollback
from tests.fix_damaged import Damaged, require_nothing_left
from tests.fix_postgres import psql

MERGED = ("On-Call Note", "call_assignments", "swap_requests", "attachments", "notifications", "people")


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
