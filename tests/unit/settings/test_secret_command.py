"""The arguments of the operator's commands may hold a password, where nothing tells it: they are shown nowhere."""

from __future__ import annotations

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from app.bootstrap import bootstrap
from app.errors import RestorePostCommandError
from app.postgres.database import Database
from app.postgres.post_command import CommandPlace, run_on
from app.settings.file import as_environment_file

SECRET = "canary-4711"


def test_no_part_of_the_program_shows_it(tmp_path: Path) -> None:
    program = bootstrap(
        {
            "DATABASE_URL": "postgresql://me@host/shop",
            "BACKUP_DIR": str(tmp_path),
            "RESTORE_POST_COMMAND": f"run -p {SECRET}",
            "RESTORE_MIGRATE_COMMAND": f"up -p {SECRET}",
            "RESTORE_BEFORE_COMMAND": f"pause -p {SECRET}",
            "RESTORE_AFTER_COMMAND": f"resume -p {SECRET}",
        }
    )
    assert program.service().options.post_command == ("run", "-p", SECRET)
    assert program.service().options.migrate_command == ("up", "-p", SECRET)
    assert program.service().options.before_command == ("pause", "-p", SECRET)
    assert program.service().options.after_command == ("resume", "-p", SECRET)
    for shown in (program, program.settings, program.service(), as_environment_file(program.settings)):
        assert SECRET not in f"{shown} {shown!r}"


@pytest.mark.parametrize("program", ["false", "/no/such/program"])
def test_nor_does_its_failure(program: str) -> None:
    with capture_logs() as logs, pytest.raises(RestorePostCommandError) as caught:
        run_on(
            Database.from_url("postgresql://me@host/shop"),
            (program, "-p", SECRET),
            CommandPlace({"PATH": "/usr/bin:/bin"}),
        )
    assert program in caught.value.message
    assert SECRET not in f"{logs} {caught.value!r} {caught.value.hint} {caught.value.__cause__!r}"
