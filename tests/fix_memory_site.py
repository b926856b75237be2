"""The service on fakes: a tree in memory and a server of canned rows; the catalog is a real one in SQLite.

It is put together in a millisecond, and a backup of it takes some more. `tests/contract/` holds the fakes to what the
real ones do.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import QueuePool

from app.archive.manifest import Manifest, parse_manifest
from app.catalog.engine import _sqlite_engine, parse_url, ready_engine
from app.catalog.lazy import LEASE, LazyEngine
from app.catalog.restore_store import SqlRestores
from app.catalog.store import SqlCatalog
from app.domain.backup import Backup, Codec, Tier
from app.domain.checks import Finding
from app.domain.restore import Restore, RestoreState
from app.domain.retention import Retention
from app.domain.revisions import History
from app.operations.backup.publish import BackupResult
from app.operations.backup.take import BackupRequest, take_backup
from app.operations.backups.inventory import find, inventory
from app.operations.options import Options
from app.operations.restore.job import RestoreOutcome
from app.operations.restore.request import RestoreRequest
from app.operations.restore.run import restore
from app.operations.service import SILENT, Progress, Service, Tools
from app.ports.events import Event
from app.postgres.unpack import PgRestore
from app.storage.scripts import LocalScripts
from tests.fakes.cluster import FolderCluster
from tests.fakes.commands import CannedCommands
from tests.fakes.server import CannedServer, Rows
from tests.fakes.source import CannedSource
from tests.fakes.target import CannedTarget
from tests.fakes.tree import MemoryTree

START = datetime(2025, 1, 15, 2, tzinfo=UTC)
DAILY = BackupRequest(tier=Tier.DAILY)
OPTIONS = Options(
    keep=Retention({}),
    schedules={},
    codec=Codec.NONE,
    level=None,
    min_free_bytes=100 << 20,
    undo_for=timedelta(hours=24),
    post_command=(),
    migrate_command=(),
    before_command=(),
    after_command=(),
    hook_seconds=300,
    command_dir=None,
    version_tables=(),
    foreign_role=None,
    tool="residency-backup 0.0",
    by="alice@db1",
    full_paths=(),
    environment="",
)


@dataclass(eq=False)
class MemorySite:
    """A service, its parts, and its clock.

    Attributes:
        engine: of the catalog.
        now: the present instant, for the service and for the server.
        events: all that it has told.
    """

    folder: Path
    engine: LazyEngine
    server: CannedServer = field(default_factory=CannedServer)
    now: datetime = START
    events: list[Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.tree = MemoryTree(LocalScripts(self.folder))
        self.catalog = SqlCatalog(self.engine)
        self.restore_records = SqlRestores(self.engine)
        self.source = CannedSource("residency", self.server, lambda: self.now)
        self.target = CannedTarget(self.server)
        self.commands = CannedCommands()
        self.tools = Tools(unpacker=PgRestore(), commands=self.commands)
        self.service = self.with_options()

    @property
    def rows(self) -> Rows:
        """The rows of the live database."""
        return self.source.rows

    @property
    def phrases(self) -> list[str]:
        """What was told, in words."""
        return [event.name.phrase for event in self.events]

    def emit(self, event: Event) -> None:
        """The port `Events`."""
        self.events.append(event)

    @property
    def catalog_url(self) -> str:
        """Where the catalog is, for whoever writes in it beside the service."""
        return self.engine.url.render_as_string()

    def read_history(self, history: Callable[[], History]) -> None:
        """From now on the service reads the application's migrations so."""
        self.service = replace(self.service, tools=replace(self.tools, history=history))

    def with_options(self, **options: Any) -> Service:
        """A service of the same parts that works by other figures."""
        return Service(
            source=self.source,
            target=self.target,
            cluster=FolderCluster(self.folder / "data"),
            tools=self.tools,
            tree=self.tree,
            catalog=self.catalog,
            restores=self.restore_records,
            options=replace(OPTIONS, **options),
            events=self,
            clock=lambda: self.now,
        )

    def keeping(self, **numbers: int) -> Service:
        """A service that keeps so many backups of each tier: ``daily=2``."""
        return self.with_options(keep=Retention({Tier(name): number for name, number in numbers.items()}))

    def take(self, tier: Tier = Tier.DAILY, progress: Progress = SILENT, **asked: Any) -> BackupResult:
        """Take a backup."""
        taken = take_backup(self.service, BackupRequest(tier=tier, **asked), progress)
        assert taken is not None
        return taken

    def take_days(self, number: int) -> None:
        """Take a daily backup on each of so many days; it is the last one's instant then."""
        for day in range(number):
            self.now = START + timedelta(days=day)
            self.take()

    def later(self, **time: float) -> None:
        """Let time pass."""
        self.now += timedelta(**time)

    def ids(self) -> list[str]:
        """Of all backups, by name."""
        return sorted(backup.id for backup in inventory(self.service))

    def files(self) -> dict[str, bytes]:
        """Every file of the tree, with its content."""
        return {name: file.content for name, file in self.tree.files_of_disk.items()}

    def find(self, name: str = "latest") -> Backup:
        return find(self.service, name)

    def manifest(self, name: str = "latest") -> Manifest:
        """What stands in the manifest of a backup."""
        file = self.find(name).file
        content = self.tree.read_manifest(file)
        assert content is not None
        return parse_manifest(content, file)

    def restore(self, backup: str = "latest", service: Service | None = None, **asked: Any) -> RestoreOutcome:
        """Restore, as somebody does who has typed the name of the database out."""
        service = service or self.service
        asked.setdefault("confirm", asked.get("into") or "residency")
        return restore(service, RestoreRequest.parse(service, backup, **asked))

    def restores(self) -> Sequence[Restore]:
        """The records of restores, newest first."""
        return self.restore_records.restores("residency")

    def begin_restore(self, **facts: Any) -> Restore:
        """A restore that is under way, and holds what it names."""
        record = Restore(**{**RESTORE, "started_at": self.now, "heartbeat_at": self.now, **facts})
        self.restore_records.begin_restore(record)
        return record

    def end_restore(self, record: Restore, state: RestoreState = RestoreState.COMPLETE, **facts: Any) -> Restore:
        """How a restore ended."""
        ended = replace(record, state=state, finished_at=self.now, **facts)
        self.restore_records.save_restore(ended)
        return ended


