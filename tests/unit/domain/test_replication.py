"""Commands that an administrator pastes: the shell and the server take names as they are."""

from __future__ import annotations

import shlex

import pytest

from app.domain.replication import LogicalSlot, disabling, freeing, in_psql


@pytest.mark.parametrize("name", ["plain", "Odd name", 'a "quoted" one', "it's", "$HOME`x`", "back\\slash!"])
def test_a_command_is_pasted_whole(name: str) -> None:
    statements = [disabling(name), *freeing(name), "SELECT pg_drop_replication_slot('slot')"]
    words = shlex.split(in_psql(name, *statements))
    assert words[:3] == ["psql", "-d", name]
    assert words[3::2] == ["-c"] * len(statements)
    assert words[4::2] == statements


def test_a_slot_is_said_with_who_reads_it_and_what_it_holds() -> None:
    assert str(LogicalSlot(name="a", plugin="pgoutput", pid=None, held=3 << 20)) == (
        "a (pgoutput, not in use, holds 3.0 MB of WAL)"
    )
    assert str(LogicalSlot(name="a", plugin="pgoutput", pid=7, held=None)) == "a (pgoutput, in use by pid 7)"
