"""Starts child processes; no other module does.

It takes argument lists only, never a shell. A `ChildProcess` leads its own process group, so that ending it ends all
that it started. The last lines of its error stream are kept.
"""

from __future__ import annotations

import contextlib
import io
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import structlog

from app.errors import OUT_OF_MEMORY, BackupCreationError, ProgramKilledError
from app.postgres.server_messages import without_details

log = structlog.get_logger(__name__)

ERROR_TAIL_LINES = 40
ERROR_LINE_BYTES = 4096  # a longer line counts as several
GRACE_SECONDS = 3.0
BLOCK = 1 << 20


class ProgramError(BackupCreationError):
    """A program could not be started, or failed; the message ends with the last lines of its error output.

    Attributes:
        code: exit code of a `ChildProcess`, negative if a signal ended it; None if it never ran, or is of another kind.
    """

    code: int | None = None


def as_killed(error: ProgramError, doing: str) -> ProgramKilledError | None:
    """The error for a program that a signal ended; None if none did.

    Args:
        error: of the program.
        doing: the failed task, ``the dump of database app``.
    """
    if error.code is None or error.code >= 0:
        return None
    if error.code != -signal.SIGKILL:
        return ProgramKilledError(f"{doing} failed: {error.message}", "find out what ended it; then try again")
    return ProgramKilledError(f"{doing} failed: {error.message}", f"{OUT_OF_MEMORY}, or lower BACKUP_JOBS")


class ChildProcess:
    """A running child process.

    Attributes:
        name: of the process in messages.
        stdout: its standard output, if that is piped.
        closed_output: whether the standard output was read to its end.
    """

    def __init__(  # noqa: PLR0913 -- those of Popen
        self,
        argv: Sequence[str | bytes],
        env: Mapping[str, str],
        *,
        stdin: int | None = subprocess.DEVNULL,
        stdout: int | IO[bytes] = subprocess.PIPE,
        name: str | None = None,
        folder: Path | None = None,
        joined: bool = False,
    ) -> None:
        self.name = name or Path(os.fsdecode(argv[0])).name
        self.closed_output = False
        self._unwanted = False
        self._errors: deque[str] = deque(maxlen=ERROR_TAIL_LINES)
        try:
            self._process = subprocess.Popen(
                list(argv),
                env=dict(env),
                cwd=folder,
                stdin=stdin,
                stdout=stdout,
                stderr=subprocess.STDOUT if joined else subprocess.PIPE,
                start_new_session=True,
                bufsize=0,
            )
        except OSError as error:
            where = f" in {folder}" if folder else ""
            message = f"{os.fsdecode(argv[0])} cannot be started{where}: {error.strerror or error}"
            raise ProgramError(message) from error
        self._reader = threading.Thread(target=self._read_errors, name=f"{self.name}-stderr", daemon=True)
        try:
            self._reader.start()
        except BaseException:  # a signal may cancel here, and nobody else knows the process yet
            self.kill()
            raise

    @property
    def pid(self) -> int:
        """Process id, which is also the id of the process group."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process has not ended yet."""
        return self._process.poll() is None

    @property
    def stdin(self) -> IO[bytes]:
        """The child's standard input."""
        if self._process.stdin is None:
            raise ValueError(f"{self.name}: standard input is not piped")
        return self._process.stdin

    @property
    def stdout(self) -> IO[bytes]:
        """The child's standard output."""
        if self._process.stdout is None:
            raise ValueError(f"{self.name}: standard output is not piped")
        return self._process.stdout

    def error_tail(self) -> str:
        """The last lines of the error stream."""
        return "\n".join(self._errors).strip()

    def blocks(self, size: int = BLOCK) -> Iterator[bytes]:
        """Standard output in blocks of at most `size` bytes, until the process closes it."""
        read = self.stdout.read
        while block := read(size):
            yield block
        self.closed_output = True

    def keep(self, line: bytes) -> None:
        """Keep a line among the last ones, for messages."""
        self._errors.append(line[:ERROR_LINE_BYTES].decode(errors="replace").rstrip())

    def wait(self, seconds: float) -> bool:
        """Wait for the end of the process for so long; returns whether it has ended."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        return not self.running

    def check(self) -> None:
        """Wait until the process ends.

        Raises:
            ProgramError: its exit code is not 0.
        """
        if code := self._process.wait():
            raise self._error(code)

    def failure(self) -> ProgramError | None:
        """The error of a process that failed and was not ended by this object; None otherwise. Does not wait."""
        code = self._process.poll()
        return self._error(code) if code and not self._unwanted else None

    def _error(self, code: int) -> ProgramError:
        self._reader.join(GRACE_SECONDS)
        return _ended(self.name, code, self.error_tail())

    def terminate(self) -> None:
        """Send SIGTERM to the process group. PostgreSQL's programs then cancel their statements on the server."""
        self._unwanted = True
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL to the process group. Readers of its output see the end; the pipes stay open until `end`."""
        self._unwanted = True
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def end(self, *, first: signal.Signals = signal.SIGTERM, grace: float = GRACE_SECONDS) -> None:
        """End the process group with `first`, and what is left after `grace` seconds with SIGKILL.

        May be called twice.
        """
        self._unwanted = True
        for number in (first, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(grace)
        self._reader.join(grace)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def _read_errors(self) -> None:
        stream = self._process.stderr
        if stream is None:
            return
        with io.BufferedReader(stream) as lines:  # type: ignore[type-var] # Popen's pipe is raw: bufsize is 0
            while line := lines.readline(ERROR_LINE_BYTES):
                self.keep(line)


@contextlib.contextmanager
def running(  # noqa: PLR0913 -- how a process is started
    argv: Sequence[str | bytes],
    env: Mapping[str, str],
    *,
    stdin: int | None = subprocess.DEVNULL,
    name: str | None = None,
    folder: Path | None = None,
    joined: bool = False,
) -> Iterator[ChildProcess]:
    """A child process for the length of a block. Its process group is ended when the block ends for any reason.

    Args:
        argv: program and arguments.
        env: the complete environment.
        stdin: subprocess.PIPE to write to the process.
        name: of the process in messages; None for the program's name.
        folder: working directory; None for this process's own.
        joined: whether its error stream goes into its standard output.

    Raises:
        ProgramError: it cannot be started.
    """
    program = ChildProcess(argv, env, stdin=stdin, name=name, folder=folder, joined=joined)
    try:
        yield program
    finally:
        program.end()


# Reads the id of a process group and waits for the end of its input, that is, of this process; then kills the group.
_GUARD = "import os, signal; group = os.read(0, 32); os.read(0, 1); group and os.killpg(int(group), signal.SIGKILL)"


@contextlib.contextmanager
def guard() -> Iterator[Callable[[ChildProcess], None]]:
    """A guard process, which kills a child process when this process dies: some programs would go on for ever.

    Yields a function that is called once, with the child process to guard until the block ends.

    Raises:
        ProgramError: it cannot be started.
    """
    argv = [sys.executable, "-ISc", _GUARD]
    with running(argv, bare_environment(), stdin=subprocess.PIPE, name="guard") as watcher:

        def watch(program: ChildProcess) -> None:
            try:
                watcher.stdin.write(str(program.pid).encode())
            except OSError as error:
                raise ProgramError(f"the guard of {program.name} ended: {watcher.error_tail()}") from error

        yield watch


@dataclass(frozen=True, slots=True)
class ProgramResult:
    """The result of a short-lived program."""

    code: int
    stdout: str
    stderr: str


_NEEDED = ("PATH", "HOME", "LANG", "TMPDIR", "LD_LIBRARY_PATH")


def bare_environment(inherited: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The variables that any program needs, without those that may be secret."""
    return {name: inherited[name] for name in _NEEDED if name in inherited}


