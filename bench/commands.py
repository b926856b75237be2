"""How long commands take that only look, on a tree of 1,000 backups.

The yardstick is ``python -c 'import sqlalchemy'``, which verbs that change the catalog have to pay.
"""

from __future__ import annotations

import hashlib
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
from app.domain.servers import Known, Lineage
from app.ports.runs import KnownManifest
from app.storage.folder import LocalFolder
from app.storage.local import LocalTree
from app.storage.memory import FolderMemory
from bench.lab import PROGRAM, Contender, Lab, Row, Target, clean_environment
from bench.manifests import manifest_of

GROUP = "commands"
TARGETS: tuple[Target, ...] = ()
BACKUPS = 1000
DATABASE = "residency_scheduler"
_TABLES = 25  # the residency scheduler has as many
LAST = datetime(2025, 1, 15, 2, 0, tzinfo=UTC)
SERVER = ServerFacts(
    version="18.1", version_num=180001, encoding="UTF8", locale="C.UTF-8/C.UTF-8/c", size=64 << 20,
    roles=("postgres",), system_identifier="7400000000000000001", database_oid=16384,
)  # fmt: skip
_YARDSTICK = "python -c 'import sqlalchemy'"


def make_tree(folder: Path, count: int = BACKUPS, server: ServerFacts = SERVER) -> None:
    """Fill a folder with backups, half of them daily, half manual, as runs of the service leave it."""
    marked = LocalFolder(folder, FolderMemory(None), DATABASE)
    tree = LocalTree(folder, marked)
    catalog = lazy_catalog(f"sqlite:///{folder}/catalog.db")
    tree.make_root()
    stream = io.BytesIO()
    writer = ArchiveWriter(stream, Codec.ZSTD)
    writer.add(scan([_dump()]))
    index = writer.finish()
    known: dict[str, KnownManifest] = {}
    for tier, at in _instants(count):
        manifest = _manifest(index, tier, at, server)
        name, content = id_of(tier, manifest.period), manifest.to_json().encode()
        file = name + extension_of(tier, Codec.ZSTD)
        with tree.create(tier, Path(file).name, "bench") as draft:
            draft.stream.write(stream.getvalue())
            draft.publish(file, content)
        backup = manifest.to_backup(name, file)
        read = tree.read_stamped(file)
        known[file] = KnownManifest(hashlib.sha256(content).hexdigest(), read and read.stamp, backup)
        catalog.save(backup)
    catalog.keep_manifests(DATABASE, known.keys(), known)
    made_of = Known(identity=server.identity, since=LAST, how="its manifest")
    marked.change(DATABASE, lambda _: Lineage().with_known(made_of))


def commands() -> Iterator[tuple[str, list[str]]]:
    """What is measured: its name, and its arguments."""
    newest = id_of(Tier.DAILY, period_of(Tier.DAILY, LAST))
    yield _YARDSTICK, [sys.executable, "-c", "import sqlalchemy"]
    for arguments in (["--help"], ["list"], ["list", "--json"], ["show", newest]):
        yield f"residency-backup {' '.join(arguments)}", [PROGRAM, *arguments]


def rows(lab: Lab) -> Iterator[Row]:
    """Costs by command; the first round compiles."""
    folder = lab.folder / "commands"
    make_tree(folder / "backups")
    env = clean_environment() | {"BACKUP_DIR": f"{folder}/backups", "BACKUP_STATE_DIR": f"{folder}/state"}
    listed = [Contender(name, argv, env, ours=name != _YARDSTICK) for name, argv in commands()]
    for _ in lab.compare("(compiled)", BACKUPS, listed, runs=1):
        pass
    yield from lab.compare(GROUP, BACKUPS, listed, runs=lab.runs + 2)


def _instants(count: int) -> Iterator[tuple[Tier, datetime]]:
    for days in range(count // 2):
        at = LAST - timedelta(days=days)
        yield Tier.DAILY, at
        yield Tier.MANUAL, at + timedelta(hours=9)


def _dump() -> bytes:
    rows = "(id, name) FROM stdin;\n1\ta\n2\tb\n\\.\n\n\n"
    tables = (f"COPY public.table_{number:02} {rows}" for number in range(_TABLES))
    end = "--\n-- PostgreSQL database dump complete\n--\n\n"
    return f"--\n-- PostgreSQL database dump\n--\n\n{''.join(tables)}{end}".encode()


def _manifest(index: Index, tier: Tier, at: datetime, server: ServerFacts) -> Manifest:
    times = {"snapshot_time": at, "verified_at": at}
    facts = {"tool": "residency-backup", "origin": Origin.DUMP, "server": server, "pg_dump": "18.1", "seconds": 1.0}
    period = period_of(tier, at)
    return manifest_of(index, database=DATABASE, tier=tier, period=period, codec=Codec.ZSTD, **facts, **times)
