"""Makes plain SQL of pg_dump's own formats: `pg_restore --file=-` writes it, and what it writes is read at once."""

from __future__ import annotations

import io
import os
import secrets
import shlex
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, BinaryIO, cast

from app.archive.inspect.packed import PackedDump
from app.archive.open_file import OpenFile
from app.errors import BackupReadError, RestoreValidationError
from app.ports.unpacker import Unpacker
from app.postgres.binaries import Binary, installed
from app.postgres.programs import BLOCK, ChildProcess, ProgramError, bare_environment, output_of

_PROGRAM = "pg_restore"
_KEY_OPTION = "--restrict-key"
_ANOTHER = "make the dump again, or use another one"
_NEWEST = 18  # of the majors that this service supports


class PgRestore(Unpacker):
    """The newest pg_restore that is installed: it reads all older formats. The port describes the method."""

    def opener(self, dump: PackedDump) -> Callable[[], BinaryIO]:
        """What opens the plain SQL of a dump."""
        program = _fitting(dump)
        argv = [program.path, "--file=-"]
        if _takes_key(program.path):  # else it makes another one each time, and the text would differ
            argv.append(f"{_KEY_OPTION}={secrets.token_hex(16)}")
        if dump.file is None:
            argv.append(str(dump.path))

        def open_text() -> BinaryIO:
            return cast("BinaryIO", io.BufferedReader(_Output(argv, dump), BLOCK))

        return open_text


def _fitting(dump: PackedDump) -> Binary:
    """The newest pg_restore.

    Raises:
        RestoreValidationError: there is none, or it is older than the dump.
    """
    binaries = installed(_PROGRAM, os.environ.get("PATH", ""))
    newest = max((binary.major for binary in binaries), default=0)
    what = f"{dump.path} is a dump in pg_dump's {dump.format} format, and no plain dump"
    make = f"make it one where pg_restore is: pg_restore --file=dump.sql {shlex.quote(str(dump.path))}"
    if not binaries:
        install = f"install it here (Debian: postgresql-client-{_NEWEST})"
        raise RestoreValidationError(f"{what}; no pg_restore is installed to read it", f"{make}; or {install}")
    program = next(binary for binary in binaries if binary.major == newest)
    if newest < dump.major:
        message = (
            f"{what}; it wants pg_restore {dump.major} or newer, and {program.path} is of PostgreSQL {program.version}"
        )
        install = f"install the client programs of PostgreSQL {_NEWEST} (Debian: postgresql-client-{_NEWEST})"
        raise RestoreValidationError(message, f"{install}; or {make}")
    return program


@cache
def _takes_key(path: str) -> bool:
    r"""Whether a pg_restore lets us choose the key of ``\restrict``: since the minor versions of August 2025."""
    return _KEY_OPTION in output_of([path, "--help"])


class _Output(io.RawIOBase):
    """What a pg_restore writes. It is ended when this is closed."""

    def __init__(self, argv: Sequence[str], dump: PackedDump) -> None:
        try:
            self._program = _started(argv, dump)
        except ProgramError as error:
            raise BackupReadError(error.message, _ANOTHER) from error

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        read = os.readv(self._program.stdout.fileno(), [buffer])
        if not read:
            try:
                self._program.check()
            except ProgramError as error:
                raise BackupReadError(error.message, _ANOTHER) from error
        return read

    def close(self) -> None:
        if not self.closed and hasattr(self, "_program"):
            self._program.end()
        super().close()


def _started(argv: Sequence[str], dump: PackedDump) -> ChildProcess:
    if dump.file is None:
        return ChildProcess(argv, bare_environment())
    descriptor = _reopened(dump.file)
    try:
        return ChildProcess(argv, bare_environment(), stdin=descriptor)
    finally:
        os.close(descriptor)


def _reopened(file: OpenFile) -> int:
    """The same file once more, with a position of its own: several programs may read it at a time."""
    return os.open(f"/proc/self/fd/{file.descriptor}", os.O_RDONLY | os.O_CLOEXEC)
