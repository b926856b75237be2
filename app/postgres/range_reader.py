r"""Reads ranges of tables through psql: one connection under a given snapshot, many ranges one after the other.

A child that writes rows to a pipe costs a fraction of what a driver costs that hands them over one by one. psql is told
to COPY a range and then to say ``\.``: no row of COPY text can be that line, so it ends the range, and nothing follows
it before the next range is asked for.

Source for what is set: pg_dump's own session (setup_connection in pg_dump.c).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping

from app.postgres.programs import Program, running

_BLOCK = 256 << 10  # fits the cache while it is hashed, counted and packed
_PIPE = 1 << 20  # what an ordinary user may ask for
_F_SETPIPE_SZ = 1031
_READY = b"ready\n"
_END = b"\\.\n"
_SESSION = """\
SET client_encoding = '{encoding}';
SET DateStyle = ISO;
SET IntervalStyle = postgres;
SET extra_float_digits = 3;
SET search_path = '';
SET row_security = off;
SET synchronize_seqscans = off;
SET jit = off;
{unlimited}
BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY;
SET TRANSACTION SNAPSHOT '{snapshot}';
\\echo ready
"""


class RangeReader:
    """A psql that reads ranges."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self._output = program.stdout.fileno()
        for pipe in (program.stdout, program.stdin):
            with contextlib.suppress(OSError):  # more pipes than the kernel grants: smaller ones do
                fcntl.fcntl(pipe.fileno(), _F_SETPIPE_SZ, _PIPE)

    def begin(self, encoding: str, snapshot: str, limits: list[str]) -> None:
        """Set the session up.

        Raises:
            ProgramError: the server did not let it in, or does not know the snapshot.
        """
        unlimited = "\n".join(f"SET {name} = 0;" for name in limits)
        self._say(_SESSION.format(encoding=encoding, snapshot=snapshot, unlimited=unlimited).encode())
        said = b""
        while not said.endswith(_READY):
            said += self._hear()

    def rows(self, query: bytes) -> Iterator[bytes]:
        """The rows that a COPY statement gives, in blocks that end anywhere.

        Raises:
            ProgramError: the statement failed or the connection was lost.
        """
        self._say(query + b"\n\\echo '\\\\.'\n")
        at_line_start = True
        while True:
            block = self._hear()
            while block.endswith((b"\\", b"\\.")):  # perhaps a part of the last line
                block += self._hear()
            if block.endswith(b"\n" + _END) or (at_line_start and block == _END):
                if rows := block[: -len(_END)]:
                    yield rows
                return
            at_line_start = block.endswith(b"\n")
            yield block

    def finish(self) -> None:
        """Let psql take its leave of the server, which would log a connection that just ends.

        Raises:
            ProgramError: it failed after all.
        """
        self.program.stdin.close()
        self.program.check()

    def kill(self) -> None:
        """End psql at once; whoever waits for rows of it sees the end."""
        self.program.kill()

    def _say(self, text: bytes) -> None:
        try:
            while text:
                text = text[self.program.stdin.write(text) :]
        except BrokenPipeError:
            self._fail()

    def _hear(self) -> bytes:
        block = os.read(self._output, _BLOCK)
        if not block:
            self._fail()
        return block

    def _fail(self) -> None:
        self.finish()
        raise RuntimeError("psql ended although nobody asked it to")


@contextlib.contextmanager
def range_reader(psql: str, conninfo: str, environment: Mapping[str, str]) -> Iterator[RangeReader]:
    """A psql for the length of a block."""
    argv = [psql, "-X", "-q", "-A", "-t", "-w", "-v", "ON_ERROR_STOP=1", "-d", conninfo]
    if stdbuf := shutil.which("stdbuf"):
        argv = [stdbuf, f"-o{_BLOCK}", *argv]  # else psql writes 4 KB at a time
    with running(argv, environment, stdin=subprocess.PIPE, name="psql") as program:
        yield RangeReader(program)
