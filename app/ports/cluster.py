"""The port to a whole server, of which a full backup is made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterFacts:
    """What must be known of a server before a full backup.

    Attributes:
        size: what all its databases take on the server's disk, as far as the role may know.
        may_replicate: whether the role has REPLICATION, or is a superuser.
        tablespaces: those beside the two of each server, as ``name at /location``.
        unlogged: tables of this database without WAL, which a copy of the server has without their rows.
        outside: files of its configuration that stand outside of its data folder, where the role may know.
    """

    version: str
    size: int
    role: str
    may_replicate: bool
    superuser: bool
    wal_level: str
    max_wal_senders: int
    tablespaces: tuple[str, ...]
    unlogged: tuple[str, ...]
    outside: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseBackup:
    """A copy of a server's data folder that was made: what recovery must replay to make it consistent."""

    wal_start: str | None
    wal_end: str | None


class Cluster(Protocol):
    """A server. Each method connects anew, and may raise what those of `Source` raise."""

    def facts(self) -> ClusterFacts:
        """What the server is, and what the role may."""

    def system_identifier(self) -> str:
        """The cluster's own number, asked over a replication connection.

        Raises:
            BackupPermissionError: the server lets the role make none.
        """

    def program_version(self, version: str) -> str:
        """Version of the programs that copy and verify; they are of the server's own major.

        Raises:
            BackupCreationError: one of them is not installed.
        """

    def reads_wal(self, version: str) -> bool:
        """Whether the copy's WAL is read when it is verified, for which a program of its own is wanted.

        Raises:
            BackupCreationError: the program that verifies is not installed.
        """

    def copy_into(self, folder: Path, advance: Callable[[int], None]) -> BaseBackup:
        """Copy the running server's data into a folder that is made, with the WAL that makes it consistent.

        Args:
            folder: where to; what stands in it after an error is of no use.
            advance: called again and again, with the bytes copied since; what it raises ends the copying.

        Raises:
            ServerUnavailableError: the server went away.
            BackupCreationError: the copying failed for another reason.
            BackupStorageError: the disk is full.
        """

    def verify(self, folder: Path) -> str:
        """Compare a copy with the server's own record of it; returns the version of the program that did.

        Raises:
            BackupValidationError: it differs.
            BackupCreationError: the program is not installed.
        """

    def global_objects(self, *, passwords: bool) -> str:
        """Roles, their memberships and settings, and tablespaces, as SQL."""
