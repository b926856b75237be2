"""Processes of ours without a new interpreter: a process that has imported the program forks for each.

What it forks is a process like any other: with arguments, surroundings, streams, signals and an exit code of its own.
``python -m tests.fix_fork FD`` is the one that forks; it has no thread and no connection.
"""

from __future__ import annotations

import atexit
import functools
import gc
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Self

import pytest

from app.postgres.binaries import installed
from app.postgres.programs import ProgramError, ProgramResult

COMMAND_LINE = "app.cli:main"
CELERY = "celery.__main__:main"
TEXT = "tests.fix_fork:run_text"  # what is run is the first word
# What an interpreter reads when it starts: whoever sets these wants one of its own.
READ_AT_START = ("LANG", "LC_", "LD_", "PYTHON")
_VERBS = ("adopt", "backups", "full", "health", "restores")
_IMPORTED = (
    *(f"app.cli.{verbs}" for verbs in _VERBS),
    *(
        "tests.kill_restore",
        # What the program defers until it is needed, each process would import anew.
        *("app.catalog.restore_store", "app.catalog.store", "app.postgres.cluster", "app.postgres.target"),
        *("app.broker", "app.documents", "app.operations.full_restore.run", "app.postgres.dump.source"),
        *(
            "app.postgres.target_facts",
            "dotenv",
            "redis",
            "rich.table",
            "alembic.config",
            "alembic.runtime.environment",
        ),
        "alembic.command",
        "alembic.autogenerate",
        "sqlalchemy.dialects.sqlite",
    ),
    *("celery.__main__", "celery.bin.celery", "celery.apps.worker", "celery.apps.beat", "celery.concurrency.prefork"),
    *("kombu.transport.redis", "celery.backends.redis", "celery.fixups.django", "celery.app.log", "celery.app.events"),
    *("celery.worker.components", "celery.worker.consumer", "celery.worker.strategy", "celery.app.amqp"),
)
_MESSAGE_BYTES = 1 << 20


