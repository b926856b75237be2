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
from pathlib import Path
from typing import IO

import pytest

from app.postgres.programs import Finished, ProgramError

COMMAND_LINE = "app.cli:main"
# What an interpreter reads when it starts: whoever sets these wants one of its own.
READ_AT_START = ("LANG", "LC_", "LD_", "PYTHON")
_IMPORTED = ("app.cli", "tests.kill_restore", "alembic.command", "alembic.autogenerate", "sqlalchemy.dialects.sqlite")
_MESSAGE_BYTES = 1 << 20


def run_forked(entry: str, words: Sequence[str], env: Mapping[str, str], *, timeout: float) -> Finished:
    """Run a function, `module:name`, as the main program of a process with these arguments.

    Raises:
        ProgramError: it did not end in `timeout` seconds.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        code = _mother().run(
            {"entry": entry, "words": list(words), "env": dict(env), "cwd": str(Path.cwd())}, out, err, timeout
        )
        texts = []
        for stream in (out, err):
            stream.seek(0)
            texts.append(stream.read().decode(errors="replace"))
    return Finished(code, *texts)


class Mother:
    """The process that forks, as the tests see it."""

    def __init__(self) -> None:
        ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control = ours
        self._sending = threading.Lock()
        env = {name: os.environ[name] for name in os.environ if name.startswith((*READ_AT_START, "PATH", "TMPDIR"))}
        with its:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.fix_fork", str(its.fileno())],
                cwd=Path(__file__).parents[1],
                env=env,
                stdin=subprocess.DEVNULL,
                pass_fds=[its.fileno()],
            )

    def run(self, asked: Mapping[str, object], out: IO[bytes], err: IO[bytes], timeout: float) -> int:
        """The exit code of a program, negative if a signal ended it."""
        reading, writing = os.pipe()
        with os.fdopen(reading, "rb", buffering=0) as reply:
            try:
                fds = [out.fileno(), err.fileno(), writing]
                with self._sending:
                    socket.send_fds(self._control, [json.dumps(asked).encode()], fds)
            finally:
                os.close(writing)
            pid = int(reply.readline() or pytest.fail("the process that forks has ended"))
            end = time.monotonic() + timeout
            if not select.select([reply], [], [], max(0, end - time.monotonic()))[0]:
                os.kill(pid, signal.SIGKILL)
                raise ProgramError(f"{asked['entry']} did not end within {timeout:.0f} s")
            return os.waitstatus_to_exitcode(int(reply.readline()))

    def end(self) -> None:
        """End it; what it forked goes on."""
        self._control.close()
        self._process.wait()


def _text(stream: IO[bytes]) -> str:
    stream.seek(0)
    return stream.read().decode(errors="replace")


@functools.cache
def _mother() -> Mother:
    mother = Mother()
    atexit.register(mother.end)
    return mother


def serve(control: socket.socket) -> Callable[[], object]:
    """Fork for each message until the other side is closed; gives, in the process that was forked, what it shall do."""
    while True:
        message, fds, *_ = socket.recv_fds(control, _MESSAGE_BYTES, 3)
        if not message:
            return sys.exit
        if not os.fork():
            control.close()
            out, err, reply = fds
            if pid := os.fork():
                _tell_end_of(pid, reply)
            os.close(reply)
            return _program(json.loads(message), out, err)
        for fd in fds:
            os.close(fd)
        os.waitpid(-1, os.WNOHANG)


def _tell_end_of(pid: int, reply: int) -> None:
    os.write(reply, f"{pid}\n".encode())
    _, status = os.waitpid(pid, 0)
    os.write(reply, f"{status}\n".encode())
    os._exit(0)


def _program(asked: dict[str, object], out: int, err: int) -> Callable[[], object]:
    for source, number in ((out, 1), (err, 2)):
        os.dup2(source, number)
        os.close(source)
    os.environ.clear()
    os.environ.update(asked["env"])
    time.tzset()
    os.chdir(asked["cwd"])
    sys.argv = ["-c", *asked["words"]]
    module, name = asked["entry"].split(":")
    return getattr(importlib.import_module(module), name)


def main() -> None:
    for name in _IMPORTED:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()
    serve(socket.socket(fileno=int(sys.argv[1])))()


if __name__ == "__main__":
    main()
