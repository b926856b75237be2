"""Whole commands: Python's start, preflight, catalog, read-back and all, beside the standard tools."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import psycopg

from app.embedded.postgres import binaries
from bench.database import build, build_scheduler
from bench.lab import Contender, Lab, Row, Site, Target, pg_dump, psql_file, shell
from bench.parts import LARGE, MIDDLE, pg_dump_folder, pg_dump_to

CREATE, SCHEDULER, SMALL, REPLACE = "create", "create, scheduler", "create, small scheduler", "replace"
GROWN_CREATE, GROWN_REPLACE = "create grows", "replace grows"
SYNCED = "pg_dump > file && sync"
PROVEN = "replace: verify, load, ANALYZE, proof"
TARGETS = (
    Target(
        "`create` zstd, 520 MB, vs `pg_dump \\| zstd -1 -T2`", CREATE, "create, zstd", "pg_dump | zstd -1 -T2",
        least=1.4, aim=1.1,
    ),
    Target(
        "`create` none, scheduler of 124 tables, 280 MB, vs `pg_dump > file && sync`", SCHEDULER, "create, none",
        SYNCED, least=1.3, aim=1.1,
    ),
    Target(
        "`create`, 124 tables, 15 MB, vs `pg_dump`", SMALL, "create, none", "pg_dump > file", how="more", least=0.6,
        aim=0.4,
    ),
    Target(
        "replace with verification and proof, 520 MB, vs `psql -f`", REPLACE, PROVEN, "psql -f", least=1.1, aim=1 / 1.2
    ),
    Target(
        "CPU of `create` at 1.2 GB vs at a tenth of it", GROWN_CREATE, "create, zstd", figure="cpu", least=12, aim=10,
        peer_size=0,
    ),
    Target(
        "CPU of replace at 1.2 GB vs at a tenth of it", GROWN_REPLACE, PROVEN, figure="cpu", least=12, aim=10,
        peer_size=0,
    ),
)  # fmt: skip
_SMALL_RUNS = 4  # more than of the others: they are short


def rows(lab: Lab) -> Iterator[Row]:
    """All of them."""
    yield from _scheduler(lab, SCHEDULER, 280)
    yield from _scheduler(lab, SMALL, 15)
    yield from _middle(lab)
    yield from _growth(lab)


def _scheduler(lab: Lab, group: str, megabytes: int) -> Iterator[Row]:
    url = lab.database("scheduler")
    build_scheduler(url, megabytes * lab.scale)
    stock = lab.folder / "stock.sql"
    contenders = [
        creation(lab, "scheduler", "none"),
        creation(lab, "scheduler", "zstd"),
        pg_dump(url, stock),
        Contender(SYNCED, shell(f"{binaries()}/pg_dump -d '{url}' > {stock} && sync {stock}"), makes=stock),
    ]
    yield from lab.compare(group, round(megabytes * lab.scale), contenders, runs=lab.runs + _SMALL_RUNS)
    lab.drop("scheduler")


def _middle(lab: Lab) -> Iterator[Row]:
    url = lab.database("middle")
    build(url, lab.scale * MIDDLE)
    megabytes = round(1240 * lab.scale * MIDDLE)
    contenders = [creation(lab, "middle", codec) for codec in ("zstd", "gzip", "none")]
    if shutil.which("zstd"):
        contenders.append(pg_dump_to(url, lab.folder / "stock.zst", "zstd -1 -T2 -q"))
    contenders += [pg_dump(url, lab.folder / "stock.sql"), pg_dump_to(url, lab.folder / "stock.gz", "gzip -6")]
    contenders.append(pg_dump_folder(url, lab.folder / "fd"))
    yield from lab.compare(CREATE, megabytes, contenders)
    site = lab.site("middle", BACKUP_COMPRESSION="zstd")
    yield from lab.compare(REPLACE, megabytes, replacing(lab, site, live=True))
    lab.drop("middle", "copy")


def _growth(lab: Lab) -> Iterator[Row]:
    """`create` and replace at a tenth, a third and all of 1.2 GB."""
    for part in (0.1, 1 / 3, 1.0):
        url = lab.database("part")
        build(url, lab.scale * LARGE * part)
        megabytes = round(1240 * lab.scale * LARGE * part)
        contenders = [creation(lab, "part", "zstd"), pg_dump(url, lab.folder / "stock.sql")]
        yield from lab.compare(GROWN_CREATE, megabytes, contenders)
        yield from lab.compare(GROWN_REPLACE, megabytes, replacing(lab, lab.site("part", BACKUP_COMPRESSION="zstd")))
    lab.drop("part", "copy")


def creation(lab: Lab, database: str, codec: str) -> Contender:
    """`create daily`, which replaces the day's earlier backup, so that there is always one; the first is made here."""
    site = lab.site(database, f"{database}-{codec}", BACKUP_COMPRESSION=codec, BACKUP_JOBS=str(lab.jobs))
    contender = site.ours(f"create, {codec}", "create", "daily", makes=site.tree / "daily")
    made(lab, contender)
    return contender


def made(lab: Lab, *contenders: Contender) -> None:
    """Run each once, without measuring."""
    for _ in lab.compare("(made)", 0, contenders, runs=1):
        pass


def replacing(lab: Lab, site: Site, *, live: bool = False) -> Iterator[Contender]:
    """A restore of the database's backup into another, beside psql.

    Args:
        lab: where.
        site: of the database, whose backup is made here; the file stock.sql is its dump by pg_dump.
        live: whether the database itself is replaced too, for which a safety backup is made besides.
    """
    made(lab, site.ours("create", "create"), pg_dump(site.url, lab.folder / "stock.sql"))
    replace = ["restore", "latest-manual", "--mode", "replace", "--confirm"]

    def gone() -> None:
        lab.drop("copy")
        _checkpoint(site.url)

    yield site.ours(PROVEN, *replace, "copy", "--into", "copy", before=gone)
    if live:
        name = site.url.partition("?")[0].rpartition("/")[2]
        yield site.ours(
            "replace of the live database: a safety backup too", *replace, name, before=lambda: _forget_undo(site.url)
        )  # fmt: skip
    yield psql_file(lab.url("copy"), lab.folder / "stock.sql", lambda: lab.database("copy"))


def _checkpoint(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CHECKPOINT")


def _forget_undo(url: str) -> None:
    """Drop the databases that earlier replaces put aside."""
    with psycopg.connect(url, autocommit=True) as connection:
        names = connection.execute("SELECT quote_ident(datname) FROM pg_database WHERE datname ~ '_undo_'").fetchall()
        for (name,) in names:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())
        connection.execute("CHECKPOINT")
