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
from collections.abc import Iterator, Mapping, Sequence

from app.postgres.dump.ranges import LargeTable
from app.postgres.programs import ChildProcess, running
from app.postgres.session_settings import READ_ROWS, set_statements

_BLOCK = 256 << 10  # fits the cache while it is hashed, counted and packed
_PIPE = 1 << 20  # what an ordinary user may ask for
_F_SETPIPE_SZ = 1031
_READY = b"ready\n"
_END = b"\\.\n"
_SESSION = """\
SET client_encoding = '{encoding}';
{read_rows}
SET synchronize_seqscans = off;
SET jit = off;
{unlimited}
BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY;
SET TRANSACTION SNAPSHOT '{snapshot}';
"""
# In the order of reading's reverse: what is rolled back to a savepoint gives up what was locked after it. Psql sends
# what is joined by this semicolon as one message.
_LOCK = b"SAVEPOINT lock_%d \\; LOCK TABLE ONLY %s IN ACCESS SHARE MODE NOWAIT \\;\n"
_BEGUN = b"SELECT pg_backend_pid();\n\\echo ready\n"
# The planner locks a table's indexes too, and so would hold up REINDEX until the end.
_RANGE = b"SAVEPOINT one_range;\n%s\nROLLBACK TO SAVEPOINT one_range;\nRELEASE SAVEPOINT one_range;\n\\echo '\\\\.'\n"


class RangeReader:
    """A psql that reads ranges.

    Attributes:
        pid: of its session on the server, once that has begun.
    """

    def __init__(self, program: ChildProcess) -> None:
        self.program = program
        self.pid = 0
        self._places: dict[LargeTable, int] = {}
        self._at = 0
        self._output = program.stdout.fileno()
        for pipe in (program.stdout, program.stdin):
            with contextlib.suppress(OSError):  # more pipes than the kernel grants: smaller ones do
                fcntl.fcntl(pipe.fileno(), _F_SETPIPE_SZ, _PIPE)

    def begin(self, encoding: str, snapshot: str, limits: list[str], tables: Sequence[LargeTable]) -> None:
        """Set the session up, and lock what is to be read.

        It waits for no lock: the snapshot's session holds the same ones, and who waits for those would be waited for.

        Args:
            encoding: of the rows.
            snapshot: what the server calls it.
            limits: settings to lift.
            tables: in the order in which they are read.

        Raises:
            ProgramError: the server did not let it in, does not know the snapshot, or somebody else wants a table.
        """
        unlimited = "\n".join(f"SET {name} = 0;" for name in limits)
        self._places = {table: place for place, table in enumerate(tables)}
        locks = [_LOCK % (place, table.qualified) for table, place in reversed(self._places.items())]
        settings = {"encoding": encoding, "read_rows": set_statements(READ_ROWS), "unlimited": unlimited}
        session = _SESSION.format(snapshot=snapshot, **settings).encode()
        self._say(b"".join([session, *locks, _BEGUN]))
        said = b""
        while not said.endswith(_READY):
            said += self._hear()
        self.pid = int(said.split()[0])

    def turn_to(self, table: LargeTable | None) -> None:
        """Let go of what stands before a table in the order of reading; of all where nothing is left to be read.

        Raises:
            ProgramError: the connection was lost.
        """
        place = len(self._places) if table is None else self._places[table]
        if place > self._at:
            self._say(b"ROLLBACK TO SAVEPOINT lock_%d;\n" % (place - 1))
            self._at = place

    def rows(self, query: bytes) -> Iterator[bytes]:
        """The rows that a COPY statement gives, in blocks that end anywhere.

        Raises:
            ProgramError: the statement failed or the connection was lost.
        """
        self._say(_RANGE % query)
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
