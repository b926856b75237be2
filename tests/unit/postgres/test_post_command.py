"""The operator's own command finds its database by the environment, whatever the database is called."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psycopg.conninfo
import pytest

from app.errors import RestorePostCommandError
from app.postgres.database import Database
from app.postgres.post_command import CommandPlace, run_on, url_of

URLS = [
    "postgresql://u:p%40ss%2Fword@db.example:5433/app",
    "postgresql://u@[::1]:5432/a%20b",
    "postgresql:///app?host=/var/run/postgresql&port=5433&user=me",
    "postgresql://one:1,two:2/app?target_session_attrs=read-write",
    "host=db dbname=app user=u password='s p' sslmode=require",
    "postgresql://db/app",
]


@pytest.mark.parametrize("text", URLS)
def test_the_url_means_the_same_server_and_the_other_database(text: str) -> None:
    database = Database.from_url(text).named("app_restore_0")
    again = Database.from_url(url_of(database))
    assert again.name == "app_restore_0"
    assert again.password == database.password
    ours, theirs = (dict(each.parameters) for each in (database, again))
    assert theirs == ours
    assert "keepalives" not in url_of(database)


def test_the_scheme_is_the_applications() -> None:
    url = url_of(Database.from_url("postgresql://u:p@h/app"), "postgresql+psycopg")
    assert url == "postgresql+psycopg://u:p@h/app"


def program(text: str) -> list[str]:
    return [sys.executable, "-c", text]


def test_the_command_has_the_rest_of_its_environment_too(tmp_path: Path) -> None:
    database = Database.from_url("postgresql://u:secret-4711@h/app")
    seen = tmp_path / "seen"
    text = f"import os; open({str(seen)!r}, 'w').write(os.environ['DATABASE_URL'] + ' ' + os.environ['X'])"
    inherited = {"X": "y", "DATABASE_URL": "other", "DATABASE_URL_FILE": "/run/secret"}
    run_on(database, program(text), CommandPlace(inherited))
    assert seen.read_text() == "postgresql://u:secret-4711@h/app y"


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (program("import sys; print('out'); sys.exit('err')"), ["exit code 1: err", "it printed: out"]),
        (["/no/such/program"], ["cannot be started"]),
        (program("import os; os.kill(os.getpid(), 9)"), ["was ended by signal 9"]),
    ],
)
def test_a_failure_says_what_the_command_said(argv: list[str], words: list[str]) -> None:
    with pytest.raises(RestorePostCommandError) as caught:
        run_on(Database.from_url("postgresql://u:p@h/app"), argv)
    assert all(word in caught.value.message for word in words)


def test_the_command_runs_in_the_folder_that_was_set(tmp_path: Path) -> None:
    database, place = Database.from_url("postgresql://u:p@h/app"), CommandPlace(folder=tmp_path / "app")
    with pytest.raises(RestorePostCommandError, match=f"cannot be started in {tmp_path}/app: No such file"):
        run_on(database, program(""), place)
    (tmp_path / "app").mkdir()
    run_on(database, program("open('here', 'w')"), place)
    assert (tmp_path / "app/here").exists()


def test_a_password_that_the_command_prints_is_hidden() -> None:
    database = Database.from_url(psycopg.conninfo.make_conninfo(host="h", dbname="d", user="u", password="geheim+4711"))
    text = "import os, sys; print(os.environ['DATABASE_URL'], 'geheim+4711'); sys.exit('geheim%2B4711')"
    with pytest.raises(RestorePostCommandError) as caught:
        run_on(database, program(text))
    assert "4711" not in caught.value.message


def test_a_password_of_another_service_is_hidden_too() -> None:
    argv = [sys.executable, "-c", "import os, sys; sys.exit(os.environ['CELERY_BROKER_URL'])"]
    inherited = {"CELERY_BROKER_URL": "redis://:br0ker@redis:6379/0"}
    with pytest.raises(RestorePostCommandError) as failed:
        run_on(Database.from_url("postgresql://u:p@h/app"), argv, CommandPlace(inherited))
    assert "redis://:***@redis:6379/0" in failed.value.message
    assert "br0ker" not in failed.value.message


def test_a_guarded_command_ends_with_the_process_that_runs_it(tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    os.mkfifo(seen)
    command = program(f"import time; pipe = open({str(seen)!r}, 'w'); pipe.write('up'); pipe.flush(); time.sleep(60)")
    text = (
        "from app.postgres.database import Database; from app.postgres.post_command import run_on\n"
        f"run_on(Database.from_url('postgresql://h/app'), {command!r}, guarded=True)"
    )
    with subprocess.Popen(program(text)) as caller, seen.open() as pipe:
        assert pipe.read(2) == "up"
        caller.send_signal(signal.SIGKILL)
        assert not pipe.read()  # when nobody has it open any more, at once
