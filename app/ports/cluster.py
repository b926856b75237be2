"""The port to a whole server, for full backups. PostgreSQL calls a server's data folder a cluster."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterFacts:
    """Facts about a server that a full backup needs.

    Attributes:
        size: bytes of all databases on the server's disk, as far as the role may see them.
        may_replicate: whether the role has REPLICATION, or is a superuser.
        tablespaces: besides the two of each server, as ``name at /location``.
        unlogged: tables of this database that a copy of the server contains without their rows.
        outside: configuration files outside of the data folder, if the role may see that.
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
    """A finished copy of a server's data folder: the WAL that recovery must replay to make it consistent."""

    wal_start: str | None
    wal_end: str | None


class Cluster(Protocol):
    """A server. Each method opens a connection of its own, and may raise the errors of `Source`."""

    def facts(self) -> ClusterFacts:
        """Facts about the server, and rights of the role."""

    def system_identifier(self) -> str:
        """The server's system identifier, read over a replication connection.

        Raises:
            BackupPermissionError: the role may not open one.
        """

    def program_version(self, version: str) -> str:
        """Version of the programs that copy and verify, which have the server's major version.

        Raises:
            BackupCreationError: one of them is not installed.
        """

    def reads_wal(self, version: str) -> bool:
        """Whether `verify` reads the WAL of the copy too, which needs another program.

        Raises:
            BackupCreationError: the program that verifies is not installed.
        """

    def copy_into(self, folder: Path, advance: Callable[[int], None]) -> BaseBackup:
        """Copy the running server's data into a new folder, with the WAL that makes it consistent.

        Args:
            folder: is created; after an error its content is useless.
            advance: called repeatedly with the number of bytes copied since the last call; if it raises, copying ends.

        Raises:
            ServerUnavailableError: the server went away.
            BackupCreationError: the copying failed for another reason.
            BackupStorageError: the disk is full.
        """

    def verify(self, folder: Path) -> str:
        """Compare a copy with the server's own manifest of it; return the version of the program that did.

        Raises:
            BackupValidationError: it differs.
            BackupCreationError: the program is not installed.
        """

    def global_objects(self, *, passwords: bool) -> str:
        """Roles, their memberships and settings, and tablespaces, as SQL."""
