"""``make run``: the service on this machine, until Ctrl-C.

It works on DATABASE_URL if that is set, else on an embedded database; likewise CELERY_BROKER_URL and BACKUP_DIR. The
embedded servers keep their state in ./data.
"""

from __future__ import annotations

import os
import shlex
import signal
import sys
import threading
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import psycopg
from psycopg import sql

from app.embedded.broker import EmbeddedBroker
from app.embedded.postgres import EmbeddedPostgres
from app.errors import ResidencyBackupError
from demo.residency import fill
from demo.stack import DATABASE, worker_and_beat

STATE = Path("data")
SETTINGS = STATE / "service.env"
_POLL_SECONDS = 0.5


def main() -> int:
    """Run until a signal; return the exit code."""
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    try:
        with ExitStack() as stack:
            return _serve(stack, stopped)
    except ResidencyBackupError as error:
        print(f"{error.message}\n{error.hint}", file=sys.stderr)
        return error.exit_code


def _serve(stack: ExitStack, stopped: threading.Event) -> int:
    env: dict[str, str] = {}
    if not _given("DATABASE_URL", "POSTGRES_HOST"):
        env["DATABASE_URL"] = _database(stack)
    if not _given("CELERY_BROKER_URL"):
        env["CELERY_BROKER_URL"] = stack.enter_context(EmbeddedBroker(STATE / "redis")).url()
    if not _given("BACKUP_DIR"):
        env["BACKUP_DIR"] = str((STATE / "backups").absolute())
        env["BACKUP_STATE_DIR"] = str((STATE / "state").absolute())  # removed together with the backups
    _write_settings(env)
    programs = stack.enter_context(worker_and_beat(env, sys.stdout.fileno(), inherit_settings=True))
    print(f"\nCtrl-C stops it. In another terminal: set -a; . {SETTINGS}; set +a")
    print("then, for example: .venv/bin/celery -A tasks call backup.daily")
    print("and, when 'backup created' is logged here: .venv/bin/residency-backup list\n", flush=True)
    while not stopped.wait(_POLL_SECONDS):
        for program in programs:
            if not program.running:
                print(f"a process of the service has ended:\n{program.error_tail()}", file=sys.stderr)
                return 1
    return 0


def _given(*names: str) -> bool:
    """Whether the environment has one of these settings, or its NAME_FILE."""
    return any(os.environ.get(name) or os.environ.get(f"{name}_FILE") for name in names)


def _write_settings(env: Mapping[str, str]) -> None:
    """Write the settings that were chosen here into a private file, because one may hold a password."""
    STATE.mkdir(mode=0o700, parents=True, exist_ok=True)
    SETTINGS.unlink(missing_ok=True)
    with os.fdopen(os.open(SETTINGS, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
        file.writelines(f"{name}={shlex.quote(value)}\n" for name, value in env.items())


def _database(stack: ExitStack) -> str:
    """The URL of the embedded database, which is filled if it is new."""
    server = stack.enter_context(EmbeddedPostgres(STATE / "postgres"))
    with psycopg.connect(server.url(), autocommit=True) as connection:
        if connection.execute("SELECT FROM pg_database WHERE datname = %s", (DATABASE,)).fetchone() is None:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))
    with psycopg.connect(server.url(DATABASE)) as connection:
        if connection.execute("SELECT to_regclass('people')").fetchone() == (None,):
            fill(connection)
    return server.url(DATABASE)


if __name__ == "__main__":
    sys.exit(main())
