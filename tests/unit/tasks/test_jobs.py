"""How a task takes its arguments: by name, and in the order that the contract lists."""

from __future__ import annotations

from typing import Any

import pytest

from app.errors import BackupValidationError, RestoreValidationError
from app.operations.restore.request import PreviewOptions, RestoreOptions
from tasks.jobs import PREVIEW_ORDER, RESTORE_ORDER, BackupTask


class Echo(BackupTask):
    """Returns its arguments as they arrive."""

    name = "restore.echo"
    option_names = RESTORE_ORDER

    def run(self, backup: str, *_: Any, **options: Any) -> tuple[str, dict[str, Any]]:
        assert not _
        return backup, options


class Backup(BackupTask):
    """A task without options."""

    name = "backup.echo"

    def run(self, label: str | None = None) -> str | None:
        return label


def test_every_option_has_its_place() -> None:
    assert set(PREVIEW_ORDER) == set(PreviewOptions.__annotations__)
    assert set(RESTORE_ORDER) == set(RestoreOptions.__annotations__)
    assert RESTORE_ORDER[:5] == ("mode", "confirm", "tables", "on_conflict", "into")  # as the contract lists them


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        (("latest", "merge", "app", ["people"]), {}),
        (("latest", "merge"), {"confirm": "app", "tables": ["people"]}),
        ((), {"backup": "latest", "mode": "merge", "confirm": "app", "tables": ["people"]}),
    ],
)
def test_options_are_taken_by_name_and_in_their_order(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    assert Echo()(*args, **kwargs) == ("latest", {"mode": "merge", "confirm": "app", "tables": ["people"]})


@pytest.mark.parametrize(
    ("args", "kwargs", "wrong"),
    [
        ((), {}, "missing a required argument: 'backup'"),
        (("latest",), {"mod": "merge"}, "unexpected keyword argument 'mod'"),
        (("latest", "merge"), {"mode": "merge"}, "multiple values for argument 'mode'"),
        (("latest", *RESTORE_ORDER, "more"), {}, "too many positional arguments"),
    ],
)
def test_wrong_arguments_are_the_tasks_own_error(args: tuple[Any, ...], kwargs: dict[str, Any], wrong: str) -> None:
    with pytest.raises(RestoreValidationError, match=wrong):
        Echo()(*args, **kwargs)


def test_a_task_without_options_takes_what_its_signature_says() -> None:
    assert Backup()("before the upgrade") == "before the upgrade"
    with pytest.raises(BackupValidationError, match="too many positional arguments"):
        Backup()("one", "two")
