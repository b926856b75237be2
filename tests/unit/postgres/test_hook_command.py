"""The operator's commands around a restore as processes: what they are given, what is shown of them, how they end."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from app.embedded.server import wait_until
from app.errors import RestoreHookError
from app.postgres.database import Database
from app.postgres.hook_command import OperatorCommands
from app.postgres.post_command import CommandPlace
from app.settings.environment import environment_of_commands, load_settings

DATABASE = Database.from_url("postgresql://u:geheim+4711@h/app")


def run(*argv: str, database: Database = DATABASE, place: CommandPlace | None = None, seconds: float = 60) -> list[str]:
    lines: list[str] = []
    place = place or CommandPlace({"PATH": os.environ["PATH"]})
    OperatorCommands(database, place, ["br0ker-4712"]).run(argv, {"RESTORE_ID": "3f2a"}, seconds, lines.append)
    return lines


def shell(text: str, **more: float) -> list[str]:
    return run("sh", "-c", text, **more)


def test_both_streams_are_told_in_their_order_and_without_known_secrets() -> None:
    text = "echo out; echo $DATABASE_URL br0ker-4712 >&2; echo redis://:other@host/0; printf 'no end of line'"
    assert shell(text) == ["out", "*** ***", "redis://:***@host/0", "no end of line"]


def test_a_failure_has_the_end_of_what_it_printed_without_secrets() -> None:
    with pytest.raises(RestoreHookError, match="sh failed with exit code 3: first\nthe rest ") as failed:
        shell("echo first; echo the rest br0ker-4712 >&2; exit 3")
    assert "4712" not in failed.value.message


def test_the_message_of_a_failure_is_short() -> None:
    with pytest.raises(RestoreHookError) as failed:
        shell("seq 100; exit 1")
    first, gap, *last = failed.value.message.splitlines()
    assert (first.partition(":")[0], gap, last) == ("sh failed with exit code 1", "…", [str(n) for n in range(91, 101)])


def test_a_hook_command_finds_the_database_and_its_working_directory(tmp_path: Path) -> None:
    place = CommandPlace({"PATH": os.environ["PATH"], "DATABASE_URL_FILE": "/x"}, "postgresql+psycopg", tmp_path)
    lines = run("sh", "-c", "pwd; echo $PGDATABASE ${DATABASE_URL%%:*} $DATABASE_URL_FILE $RESTORE_ID", place=place)
    assert lines == [str(tmp_path), "app postgresql+psycopg 3f2a"]


def test_of_the_secrets_of_this_service_it_gets_what_leads_to_the_broker_and_no_other(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("c4talog")
    environ = {
        "DATABASE_URL": "postgresql://u:p@h/app",
        "BACKUP_CATALOG_URL_FILE": str(secret),
        "RESTORE_FOREIGN_PASSWORD": "f0reign",
        "CELERY_BROKER_URL": "redis://redis:6379/1",
        "CELERY_BROKER_PASSWORD": "br0ker",
        "HOME": "/home/me",
    }
    secret.write_text("sqlite:////tmp/catalog.db")
    given = environment_of_commands(environ, load_settings(environ).settings)
    assert given == {"CELERY_BROKER_URL": "redis://:br0ker@redis:6379/1", "HOME": "/home/me"}


def alive(file: Path) -> bool:
    """Whether the process is there whose number is in a file."""
    try:
        os.kill(int(file.read_text()), 0)
    except ProcessLookupError:
        return False
    return True


def test_what_takes_too_long_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    child = tmp_path / "child"
    with pytest.raises(RestoreHookError, match=r"sh did not end within 0\.3 s: begun"):
        shell(f"echo begun; sleep 600 & echo $! > {child}.new; mv {child}.new {child}; wait", seconds=0.3)
    if child.exists():  # the shell may have been too slow for that
        assert wait_until(lambda: not alive(child), 10)


def test_what_it_leaves_behind_is_not_waited_for(tmp_path: Path) -> None:
    child = tmp_path / "child"
    assert shell(f"sleep 600 & echo $! > {child}; echo done") == ["done"]
    assert wait_until(lambda: not alive(child), 10)


def test_a_long_line_is_shown_in_part_and_bytes_that_are_no_text_are_shown() -> None:
    text = "import sys; sys.stdout.buffer.write(b'x' * 9000 + b'\\n\\xff\\n')"
    lines = run(sys.executable, "-c", text)
    assert [len(line) for line in lines[:-1]] == [1000] * (len(lines) - 1)
    assert lines[-1] == "\N{REPLACEMENT CHARACTER}"