def run_forked(entry: str, words: Sequence[str], env: Mapping[str, str], *, timeout: float) -> ProgramResult:
    """Run a function, `module:name`, as the main program of a process with these arguments.

    Raises:
        ProgramError: it did not end in `timeout` seconds.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = start_forked(entry, words, env, out, err)
        try:
            code = process.wait(timeout)
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
            raise ProgramError(f"{entry} did not end within {timeout:.0f} s") from None
        texts = []
        for stream in (out, err):
            stream.seek(0)
            texts.append(stream.read().decode(errors="replace"))
    return ProgramResult(code, *texts)


def start_forked(
    entry: str,
    words: Sequence[str],
    env: Mapping[str, str],
    out: IO[bytes],
    err: IO[bytes],
    *,
    reads: IO[bytes] | None = None,
    cwd: Path | None = None,
    session: bool = False,
) -> Forked:
    """Begin such a process; with a session of its own, it leads its group too."""
    asked = {"entry": entry, "words": list(words), "env": dict(env), "cwd": str(cwd or Path.cwd()), "session": session}
    return _mother().start(asked, out, err, reads)


class Forked:
    """A process that was forked, as `subprocess.Popen` shows one."""

    def __init__(self, reply: IO[bytes]) -> None:
        self._reply = reply
        self.pid = int(reply.readline() or pytest.fail("the process that forks has ended"))
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """The exit code, negative if a signal ended it; None as long as it runs."""
        with suppress(subprocess.TimeoutExpired):
            return self.wait(0)
        return None

    def wait(self, timeout: float = 60) -> int:
        """The exit code.

        Raises:
            subprocess.TimeoutExpired: it runs after that many seconds too.
        """
        if self.returncode is None:
            if not select.select([self._reply], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(str(self.pid), timeout)
            with self._reply:
                self.returncode = os.waitstatus_to_exitcode(int(self._reply.readline()))
        return self.returncode


class Conversation:
    """Lines of Python as a process that was forked, which is told what to do line by line, and answers likewise."""

    def __init__(self, text: str, *words: str) -> None:
        answers, out = os.pipe()
        reads, told = os.pipe()
        self.stdin, self.stdout = os.fdopen(told, "w"), os.fdopen(answers)
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 -- closed at its end
        with os.fdopen(out, "wb") as its_out, os.fdopen(reads, "rb") as its_in:
            self._process = start_forked(TEXT, [text, *words], os.environ, its_out, self._errors, reads=its_in)

    def kill(self) -> None:
        """Kill it, and wait for its end."""
        with suppress(ProcessLookupError):
            os.kill(self._process.pid, signal.SIGKILL)
        self.wait()

    def wait(self) -> int:
        """The exit code."""
        return self._process.wait()

    def poll(self) -> int | None:
        """The exit code, if it has ended."""
        return self._process.poll()

    def errors(self) -> str:
        """What it wrote to standard error."""
        self._errors.seek(0)
        return self._errors.read().decode()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self.stdout, self._errors:
            self.stdin.close()
            self.wait()


def run_text() -> None:
    """Run the text that is the first argument; its own are those that follow."""
    exec(sys.argv.pop(1), {})


class Mother:
    """The process that forks, as the tests see it."""

    def __init__(self) -> None:
        ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control = ours
        self._sending = threading.Lock()
        env = {
            name: os.environ[name]
            for name in os.environ
            if name.startswith((*READ_AT_START, "PATH", "TMPDIR", "COVERAGE_"))
        }
        with its:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.fix_fork", str(its.fileno())],
                cwd=Path(__file__).parents[1],
                env=env,
                stdin=subprocess.DEVNULL,
                pass_fds=[its.fileno()],
            )

    def start(
        self, asked: Mapping[str, object], out: IO[bytes], err: IO[bytes], reads: IO[bytes] | None = None
    ) -> Forked:
        """Have a program forked."""
        reading, writing = os.pipe()
        try:
            fds = [out.fileno(), err.fileno(), writing, *([reads.fileno()] if reads else [])]
            with self._sending:
                socket.send_fds(self._control, [json.dumps(asked).encode()], fds)
        finally:
            os.close(writing)
        return Forked(os.fdopen(reading, "rb", buffering=0))

    def end(self) -> None:
        """End it; what it forked goes on."""
        self._control.close()
        self._process.wait()


@functools.cache
def _mother() -> Mother:
    mother = Mother()
    atexit.register(mother.end)
    return mother


def serve(control: socket.socket) -> Callable[[], object]:
    """Fork for each message until the other side is closed; gives, in the process that was forked, what it shall do."""
    forked: dict[int, tuple[int, int]] = {}  # of a process' descriptor, its id and whom to tell its end
    while True:
        ready, _, _ = select.select([control, *forked], [], [])
        for ended in set(ready) & set(forked):
            _tell_end_of(*forked.pop(ended))
            os.close(ended)
        if control not in ready:
            continue
        message, fds, *_ = socket.recv_fds(control, _MESSAGE_BYTES, 4)
        if not message:
            return sys.exit
        out, err, reply, *reads = fds
        if not (pid := os.fork()):
            control.close()
            for fd in (reply, *(fd for process, (_, told) in forked.items() for fd in (process, told))):
                os.close(fd)
            return _program(json.loads(message), [(out, 1), (err, 2), *((fd, 0) for fd in reads)])
        for fd in (out, err, *reads):
            os.close(fd)
        os.write(reply, f"{pid}\n".encode())
        forked[os.pidfd_open(pid)] = (pid, reply)


def _tell_end_of(pid: int, reply: int) -> None:
    _, status = os.waitpid(pid, 0)
    with suppress(BrokenPipeError):  # who asked may have waited long enough
        os.write(reply, f"{status}\n".encode())
    os.close(reply)


def _program(asked: dict[str, object], streams: Sequence[tuple[int, int]]) -> Callable[[], object]:
    for source, number in streams:
        os.dup2(source, number)
        os.close(source)
    if asked["session"]:
        os.setsid()
    os.environ.clear()
    os.environ.update(asked["env"])
    time.tzset()
    os.chdir(asked["cwd"])
    sys.argv = ["-c", *asked["words"]]
    module, name = asked["entry"].split(":")
    return getattr(importlib.import_module(module), name)


def main() -> None:
    gc.disable()
    for name in _IMPORTED:
        importlib.import_module(name)
    for program in ("pg_dump", "psql"):  # they are asked for their versions once, and not by each command
        installed(program, os.environ.get("PATH", ""))
    gc.collect()
    gc.freeze()
    gc.enable()
    end_after(serve(socket.socket(fileno=int(sys.argv[1]))))


def end_after(program: Callable[[], object]) -> None:
    """End as an interpreter does, but for freeing what it imported, page by page: that costs most of such a process."""
    code: object = None
    try:
        program()
    except SystemExit as ended:
        code = ended.code
        if not isinstance(code, int | None):
            raise
    threading._shutdown()
    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        sys.exit(code)  # and the interpreter says what it says of a stream that takes no more
    os._exit((code or 0) & 0xFF)


if __name__ == "__main__":
    main()
