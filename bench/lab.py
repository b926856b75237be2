"""The place where commands are measured side by side, and the shape of what a module of the bench brings.

A module brings ``rows(lab)``, which yields a `Row` for each run of each contender, and ``TARGETS``, which says what
must be reached::

    GROUP = "large objects"
    TARGETS = (
        Target("`create`, 200,000 large objects, vs `pg_dump`", GROUP, "create", "pg_dump > file", figure="cpu",
               least=1.5, aim=1.1),
    )

    def rows(lab: Lab) -> Iterator[Row]:
        for count in lab.sizes(2_000, 20_000, 200_000):
            url = lab.database("objects")
            fill(url, count)
            site = lab.site("objects")
            stock = pg_dump(url, lab.folder / "stock.sql")
            yield from lab.compare(GROUP, count, [site.ours("create", "create"), stock])

``bench/run.py`` names the module in `QUICK` (``make bench``) or `SCALE` (``make bench-scale``).
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

import psycopg

from app.embedded.postgres import EmbeddedPostgres, binaries
from bench.measure import Cost, measured

Figure = Literal["wall", "client_cpu", "server_cpu", "cpu", "memory_mb", "backend_mb", "read_mb", "file_mb"]
How = Literal["times", "faster", "more", "value"]


@dataclass(frozen=True, slots=True)
class Contender:
    """A command.

    Attributes:
        name: in the tables; the name of a peer is its command.
        argv: program and arguments; it exits with 0, or with 3 (done, with warnings).
        env: its environment; None for that of this process.
        makes: the file or folder that it makes, whose size is told.
        before: what is done before each run of it, and not measured.
        ours: whether it is this project's, whose memory is bounded.
    """

    name: str
    argv: list[str]
    env: Mapping[str, str] | None = None
    makes: Path | None = None
    before: Callable[[], object] | None = None
    ours: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What one run of one contender cost.

    Attributes:
        group: the table that it stands in.
        size: what grows: how many tables, backups, megabytes; 0 if nothing does.
        what: the contender's name.
        cost: of the run.
        file_mb: size of what it made.
        ours: whether the contender is this project's.
    """

    group: str
    size: float
    what: str
    cost: Cost
    file_mb: float = 0.0
    ours: bool = False

    def figure(self, name: str) -> float:
        """One figure of it."""
        return float(self.file_mb if name == "file_mb" else getattr(self.cost, name))

    def to_json(self) -> dict[str, Any]:
        """For the file of results."""
        cost = {name: round(value, 3) for name, value in asdict(self.cost).items() if name != "said"}
        return {"size": self.size, "what": self.what, "ours": self.ours, "file_mb": round(self.file_mb, 3), **cost}

    @classmethod
    def from_json(cls, group: str, kept: Mapping[str, Any]) -> Row:
        """What `to_json` gave."""
        cost = Cost(**{entry.name: kept[entry.name] for entry in fields(Cost) if entry.name != "said"}, said="")
        own = {name: kept[name] for name in ("size", "what", "ours", "file_mb")}
        return cls(group=group, cost=cost, **own)


@dataclass(frozen=True, slots=True)
class Target:
    """What must be reached: a figure of one contender, beside a peer or beside itself at another size.

    Attributes:
        what: in words.
        group: of the rows.
        ours: the contender.
        peer: the other contender; None for the same one.
        figure: what is compared, medians of the runs.
        how: ``times`` (ours is at most so many times the peer's), ``faster`` (the peer's is at least so many times
            ours), ``more`` (ours is at most so much more), ``value`` (ours is at most so much, without a peer).
        least, aim: at least, and the aim.
        size, peer_size: which size, counted from the smallest as in a list.
    """

    what: str
    group: str
    ours: str
    peer: str | None = None
    figure: Figure = "wall"
    how: How = "times"
    least: float | None = None
    aim: float | None = None
    size: int = -1
    peer_size: int = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A database with a folder of backups: where whole commands of ours are run."""

    url: str
    folder: Path
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def tree(self) -> Path:
        """BACKUP_DIR."""
        return self.folder / "backups"

    @property
    def env(self) -> dict[str, str]:
        """The environment of its commands."""
        return clean_environment() | {
            "DATABASE_URL": self.url,
            "BACKUP_DIR": str(self.tree),
            "BACKUP_STATE_DIR": str(self.folder / "state"),
            **self.settings,
        }

    def ours(
        self, name: str, *arguments: str, makes: Path | None = None, before: Callable[[], object] | None = None
    ) -> Contender:
        """A whole command of ours: its name in the tables, and its arguments."""
        return Contender(name, [PROGRAM, *arguments], self.env, makes, before, ours=True)

    def forget(self) -> None:
        """Remove all backups, the catalog, and what is remembered of the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)


