"""The parts of a backup and of a restore, each beside its peer: dump, read back, load, merge, scan.

Ours are processes of their own (`bench.ours`), so the start of Python and its imports, 0.3 s, are in these figures.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import psycopg

from app.embedded.postgres import binaries
from bench.database import build
from bench.lab import Contender, Lab, Row, Target, pg_dump, psql_file, shell

DUMP, READ_BACK, LOAD, MERGE, JOBS = "dump", "read back", "load", "merge", "by jobs"
CODECS = ("none", "gzip", "zstd")
FLOOR = "the floor: COPY TO '/dev/null'"
RESTORE = "pg_restore -j2 of -Fd"
MERGED = 0.1334  # of the whole: a million rows
LARGE, MIDDLE = 1.0, 0.416  # of bench.database at scale 1: 1.2 GB, and 520 MB with 3.1 million rows
TARGETS = (
    Target("dump alone, 1.2 GB, vs the floor", DUMP, "ours, zstd", FLOOR, least=2, aim=1.6),
    Target("dump alone, zstd, vs `pg_dump \\| zstd -1 -T2`", DUMP, "ours, zstd", "pg_dump | zstd -1 -T2", least=1.1),
    Target(
        "the load alone, 520 MB, vs `pg_restore -j2`", LOAD, "ours, zstd, with ANALYZE", RESTORE, how="faster",
        least=1.1, aim=1.3,
    ),
    Target("merge of 1 M rows, 1 % differs, vs their load", MERGE, "ours, merge, 1 % differs", "ours, load", least=2),
    Target(
        "size of gzip, vs `gzip -6`", DUMP, "ours, gzip", "pg_dump | gzip -6", figure="file_mb", least=1.05
    ),
    Target(
        "size of zstd, vs `zstd -1`", DUMP, "ours, zstd", "pg_dump | zstd -1 -T2", figure="file_mb", least=1.03
    ),
)  # fmt: skip
_TABLES = ("accounts", "assignments")


def rows(lab: Lab) -> Iterator[Row]:
    """All of them."""
    url = lab.database("large")
    build(url, lab.scale * LARGE)
    megabytes = round(1240 * lab.scale * LARGE)
    yield from lab.compare(DUMP, megabytes, dumps(lab, url))
    yield from lab.compare(READ_BACK, megabytes, read_backs(lab.folder))
    lab.drop("large")
    yield from _middle(lab)
    yield from _merges(lab)


def dumps(lab: Lab, url: str) -> Iterator[Contender]:
    """Every way to dump. Nobody syncs to disk."""
    for codec in CODECS:
        file = lab.folder / f"ours.{codec}"
        yield ours(f"ours, {codec}", "dump", codec=codec, jobs=lab.jobs, url=url, file=file, makes=file)
    yield pg_dump(url, lab.folder / "stock.sql")
    yield pg_dump_to(url, lab.folder / "stock.gz", "gzip -6")
    if shutil.which("zstd"):
        yield pg_dump_to(url, lab.folder / "stock.zst", "zstd -1 -T2 -q")
    copies = " ".join(f"{binaries()}/psql -qX -d '{url}' -c \"COPY {t} TO '/dev/null'\" &" for t in _TABLES)
    yield Contender(FLOOR, shell(f"{copies} for child in $(jobs -p); do wait $child || exit 1; done"))


def pg_dump_to(url: str, file: Path, program: str) -> Contender:
    """pg_dump into a program that compresses."""
    command = shell(f"{binaries()}/pg_dump -d '{url}' | {program} > {file}")
    return Contender(f"pg_dump | {program.removesuffix(' -q')}", command, makes=file)


def pg_dump_folder(url: str, folder: Path, jobs: int = 2) -> Contender:
    """pg_dump in its folder format, which compresses by gzip."""
    command = shell(f"rm -rf {folder}; {binaries()}/pg_dump -d '{url}' -Fd -j{jobs} -f {folder}")
    return Contender(f"pg_dump -Fd -j{jobs}", command, makes=folder)


def read_backs(folder: Path) -> Iterator[Contender]:
    """The read-back of our files, which is a part of every backup."""
    for codec in CODECS:
        yield ours(f"read back, {codec}", "verify", codec=codec, file=folder / f"ours.{codec}")


def loads(lab: Lab) -> Iterator[Contender]:
    """Every way to load, into a database that is made anew."""
    url = lab.url("copy")

    def anew() -> str:
        return lab.database("copy")

    yield ours(
        "ours, zstd, with ANALYZE", "load", jobs=lab.jobs, url=url, file=lab.folder / "ours.zstd", before=anew
    )  # fmt: skip
    yield psql_file(url, lab.folder / "stock.sql", anew)
    yield Contender(RESTORE, shell(f"{binaries()}/pg_restore -j2 -d '{url}' {lab.folder}/fd"), before=anew)


def ours(  # noqa: PLR0913 -- options of a command
    name: str, verb: str, *, file: Path, codec: str = "zstd", url: str = "", jobs: int = 2, makes: Path | None = None,
    before: Callable[[], object] | None = None,
) -> Contender:  # fmt: skip
    """A part of ours, as a process of its own."""
    argv = [sys.executable, "-m", "bench.ours", verb, "--codec", codec, "--jobs", str(jobs), "--file", str(file)]
    argv += ["--url", url] if url else []
    return Contender(name, argv, makes=makes, before=before, ours=True)


def _middle(lab: Lab) -> Iterator[Row]:
    """Loads of 520 MB, and our dump and load of it by the number of connections."""
    url = lab.database("middle")
    build(url, lab.scale * MIDDLE)
    megabytes = round(1240 * lab.scale * MIDDLE)
    file = lab.folder / "ours.zstd"
    made = [ours("-", "dump", url=url, file=file), pg_dump(url, lab.folder / "stock.sql")]
    for _ in lab.compare("(made)", megabytes, [*made, pg_dump_folder(url, lab.folder / "fd")], runs=1):
        pass
    yield from lab.compare(LOAD, megabytes, loads(lab))
    stock = lab.folder / "stock.sql"
    yield from lab.compare("scan", megabytes, [ours("scan of a stock dump", "scan", file=stock)])
    wanted = [ours(f"dump, {jobs} jobs", "dump", url=url, file=file, jobs=jobs) for jobs in (1, 2, 4)]
    wanted += [
        ours(f"load, {jobs} jobs", "load", url=lab.url("copy"), file=file, jobs=jobs,
             before=lambda: lab.database("copy"))
        for jobs in (1, 2, 4)
    ]  # fmt: skip
    yield from lab.compare(JOBS, megabytes, wanted)
    lab.drop("middle", "copy")


def _merges(lab: Lab) -> Iterator[Row]:
    """A merge of a million rows, of which one in a hundred was changed or deleted, beside the load of them."""
    url, file = lab.database("merged"), lab.folder / "merged.zstd"
    build(url, lab.scale * MERGED)
    of_file = partial(ours, jobs=lab.jobs, file=file)
    yield from lab.compare(
        MERGE, round(7_500_000 * MERGED * lab.scale),
        [
            of_file("ours, dump", "dump", url=url, makes=file),
            of_file("ours, load", "load", url=lab.url("copy"), before=lambda: lab.database("copy")),
            of_file("ours, merge, 1 % differs", "merge", url=url, before=lambda: _change(url)),
        ],
    )  # fmt: skip
    lab.drop("merged", "copy")


def _change(url: str) -> None:
    """Change or delete the hundredth part of the rows."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("UPDATE accounts SET abalance = abalance + 1 WHERE aid % 100 = 0")
        connection.execute("DELETE FROM assignments WHERE id % 100 = 0")
        connection.execute("VACUUM")
        connection.execute("CHECKPOINT")
