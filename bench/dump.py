"""``make bench``: a whole backup beside the standard tools, on the demo's database.

Interleaved runs, medians, ratios within the run. BENCH_SCALE (default 5: about a million rows) and BENCH_RUNS
(default 3) set the size.
"""

from __future__ import annotations

import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psycopg
from rich.console import Console
from rich.table import Table

from app.bootstrap import bootstrap
from app.domain.backup import Tier
from app.embedded.postgres import EmbeddedPostgres, binaries
from app.embedded.residency import fill
from app.log import configure_logging
from app.operations.take_backup import BackupRequest, take_backup
from app.postgres.database import Database
from app.postgres.programs import run


def main() -> None:
    configure_logging("WARNING", "console")
    scale, runs = float(os.environ.get("BENCH_SCALE", "5")), int(os.environ.get("BENCH_RUNS", "3"))
    with tempfile.TemporaryDirectory(prefix="residency-backup-bench-") as place:
        folder = Path(place)
        folder.chmod(0o755)
        with EmbeddedPostgres(folder / "postgres") as server:
            with psycopg.connect(server.url()) as connection:
                rows = sum(fill(connection, scale=scale).values())
            print(f"{rows:,} rows, scale {scale:g}, {runs} interleaved runs, {os.cpu_count()} CPUs")
            contenders = dict(_contenders(server.url(), folder))
            measured: dict[str, list[tuple[float, float]]] = {name: [] for name in contenders}
            sizes: dict[str, int] = {}
            for _ in range(runs):
                for name, contender in contenders.items():
                    with _timed(measured[name]):
                        sizes[name] = contender()
            _report(measured, sizes)


def _contenders(url: str, folder: Path) -> Iterator[tuple[str, Callable[[], int]]]:
    for codec in ("none", "gzip", "zstd"):
        yield f"backup, {codec}, read back", lambda codec=codec: _backup(url, folder, codec)  # type: ignore[misc]
    database = Database.from_url(url)
    dump = f'{binaries()}/pg_dump -d "{database.conninfo}"'
    env = database.environment(os.environ)
    out = folder / "out"
    yield "pg_dump > file", lambda: _shell(f"{dump} > {out}; sync {out}", env, out)
    yield "pg_dump | gzip > file", lambda: _shell(f"{dump} | gzip > {out}; sync {out}", env, out)


def _backup(url: str, folder: Path, codec: str) -> int:
    env = {"DATABASE_URL": url, "BACKUP_DIR": str(folder / f"backups-{codec}"), "BACKUP_COMPRESSION": codec}
    taken = take_backup(bootstrap(env).service(), BackupRequest(tier=Tier.DAILY))
    if taken is None:
        raise RuntimeError("no backup was made")
    return taken.backup.bytes


def _shell(command: str, env: Mapping[str, str], out: Path) -> int:
    done = run(["bash", "-o", "pipefail", "-ec", command], env, timeout=3600)
    if done.code:
        raise RuntimeError(done.stderr)
    return out.stat().st_size


@contextmanager
def _timed(into: list[tuple[float, float]]) -> Iterator[None]:
    wall, cpu = time.monotonic(), _cpu_seconds()
    yield
    into.append((time.monotonic() - wall, _cpu_seconds() - cpu))


def _cpu_seconds() -> float:
    """Of this process and of its children that have ended; the server's are not among them."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _report(measured: dict[str, list[tuple[float, float]]], sizes: dict[str, int]) -> None:
    table = Table("what")
    for column in ("wall s", "client CPU s", "MB", "wall vs pg_dump | gzip"):
        table.add_column(column, justify="right")
    base = statistics.median(wall for wall, _ in measured["pg_dump | gzip > file"])
    for name, values in measured.items():
        wall = statistics.median(each for each, _ in values)
        cpu = statistics.median(each for _, each in values)
        table.add_row(name, f"{wall:.2f}", f"{cpu:.2f}", f"{sizes[name] / 1e6:.1f}", f"{base / wall:.2f} x faster")
    Console().print(table)


if __name__ == "__main__":
    main()
