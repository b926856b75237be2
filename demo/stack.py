"""Starts the service's processes on this machine, a worker and beat, as an operator would."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from app.alerts.log import LOGGER
from app.errors import BackupError
from app.postgres.programs import ChildProcess, run
from app.settings.model import Settings

DATABASE = "residency_scheduler"
_POLL_SECONDS = 0.1
_COMMAND_SECONDS = 300.0


def celery(*words: str) -> list[str]:
    """The argument list of a celery command of this project."""
    return [sys.executable, "-m", "celery", "-A", "tasks", *words]


def residency_backup(*words: str) -> list[str]:
    """The argument list of a residency-backup command."""
    return [sys.executable, "-c", "from app.cli import main; main()", *words]


def surroundings(env: Mapping[str, str], *, inherit_settings: bool = False) -> dict[str, str]:
    """The environment of a process of the service.

    Args:
        env: its settings.
        inherit_settings: whether those of this process apply too, unless `env` has others.
    """
    ours = {name.upper() for name in Settings.model_fields}
    names = ours | {f"{name}_FILE" for name in ours}
    return {name: value for name, value in os.environ.items() if inherit_settings or name not in names} | dict(env)


@contextmanager
def worker_and_beat(
    env: Mapping[str, str], output: IO[bytes] | int, *, inherit_settings: bool = False
) -> Iterator[tuple[ChildProcess, ChildProcess]]:
    """A worker and beat for the length of a block. At its end both are stopped with their children."""
    around = surroundings(env, inherit_settings=inherit_settings)
    with ExitStack() as stack:
        programs = []
        for words in (("worker", "--concurrency=2", "--queues=backup", "--loglevel=INFO"), ("beat", "--loglevel=INFO")):
            program = ChildProcess(celery(*words), around, stdout=output)
            stack.callback(program.end, grace=20)
            programs.append(program)
        yield programs[0], programs[1]


def wait_for(what: str, condition: Callable[[], bool], seconds: float, programs: Iterable[ChildProcess] = ()) -> None:
    """Wait until a condition holds.

    Raises:
        BackupError: it did not become true in time, or one of the programs has ended.
    """
    end = time.monotonic() + seconds
    while not condition():
        for program in programs:
            if not program.running:
                raise BackupError(f"{program.name} ended while {what} was awaited: {program.error_tail()}")
        if time.monotonic() > end:
            raise BackupError(f"waited {seconds:.0f} s in vain for {what}")
        time.sleep(_POLL_SECONDS)


def run_shown(argv: list[str], env: Mapping[str, str], *, shown: str, expected: int = 0, quiet: bool = False) -> str:
    """Run a command to its end, and print it; also its output, if it is expected to fail."""
    print(f"$ {shown}")
    done = run(argv, surroundings(env), timeout=_COMMAND_SECONDS)
    if done.code != expected:
        raise BackupError(f"{shown}: exit code {done.code} instead of {expected}\n{done.stderr}")
    if expected:
        print(done.stdout + done.stderr + f"exit code {done.code}, as it should be")
    return "" if quiet else done.stdout.rstrip()


def story(log: Path, what: str) -> list[str]:
    """The lines of a log that tell of events of a backup or a restore.

    Args:
        log: the file of the worker's and beat's output.
        what: ``backup`` or ``restore``: the first word of the events' phrases.
    """
    line = re.compile(rf"\S+ \[info +\] {what} .*\[{re.escape(LOGGER)}\]")
    return [text for text in log.read_text(errors="replace").splitlines() if line.match(text)]


def say(text: str) -> None:
    """Print a headline."""
    print(f"\n=== {text}", flush=True)
