"""The arguments of the tasks: callers give them by name or by position."""

from __future__ import annotations

import inspect

import pytest
from celery import Task

from app.domain.restore import Mode, Policy
from app.operations.restore.request import RestoreOptions
from tasks import jobs

_ROWS = ["tables", "on_conflict", "into", "dependents", "where", "search_path", "as_role"]
_FIT = ["skip_tables", "skip_columns", "map_tables", "map_columns", "fills"]
_NEWER = ["allow_missing", "parents"]


@pytest.mark.parametrize(
    ("task", "names"),
    [
        (jobs.preview, ["backup", "mode", *_ROWS, *_FIT, *_NEWER]),
        (jobs.run, ["backup", "mode", "confirm", *_ROWS, *_FIT, *_NEWER]),
        (jobs.rollback, ["restore"]),
        (jobs.manual, ["label"]),
        (jobs.verify, ["backup"]),
        (jobs.prune, ["dry_run"]),
    ],
)
def test_the_order_of_arguments_stays(task: Task[..., object], names: list[str]) -> None:
    assert list(inspect.signature(task.run).parameters) == names


def test_the_defaults_of_a_restore_are_those_of_the_command_line() -> None:
    parameters = inspect.signature(jobs.run.run).parameters
    # No message names a command to run: tasks go by RESTORE_MIGRATE_COMMAND.
    assert parameters.keys() - {"backup"} == RestoreOptions.__annotations__.keys() - {"migrate"}
    defaults = {name: parameter.default for name, parameter in parameters.items() if name != "backup"}
    given = {"mode": Mode.REPLACE, "on_conflict": Policy.TAKE_BACKUP}
    given |= dict.fromkeys(("dependents", "parents", "allow_missing"), False)
    assert defaults == dict.fromkeys(defaults) | given
