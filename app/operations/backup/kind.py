"""The two kinds of backup: what each checks, writes, indexes and verifies."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from app.archive.manifest import ServerFacts
from app.domain.backup import BackupName, Tier
from app.domain.doubts import Doubt
from app.operations.backup.preflight import Preflight, Ready
from app.operations.backups.inventory import Inventory
from app.operations.formats import FileIndex, Format
from app.operations.service import Progress, Service
from app.ports.tree import Draft


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What writing a backup needs.

    Attributes:
        service: the parts.
        ready: facts that the checks found.
        draft: where it is written.
        name: its name once it is published.
        run_id: of the run, for temporary names.
        progress: called with the number of bytes written and read back.
    """

    service: Service
    ready: Ready
    draft: Draft
    name: BackupName
    run_id: str
    progress: Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class DraftContent:
    """The content of a draft that was written and read back.

    Attributes:
        index: of the file.
        snapshot_time: the instant that it shows.
        server: what a restore needs to know of the server.
        wal_position: see `Manifest`.
        pg_dump: version of the program that wrote a dump.
        doubts: what a restore could not evaluate.
        lacking: what no dump carries, a sentence each.
        warnings: what else a reader of the backup must know.
    """

    index: FileIndex
    snapshot_time: datetime
    server: ServerFacts
    wal_position: str | None = None
    pg_dump: str | None = None
    doubts: tuple[Doubt, ...] = ()
    lacking: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


class Kind(Format, Protocol):
    """A kind of backup."""

    def preflight(self, service: Service, tier: Tier, backups: Inventory) -> Preflight:
        """Check everything that the backup needs; raises none of our errors.

        Args:
            service: the parts.
            tier: of the backup.
            backups: all; the size of the newest one is the best forecast.
        """

    def write(self, work: Work) -> DraftContent:
        """Write the backup into its draft, and read it back.

        Raises:
            BackupError: the first failure; everything beside the draft is removed.
        """
