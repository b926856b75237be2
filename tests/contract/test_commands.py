"""What runs the operator's commands must do so alike, whatever it runs them by."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from app.errors import RestoreHookError
from app.ports.commands import Commands
from app.postgres.database import Database
from app.postgres.hook_command import OperatorCommands
from app.postgres.post_command import CommandPlace
from tests.fakes.commands import CannedCommands

PLACE = CommandPlace({"PATH": os.environ["PATH"], "RESTORE_OUTCOME": "of another restore"})
COMMANDS: dict[str, Callable[[], Commands]] = {
    "canned": CannedCommands,
    "processes": lambda: OperatorCommands(Database.from_url("postgresql://u:p@h/app"), PLACE),
}


@pytest.fixture(params=COMMANDS)
def commands(request: pytest.FixtureRequest) -> Commands:
    return COMMANDS[request.param]()


def printed(commands: Commands, *argv: str, seconds: float = 60, **variables: str) -> list[str]:
    lines: list[str] = []
    commands.run(argv, variables, seconds, lines.append)
    return lines


def test_each_line_is_told(commands: Commands) -> None:
    assert printed(commands, "echo", "one", "word") == ["one word"]


def test_the_variables_are_in_the_environment_and_those_of_another_restore_are_not(commands: Commands) -> None:
    assert printed(commands, "printenv", "RESTORE_ID", RESTORE_ID="3f2a") == ["3f2a"]
    with pytest.raises(RestoreHookError, match="printenv failed with exit code 1"):
        printed(commands, "printenv", "RESTORE_OUTCOME", RESTORE_ID="3f2a")


def test_a_failure_is_an_error(commands: Commands) -> None:
    with pytest.raises(RestoreHookError, match="false failed with exit code 1"):
        printed(commands, "false")


def test_a_command_that_takes_too_long_is_ended(commands: Commands) -> None:
    with pytest.raises(RestoreHookError, match=r"sleep did not end within 0\.05 s"):
        printed(commands, "sleep", "600", seconds=0.05)


def test_what_cannot_be_started_is_an_error(commands: Commands) -> None:
    with pytest.raises(RestoreHookError, match="/no/such/program cannot be started"):
        printed(commands, "/no/such/program")
