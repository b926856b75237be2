r"""Reads ranges of tables through psql: many ranges one after the other, on one connection under a given snapshot.

A child process that writes rows to a pipe costs a fraction of a driver that hands over row by row. psql is told to COPY
a range and then to print ``\.``. No row of COPY text is that line, so it ends the range; and nothing follows it until
the next range is requested.

Source of the settings: pg_dump's session (setup_connection in pg_dump.c).
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

_BLOCK = 256 << 10  # fits the CPU cache while it is hashed, counted and packed
_PIPE = 1 << 20  # the limit for unprivileged users
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
# In reverse order of reading: ROLLBACK TO a savepoint releases the locks that were taken after it. psql sends
# statements that are joined by this semicolon as one message.
_LOCK = b"SAVEPOINT lock_%d \\; LOCK TABLE ONLY %s IN ACCESS SHARE MODE NOWAIT \\;\n"
_BEGUN = b"SELECT pg_backend_pid();\n\\echo ready\n"
# The planner also locks the table's indexes; without the savepoint, REINDEX would wait until the end.
_RANGE = b"SAVEPOINT one_range;\n%s\nROLLBACK TO SAVEPOINT one_range;\nRELEASE SAVEPOINT one_range;\n\\echo '\\\\.'\n"


class RangeReader:
    """A psql process that reads ranges.

    Attributes:
        pid: of its server process, after `begin`.
    """

    def __init__(self, program: ChildProcess) -> None:
        self.program = program
        self.pid = 0
        self._places: dict[LargeTable, int] = {}
        self._at = 0
        self._output = program.stdout.fileno()
        for pipe in (program.stdout, program.stdin):
            with contextlib.suppress(OSError):  # the user's pipes take more memory than allowed: smaller ones work
                fcntl.fcntl(pipe.fileno(), _F_SETPIPE_SZ, _PIPE)

    def begin(self, encoding: str, snapshot: str, limits: list[str], tables: Sequence[LargeTable]) -> None:
        """Set up the session, and lock the tables that it reads.

        Waits for no lock: the snapshot's session holds the same locks, and whoever waits for those would block this.

        Args:
            encoding: of the rows to read.
            snapshot: its id on the server.
            limits: settings that are set to 0.
            tables: in the order of reading.

        Raises:
            ProgramError: the connection failed, the snapshot is unknown, or somebody else wants a table.
        """
        unlimited = "\n".join(f"SET {name} = 0;" for name in limits)
        self._places = {table: place for place, table in enumerate(tables)}
        locks = [_LOCK % (place, table.qualified) for table, place in reversed(self._places.items())]
        settings = {"encoding": encoding, "read_rows": set_statements(READ_ROWS), "unlimited": unlimited}
        session = _SESSION.format(snapshot=snapshot, **settings).encode()
        self._say(b"".join([session, *locks, _BEGUN]))
        output = b""
        while not output.endswith(_READY):
            output += self._hear()
        self.pid = int(output.split()[0])

    def turn_to(self, table: LargeTable | None) -> None:
        """Release the locks on the tables before this one in the order of reading; None: on all tables.

        Raises:
            ProgramError: the connection was lost.
        """
        place = len(self._places) if table is None else self._places[table]
        if place > self._at:
            self._say(b"ROLLBACK TO SAVEPOINT lock_%d;\n" % (place - 1))
            self._at = place

    def rows(self, query: bytes) -> Iterator[bytes]:
        """The rows of a COPY statement, in blocks that end anywhere.

        Raises:
            ProgramError: the statement failed or the connection was lost.
        """
        self._say(_RANGE % query)
        at_line_start = True
        while True:
            block = self._hear()
            while block.endswith((b"\\", b"\\.")):  # perhaps the beginning of the last line
                block += self._hear()
            if block.endswith(b"\n" + _END) or (at_line_start and block == _END):
                if rows := block[: -len(_END)]:
                    yield rows
                return
            at_line_start = block.endswith(b"\n")
            yield block

    def finish(self) -> None:
        """End psql by the end of its input, so that the server does not log a lost connection.

        Raises:
            ProgramError: psql failed.
        """
        self.program.stdin.close()
        self.program.check()

    def kill(self) -> None:
        """Kill psql. Whoever reads its rows sees the end."""
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
        raise RuntimeError("psql ended without an error")


@contextlib.contextmanager
def range_reader(psql: str, conninfo: str, environment: Mapping[str, str]) -> Iterator[RangeReader]:
    """A psql for the length of a block."""
    argv = [psql, "-X", "-q", "-A", "-t", "-w", "-v", "ON_ERROR_STOP=1", "-d", conninfo]
    if stdbuf := shutil.which("stdbuf"):
        argv = [stdbuf, f"-o{_BLOCK}", *argv]  # without it, psql writes 4 KB at a time
    with running(argv, environment, stdin=subprocess.PIPE, name="psql") as program:
        yield RangeReader(program)