def run(argv: Sequence[str], env: Mapping[str, str] | None = None, *, timeout: float = 60) -> ProgramResult:
    """Run a short-lived program to its end. Any exit code is accepted.

    Args:
        argv: program and arguments.
        env: the complete environment; None for `bare_environment`.
        timeout: seconds.

    Raises:
        ProgramError: it cannot be started, or did not end in `timeout` seconds.
    """
    try:
        done = subprocess.run(
            list(argv),
            env=bare_environment() if env is None else dict(env),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout,
            check=False,
        )
    except OSError as error:
        raise ProgramError(f"{argv[0]} cannot be started: {error.strerror or error}") from error
    except subprocess.TimeoutExpired as error:
        raise ProgramError(f"{Path(argv[0]).name} did not end within {timeout:.0f} s") from error
    return ProgramResult(done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))


def output_of(argv: Sequence[str], env: Mapping[str, str] | None = None, *, timeout: float = 60) -> str:
    """The standard output of a short-lived program.

    Raises:
        ProgramError: it cannot be started, failed, or did not end in `timeout` seconds.
    """
    done = run(argv, env, timeout=timeout)
    if done.code:
        raise _ended(Path(argv[0]).name, done.code, (done.stderr or done.stdout).strip())
    return done.stdout


def _ended(name: str, code: int, output: str) -> ProgramError:
    how = f"was ended by signal {-code}" if code < 0 else f"failed with exit code {code}"
    if (shown := without_details(output)) != output:
        log.debug("backup program failed", program=name, said=output)
    error = ProgramError(f"{name} {how}: {shown or 'it printed no error'}")
    error.code = code
    return error
