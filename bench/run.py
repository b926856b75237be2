"""``make bench``: this project beside the standard tools, in interleaved runs on one database.

BENCH_SCALE (1: 1.2 GB of SQL, 7.5 million rows), BENCH_RUNS (3), BENCH_JOBS (the CPUs) and BENCH_ONLY (of
``dump,load,growth,small,scan,restore,commands``) choose what is run. Results go to bench/results/latest.json
and, as tables, to the screen.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg

from app.embedded.postgres import EmbeddedPostgres
from bench import commands
from bench.contenders import Contender, dumps, loads, merges, read_backs, replaces
from bench.database import build, build_small
from bench.measure import measured
from bench.report import show

RESULTS = Path(__file__).parent / "results" / "latest.json"
GROUPS = ("dump", "load", "growth", "small", "scan", "restore", "commands")
MERGED = 0.1334  # of the whole: a million rows


class Bench:
    """A server with the database, a folder for what is made, and the figures so far."""

    def __init__(self, server: EmbeddedPostgres, folder: Path, jobs: int, runs: int) -> None:
        self.server = server
        self.folder = folder
        self.jobs = jobs
        self.runs = runs
        self.figures: dict[str, dict[str, list[dict[str, Any]]]] = {}

    def url(self, database: str) -> str:
        return f"postgresql://postgres:{self.server.password}@/{database}?host={self.server.socket_folder}&port={self.server.port}"

    def run(
        self, group: str, contenders: Iterable[Contender], *, fresh: str | None = None, runs: int | None = None
    ) -> None:
        """Run each contender once a round, so that what slows the machine slows all alike."""
        listed = list(contenders)
        for number in range(runs or self.runs):
            for contender in listed:
                if fresh:
                    self.database(fresh)
                cost = measured(contender.argv, dict(os.environ), self.server.pid or 0)
                row = cost.to_json() | {"bytes": _size(contender.makes)}
                self.figures.setdefault(group, {}).setdefault(contender.name, []).append(row)
                print(f"{group} {number + 1}: {contender.name}: {cost.wall:.2f} s", flush=True)

    def database(self, name: str) -> str:
        with psycopg.connect(self.server.url(), autocommit=True) as connection:
            connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)".encode())
            connection.execute(f"CREATE DATABASE {name} TEMPLATE template0".encode())
            connection.execute("CHECKPOINT")
        return self.url(name)


def _size(path: Path | None) -> int:
    if path is None:
        return 0
    return sum(file.stat().st_size for file in path.rglob("*")) if path.is_dir() else path.stat().st_size


def growth(bench: Bench, scale: float) -> None:
    """Dump and load at three sizes, and at 1, 2 and 4 jobs."""
    for part in (0.1, 0.33):
        url = bench.database("part")
        build(bench.url("part"), scale * part)
        wanted = [
            c
            for c in dumps(url, bench.folder, bench.jobs)
            if _is(c, "ours, zstd", "ours, none", "pg_dump | gzip", "pg_dump > file")
        ]
        bench.run(f"dump at {part}", wanted)
        wanted = [c for c in loads(bench.url("copy"), bench.folder, bench.jobs) if _is(c, "ours, zstd", "psql -f")]
        bench.run(f"load at {part}", wanted, fresh="copy")
    url = bench.url("whole")
    for group, ours, fresh in (
        ("dump by jobs", lambda jobs: dumps(url, bench.folder, jobs), None),
        ("load by jobs", lambda jobs: loads(bench.url("copy"), bench.folder, jobs), "copy"),
    ):
        listed = [replace(c, name=f"{jobs} jobs") for jobs in (1, 2, 4) for c in ours(jobs) if _is(c, "ours, zstd")]
        bench.run(group, listed, fresh=fresh)


def _is(contender: Contender, *names: str) -> bool:
    return contender.name.removesuffix(", with ANALYZE") in names


def small(bench: Bench) -> None:
    """A database whose dump is over before anything parallel could pay."""
    url = bench.database("small")
    build_small(url)
    wanted = [c for c in dumps(url, bench.folder, bench.jobs) if _is(c, "ours, none", "pg_dump > file")]
    bench.run("small", wanted, runs=bench.runs + 2)


def scan(bench: Bench) -> None:
    """How fast the index of a stock dump is found."""
    stock = bench.folder / "stock.sql"
    argv = [sys.executable, "-m", "bench.ours", "scan", "--file", str(stock)]
    bench.run("scan", [Contender("scan of a stock dump", argv)])


def restore(bench: Bench, scale: float) -> None:
    """A replace with its proof beside a bare psql, and a merge of a million rows beside the load of their tables."""
    bench.run("replace", replaces(bench.url("copy"), bench.folder, bench.jobs), fresh="copy")
    whole = bench.database("merged")
    build(whole, scale * MERGED)
    bench.run("merge", merges(whole, bench.url("copy"), bench.folder, bench.jobs), fresh="copy")


@contextmanager
def _server() -> Iterator[tuple[EmbeddedPostgres, Path]]:
    with tempfile.TemporaryDirectory(prefix="residency-backup-bench-") as place:
        folder = Path(place)
        folder.chmod(0o755)
        with EmbeddedPostgres(folder / "postgres") as server:
            yield server, folder


def main() -> None:
    scale, runs = float(os.environ.get("BENCH_SCALE", "1")), int(os.environ.get("BENCH_RUNS", "3"))
    jobs = int(os.environ.get("BENCH_JOBS", str(len(os.sched_getaffinity(0)))))
    only = os.environ.get("BENCH_ONLY", ",".join(GROUPS)).split(",")
    with _server() as (server, folder):
        bench = Bench(server, folder, jobs, runs)
        url = bench.database("whole")
        rows = build(url, scale)
        about = {
            "date": datetime.now(UTC).date().isoformat(), "machine": platform.machine(), "cpus": os.cpu_count(),
            "python": platform.python_version(), "rows": rows, "scale": scale, "runs": runs, "jobs": jobs,
        }  # fmt: skip
        bench.run("dump", dumps(url, folder, jobs), runs=runs if "dump" in only else 1)
        bench.run("read back", read_backs(folder), runs=runs if "dump" in only else 1)
        if "scan" in only:
            scan(bench)
        if "load" in only:
            bench.run("load", loads(bench.url("copy"), folder, jobs), fresh="copy")
        if "small" in only:
            small(bench)
        if "restore" in only:
            restore(bench, scale)
        if "commands" in only:
            bench.figures["commands"] = commands.measure(runs)
        if "growth" in only:
            growth(bench, scale)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps({"about": about, "figures": bench.figures}, indent=1) + "\n")
    show(RESULTS)


if __name__ == "__main__":
    main()
