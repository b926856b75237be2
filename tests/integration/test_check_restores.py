"""What `check` and `restores` say of restores: no more than is so."""

from __future__ import annotations

import json

from app.operations.check import check
from app.operations.rollback import rollback
from tests.fix_restores import Damaged


def said_of(damaged: Damaged, restore_id: str) -> list[tuple[str, str]]:
    """What `check` says of a restore."""
    found = [each for each in check(damaged.service()) if f"restore {restore_id}" in each.message]
    return [(str(each.severity), each.message) for each in found]


def test_a_restore_that_a_later_one_stands_in_front_of_can_be_rolled_back_after_that(damaged: Damaged) -> None:
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
