"""How long commands take that only look, on a tree of 1,000 backups: ``python -m bench.commands``.

The yardstick is ``python -c 'import sqlalchemy'``, which every command that reads the catalog has to pay.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from app.archive.index import Index
from app.archive.manifest import Manifest, ServerFacts
from app.archive.scanner import scan
from app.archive.writer import ArchiveWriter
from app.catalog.store import lazy_catalog
from app.domain.backup import Codec, Origin, Tier, extension_of, id_of, period_of
from app.storage.folder import LocalFolder
from app.storage.memory import FolderMemory
from app.storage.local import LocalTree

BACKUPS = 1000
_DATABASE, _SERVER, _OID = "residency_scheduler", "7400000000000000001", 16384
_TABLES = 25  # the residency scheduler has as many
_LAST = datetime(2025, 1, 15, 2, 0, tzinfo=UTC)
_YARDSTICK = "python -c 'import sqlalchemy'"


def make_tree(folder: Path, count: int = BACKUPS) -> None:
    """Fill a folder with backups, each with its manifest and its row in the catalog.

    Args:
        folder: of the tree, which need not exist.
        count: of backups: half of them daily, half manual.
    """
    tree, catalog = (
        LocalTree(folder, LocalFolder(folder, FolderMemory(None), _DATABASE)),
        lazy_catalog(f"sqlite:///{folder}/catalog.db"),
    )
    tree.make_root()
    stream = io.BytesIO()
    writer = ArchiveWriter(stream, Codec.ZSTD)
    writer.add(scan([_dump()]))
    index = writer.finish()
    for tier, at in _instants(count):
        period = period_of(tier, at)
        name = id_of(tier, period)
        manifest = _manifest(index, tier, period, at)
        file = name + extension_of(tier, Codec.ZSTD)
        with tree.create(tier, Path(file).name, f"bench{at:%s}") as draft:
            draft.stream.write(stream.getvalue())
            draft.publish(file, manifest.to_json().encode())
        run = catalog.claim(_DATABASE, tier, None, at)
        if run is None:
            raise RuntimeError("the run cannot begin")
        catalog.complete(run, manifest.to_backup(name, file), at)


def commands(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """What is measured: a name, and its arguments."""
    ours = [sys.executable, "-m", "app.cli"] if False else [str(Path(sys.executable).with_name("residency-backup"))]
    yield _YARDSTICK, [sys.executable, "-c", "import sqlalchemy"]
    yield "--help", [*ours, "--help"]
    yield "list", [*ours, "list"]
    yield "list --json", [*ours, "list", "--json"]
    yield "show ID", [*ours, "show", id_of(Tier.DAILY, period_of(Tier.DAILY, _LAST))]


def _instants(count: int) -> Iterator[tuple[Tier, datetime]]:
    for number in range(count // 2):
        at = _LAST - timedelta(days=number)
        yield Tier.DAILY, at
        yield Tier.MANUAL, at + timedelta(hours=9)


def _dump() -> bytes:
    """A plain dump of some tables."""
    copies = "".join(
        f"COPY public.table_{number:02} (id, name) FROM stdin;\n1\ta\n2\tb\n\\.\n\n\n" for number in range(_TABLES)
    )
    return f"--\n-- PostgreSQL database dump\n--\n\n{copies}--\n-- PostgreSQL database dump complete\n--\n\n".encode()


def _manifest(index: Index, tier: Tier, period: str, at: datetime) -> Manifest:
    server = ServerFacts(
        version="18.1",
        version_num=180001,
        encoding="UTF8",
        locale="C.UTF-8/C.UTF-8/c",
        size=64 << 20,
        roles=("postgres",),
        system_identifier=_SERVER,
        database_oid=_OID,
    )
    return Manifest.of(
        index,
        tool="residency-backup",
        origin=Origin.DUMP,
        database=_DATABASE,
        tier=tier,
        period=period,
        snapshot_time=at,
        verified_at=at,
        seconds=1.0,
        server=server,
        pg_dump="18.1",
        codec=Codec.ZSTD,
    )


if __name__ == "__main__":
    make_tree(Path(sys.argv[1]))