RESTORE: Mapping[str, Any] = {"id": "0123456789ab", "database": "residency", "mode": "replace", "backup": "latest"}


def by_check(findings: Sequence[Finding]) -> dict[str, Finding]:
    """Findings by what was checked."""
    return {finding.check: finding for finding in findings}


@dataclass(frozen=True, slots=True)
class KeptCatalog:
    """An SQLite catalog that all memory sites use one after the other.

    Its connections and its compiled statements are kept: to make them anew is a third of what such a test costs.
    """

    engine: LazyEngine
    empty: Path

    def clear(self) -> None:
        """Make it what it was when nothing was recorded yet."""
        with closing(sqlite3.connect(self.empty)) as empty, closing(sqlite3.connect(self.engine.place)) as used:
            empty.backup(used)


@pytest.fixture(scope="session")
def kept_catalog(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KeptCatalog]:
    """The catalog of the memory sites."""
    folder = tmp_path_factory.mktemp("catalog")
    url, empty = parse_url(f"sqlite:///{folder}/catalog.db"), folder / "empty.db"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("app.catalog.engine.NullPool", QueuePool)
        engine = ready_engine(url)
        _sqlite_engine.cache_clear()  # this one is nobody else's
    with engine.connect() as connection:
        connection.exec_driver_sql("COMMIT")
        connection.exec_driver_sql(f"VACUUM INTO '{empty}'")
    yield KeptCatalog(LazyEngine(lambda: engine, url, lease=LEASE), empty)
    engine.dispose()


@pytest.fixture
def memory_site(kept_catalog: KeptCatalog, tmp_path: Path) -> MemorySite:
    """A service on fakes, whose database has some rows and no backup yet."""
    kept_catalog.clear()
    return MemorySite(tmp_path, kept_catalog.engine)
