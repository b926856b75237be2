"""Commands that an administrator pastes: the shell and the server take names as they are."""

from __future__ import annotations

import shlex

import pytest

from app.domain.psql import in_psql
from app.domain.replication import disabling, freeing


@pytest.mark.parametrize("name", ["plain", "Odd name", 'a "quoted" one', "it's", "$HOME`x`", "back\\slash!"])
def test_a_command_is_pasted_whole(name: str) -> None:
    statements = [disabling(name), *freeing(name), "SELECT pg_drop_replication_slot('slot')"]
    words = shlex.split(in_psql(name, *statements))
    assert words[:3] == ["psql", "-d", name]
    assert words[3::2] == ["-c"] * len(statements)
    assert words[4::2] == statements
