"""The port to the program that makes plain SQL of pg_dump's own formats."""

from __future__ import annotations

from collections.abc import Callable
from typing import BinaryIO, Protocol

from app.archive.inspect.packed import PackedDump


class Unpacker(Protocol):
    """Makes plain SQL of packed dumps while it is read; nothing is written to a disk."""

    def opener(self, dump: PackedDump) -> Callable[[], BinaryIO]:
        """What opens the plain SQL of a dump at its beginning, any number of times, and each time gives the same bytes.

        A stream cannot seek. Reading it raises BackupReadError if the dump is damaged or cut off, at its end at latest.

        Raises:
            RestoreValidationError: there is no program that can read it; says which is wanted.
        """