PROGRAM = str(Path(sys.executable).with_name("residency-backup"))


def clean_environment() -> dict[str, str]:
    """This process's environment without settings; Python keeps what it compiled, as an installed program does."""
    unwanted = ("BACKUP_", "RESTORE_", "DATABASE_", "POSTGRES_", "LOG_", "PYTHONDONTWRITEBYTECODE")
    return {name: value for name, value in os.environ.items() if not name.startswith(unwanted)}


def shell(command: str) -> list[str]:
    """A command for bash, which ends at the first error."""
    return ["bash", "-o", "pipefail", "-ec", command]


def pg_dump(url: str, file: Path) -> Contender:
    """The server's own pg_dump into a file, without a sync."""
    return Contender("pg_dump > file", shell(f"{binaries()}/pg_dump -d '{url}' > {file}"), makes=file)


def psql_file(url: str, file: Path, before: Callable[[], object]) -> Contender:
    """The server's own psql, which runs a dump; `before` makes the database anew."""
    command = f"{binaries()}/psql -X -q -v ON_ERROR_STOP=1 -d '{url}' -f {file} > /dev/null"
    return Contender("psql -f", shell(command), before=before)


class Lab:
    """A server of its own, a folder for what is made, and how often each contender is run.

    Attributes:
        server: PostgreSQL with fsync and checksums as shipped, reached over its Unix socket.
        folder: for what is made.
        jobs: connections of a parallel contender.
        runs: how often each contender is run.
        scale: what the sizes are multiplied with.
    """

    def __init__(self, server: EmbeddedPostgres, folder: Path, *, jobs: int, runs: int, scale: float) -> None:
        self.server = server
        self.folder = folder
        self.jobs = jobs
        self.runs = runs
        self.scale = scale

    def sizes(self, *at_scale_one: int) -> list[int]:
        """Numbers of things, at this scale; two at least, because some come in pairs."""
        return [max(2, round(size * self.scale)) for size in at_scale_one]

    def url(self, database: str) -> str:
        """Of a database, over the Unix socket."""
        host = f"host={self.server.socket_folder}&port={self.server.port}"
        return f"postgresql://postgres:{self.server.password}@/{database}?{host}"

    def database(self, name: str, template: str = "template0") -> str:
        """Make a database anew and return its URL. With a template it is a copy of that."""
        with psycopg.connect(self.server.url(), autocommit=True) as connection:
            connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)".encode())
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}".encode())
            connection.execute("CHECKPOINT")
        return self.url(name)

    def drop(self, *names: str) -> None:
        """Drop databases that are no longer wanted."""
        with psycopg.connect(self.server.url(), autocommit=True) as connection:
            for name in names:
                connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)".encode())

    def site(self, database: str, name: str | None = None, **settings: str) -> Site:
        """A site for a database, without backups; `settings` as in ``BACKUP_COMPRESSION="zstd"``."""
        site = Site(url=self.url(database), folder=self.folder / f"site-{name or database}", settings=settings)
        site.forget()
        return site

    def compare(
        self, group: str, size: float, contenders: Iterable[Contender], *, runs: int | None = None
    ) -> Iterator[Row]:
        """Run each contender once a round, so that what slows the machine slows all alike."""
        listed = list(contenders)
        for number in range(runs or self.runs):
            for contender in listed:
                if contender.before:
                    contender.before()
                env = contender.env if contender.env is not None else clean_environment()
                cost = measured(contender.argv, env, self.server.pid or None)
                print(f"{group} {size:g} #{number + 1}: {contender.name}: {cost.wall:.2f} s", flush=True)
                yield Row(
                    group=group, size=size, what=contender.name, cost=cost, file_mb=size_of(contender.makes),
                    ours=contender.ours,
                )  # fmt: skip


def size_of(path: Path | None) -> float:
    """Megabytes of a file or of a folder's files; 0 for None and for what is not there."""
    if path is None or not path.exists():
        return 0.0
    files = [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files) / 1e6
