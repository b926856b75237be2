"""What `check` and `restores` say of restores: no more than is so."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from app.domain.restore import RestoreState, Step
from app.errors import RestoreValidationError
from app.operations.health.check import check
from app.operations.restore.position import position
from app.operations.restore.recover import clean_up
from app.operations.restore.rollback import rollback
from tests.fix_damaged import Damaged, execute


def said_of(damaged: Damaged, restore_id: str) -> list[tuple[str, str]]:
    """What `check` says of a restore."""
    found = [each for each in check(damaged.service()) if each.check == "restores"]
    found = [each for each in found if f"restore {restore_id}" in each.message]
    return [(str(each.severity), each.message) for each in found]


def test_a_restore_that_a_later_one_stands_newer_restores_can_be_rolled_back_after_that(damaged: Damaged) -> None:
    first, second, third = (
        damaged.run(mode="merge", tables=[table]).restore.id for table in ("people", "notifications", "attachments")
    )
    ((severity, message),) = said_of(damaged, first)
    assert severity == "ok"
    assert message.endswith(f", after {third}, {second} are")
    assert said_of(damaged, second)[0][1].endswith(f", after {third} is")
    assert "after" not in said_of(damaged, third)[0][1]
    listed = damaged.site.cli("restores", COLUMNS="200").stdout.splitlines()
    assert [line.partition("until ")[2][19:].strip() for line in listed[1:]] == [
        "", f", after {third}", f", after {third}, after {second}"
    ]  # fmt: skip
    as_json = json.loads(damaged.site.cli("restores", "--json").stdout)
    assert [each["after"] for each in as_json] == [[], [third], [third, second]]
    for each in (third, second, first):
        rollback(damaged.service(), each)
    assert damaged.content() == damaged.broken


def rename(damaged: Damaged, old: str, new: str) -> None:
    execute(damaged.server, f'ALTER DATABASE "{old}" RENAME TO "{new}"')


def test_a_live_database_that_was_replaced_by_hand_is_not_put_away(damaged: Damaged) -> None:
    record = damaged.run(mode="replace").restore
    name, aside = damaged.name, f"{damaged.name}_aside"
    rename(damaged, name, aside)
    execute(damaged.server, f'CREATE DATABASE "{name}"')
    damaged.site.database.execute("CREATE TABLE by_hand (a int)")
    with pytest.raises(RestoreValidationError, match="was replaced by hand since") as caught:
        rollback(damaged.service(), record.id)
    for words in (f"made is called {aside}", f"before it is in {record.undo}", f'ALTER DATABASE "{name}" RENAME TO'):
        assert words in caught.value.hint
    ((severity, message),) = said_of(damaged, record.id)
    assert severity == "warning"
    assert "cannot be rolled back: database" in message
    assert damaged.site.database.query("SELECT count(*) FROM by_hand") == [(0,)]
    rename(damaged, name, f"{name}_by_hand")
    assert rollback(damaged.service(), record.id).notes == []  # there was no live database to be kept
    assert f"database {record.shadow} is gone" in said_of(damaged, record.id)[0][1]
    assert damaged.content() == damaged.broken


def test_what_a_rollback_kept_is_told_of_while_it_is_there(damaged: Damaged) -> None:
    record = damaged.run(mode="replace").restore
    (note,) = rollback(damaged.service(), record.id).notes
    assert f"is kept as database {record.shadow} until" in note
    assert f"{record.shadow} is kept until" in said_of(damaged, record.id)[0][1]
    execute(damaged.server, f'DROP DATABASE "{record.shadow}"')
    assert f"nothing is kept: database {record.shadow} is gone" in said_of(damaged, record.id)[0][1]
    assert damaged.content() == damaged.broken


def test_a_restore_that_was_undone_by_hand_is_known_for_that(damaged: Damaged) -> None:
    record = damaged.run(mode="replace").restore
    rename(damaged, damaged.name, f"{damaged.name}_wrong")
    rename(damaged, record.undo or "", damaged.name)
    with pytest.raises(RestoreValidationError, match="is already the database that the restore replaced"):
        rollback(damaged.service(), record.id)
    assert damaged.content() == damaged.broken


def test_after_a_crash_databases_are_told_apart_by_their_oids(damaged: Damaged) -> None:
    record = damaged.run(mode="replace").restore
    died = replace(record, state=RestoreState.ABANDONED, step=Step.SWAPPING)
    execute(damaged.server, f'DROP DATABASE "{record.undo}"')  # by hand: no name tells of the swap any more
    assert "is as after it" in position(damaged.service().target, died)
    assert clean_up(damaged.service(), died).state is RestoreState.COMPLETE
