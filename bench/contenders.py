"""What is measured against what. Nobody syncs to disk; all talk to the server over its Unix socket."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from app.embedded.postgres import binaries

CODECS = ("none", "gzip", "zstd")
_TABLES = ("accounts", "assignments")


@dataclass(frozen=True, slots=True)
class Contender:
    """A command, and the file or folder that it makes."""

    name: str
    argv: list[str]
    makes: Path | None = None


def _ours(verb: str, *options: str) -> list[str]:
    return [sys.executable, "-m", "bench.ours", verb, *options]


def _shell(command: str) -> list[str]:
    return ["bash", "-o", "pipefail", "-ec", command]


def dumps(url: str, folder: Path, jobs: int) -> Iterator[Contender]:
    """Every way to dump."""
    for codec in CODECS:
        file = folder / f"ours.{codec}"
        options = ["--codec", codec, "--jobs", str(jobs), "--url", url, "--file", str(file)]
        yield Contender(f"ours, {codec}", _ours("dump", *options), file)
    pg_dump = f"{binaries()}/pg_dump -d '{url}'"
    out = folder / "out"
    yield Contender("pg_dump > file", _shell(f"{pg_dump} > {folder}/stock.sql"), folder / "stock.sql")
    yield Contender("pg_dump | gzip", _shell(f"{pg_dump} | gzip > {out}"), out)
    if shutil.which("zstd"):
        for threads in (2, 0):
            command = f"{pg_dump} | zstd -1 -T{threads} -q -f -o {out}"
            yield Contender(f"pg_dump | zstd -1 -T{threads}", _shell(command), out)
    yield Contender("pg_dump -Fc", _shell(f"{pg_dump} -Fc -f {out}"), out)
    fd = folder / "fd"
    yield Contender(f"pg_dump -Fd -j{jobs}", _shell(f"rm -rf {fd}; {pg_dump} -Fd -j{jobs} -f {fd}"), fd)
    copies = " ".join(f"{binaries()}/psql -qX -d '{url}' -c \"COPY {t} TO '/dev/null'\" &" for t in _TABLES)
    yield Contender(
        "the floor: COPY TO '/dev/null'", _shell(f"{copies} for each in $(jobs -p); do wait $each || exit 1; done")
    )


def read_backs(folder: Path) -> Iterator[Contender]:
    """The read-back of our files."""
    for codec in CODECS:
        argv = _ours("verify", "--codec", codec, "--file", str(folder / f"ours.{codec}"))
        yield Contender(f"read back, {codec}", argv)


def loads(url: str, folder: Path, jobs: int) -> Iterator[Contender]:
    """Every way to load, into the database at `url`."""
    for codec in ("none", "zstd"):
        options = ["--codec", codec, "--jobs", str(jobs), "--url", url, "--file", str(folder / f"ours.{codec}")]
        yield Contender(f"ours, {codec}, with ANALYZE", _ours("load", *options))
    psql = f"{binaries()}/psql -X -q -v ON_ERROR_STOP=1 -d '{url}'"
    yield Contender("psql -f", _shell(f"{psql} -f {folder}/stock.sql > /dev/null"))
    yield Contender("psql -1 -f", _shell(f"{psql} -1 -f {folder}/stock.sql > /dev/null"))
    restore = f"{binaries()}/pg_restore -j{jobs} -d '{url}' {folder}/fd"
    yield Contender(f"pg_restore -j{jobs} of -Fd", _shell(restore))


def replaces(url: str, folder: Path, jobs: int) -> Iterator[Contender]:
    """Making a database what a backup holds: proven and swapped by ours, just loaded by psql."""
    options = ["--codec", "zstd", "--jobs", str(jobs), "--url", url, "--file", str(folder / "ours.zstd")]
    yield Contender("ours, replace with proof", _ours("replace", *options))
    yield next(contender for contender in loads(url, folder, jobs) if contender.name == "psql -f")


def merges(url: str, empty: str, folder: Path, jobs: int) -> Iterator[Contender]:
    """Bringing back a hundredth of the rows of the database at `url`, beside loading them all into an empty one."""
    file = folder / "merged.zstd"
    options = ["--codec", "zstd", "--jobs", str(jobs), "--file", str(file)]
    yield Contender("ours, dump", _ours("dump", *options, "--url", url), file)
    yield Contender("ours, load", _ours("load", *options, "--url", empty))
    yield Contender("ours, merge, 1 % differs", _ours("merge", *options, "--url", url))
