"""Catalogs of each kind, and other processes that claim runs in them."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from app.catalog.engine import make_engine, parse_url
from app.catalog.store import SqlCatalog
from app.domain.backup import Backup, Codec, Origin, Tier
from app.domain.slots import Slot, SlotRecord
from app.ports.runs import Catalog, Run
from tests.fix_catalog import held_by, open_catalog
from tests.fix_fork import Conversation

ROOT = Path(__file__).parents[1]
NOW = datetime(2025, 1, 15, 2, 0, tzinfo=timezone(timedelta(hours=1)))
SECOND = timedelta(seconds=1)
SLOT = Slot.at(Tier.DAILY, NOW)
BACKUP = Backup(
    id="daily/backup-2025-01-15",
    database="residency",
    tier=Tier.DAILY,
    period="2025-01-15",
    file="daily/backup-2025-01-15.sql.zst",
    created_at=NOW,
    bytes=5_000_000_000,
    raw_bytes=2**62,
    rows=12_345_678_901,
    tables=12,
    database_size=2**41,
    sha256="ab" * 32,
    codec=Codec.ZSTD,
    origin=Origin.DUMP,
    seconds=12.25,
)
# Claims what its standard input names and says how that went; a claimed run stays claimed while it lives.
CLAIMER = f"""
import sys
from datetime import datetime
from app.catalog.store import lazy_catalog
from app.domain.backup import Tier
from app.domain.slots import Slot
from app.errors import BackupRunningError

now = datetime.fromisoformat({NOW.isoformat()!r})
catalog = lazy_catalog(sys.argv[1])
catalog.open()
print("ready", flush=True)
for line in sys.stdin:
    try:
        run = catalog.claim(line.strip(), Tier.DAILY, Slot.at(Tier.DAILY, now), now)
        print(run.id if run else "none", flush=True)
    except BackupRunningError:
        print("running", flush=True)
"""


class Claimer:
    """Another process with the same catalog."""

    def __init__(self, process: Conversation | subprocess.Popen[str]) -> None:
        self.process = process

    def send(self, database: str) -> None:
        assert self.process.stdin
        print(database, file=self.process.stdin, flush=True)

    def receive(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline().strip()

    def claim(self, database: str) -> str:
        self.send(database)
        return self.receive()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/catalog.db"
    found: str = request.getfixturevalue("empty_database").url
    return found


@pytest.fixture
def catalog(url: str) -> Iterator[SqlCatalog]:
    opened = open_catalog(url)
    yield opened
    opened.close()


@pytest.fixture
def claimer(url: str, catalog: SqlCatalog) -> Iterator[Callable[[], Claimer]]:
    with contextlib.ExitStack() as stack:

        def start() -> Claimer:
            process = stack.enter_context(Conversation(CLAIMER, url))
            stack.callback(process.kill)
            started = Claimer(process)
            assert started.receive() == "ready"
            return started

        yield start


@pytest.fixture
def child(url: str, catalog: SqlCatalog) -> Iterator[Claimer]:
    """A process that nobody but this one can wait for."""
    argv, env = [sys.executable, "-c", CLAIMER, url], {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=env) as process:
        started = Claimer(process)
        assert started.receive() == "ready"
        yield started
        process.kill()


def claimed(catalog: Catalog, slot: Slot | None = SLOT, now: datetime = NOW) -> Run:
    run = catalog.claim("residency", Tier.DAILY, slot, now)
    assert run is not None
    return run


def record(catalog: Catalog) -> SlotRecord:
    found = catalog.slot("residency", SLOT.tier, SLOT.period)
    assert found is not None
    return found


def execute(url: str, statement: str, **values: object) -> list[Any]:
    engine = make_engine(parse_url(url))
    with engine.begin() as connection:
        result = connection.execute(text(statement), values)
        return list(result) if result.returns_rows else []


def held_elsewhere(url: str) -> None:
    held_by(url, "another-machine/pid:[1]/7/123")
