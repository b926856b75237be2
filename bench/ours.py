"""One dump, one read-back or one load by this project, as a process of its own: ``python -m bench.ours dump …``.

It prints how long the work took without the start of Python: the service's workers run all day.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from app.archive import reader
from app.archive.index import Index
from app.archive.manifest import Manifest
from app.archive.reader import Archive
from app.archive.scanner import scan
from app.archive.writer import ArchiveWriter
from app.domain.backup import Codec
from app.log import configure_logging
from app.postgres.database import Database
from app.postgres.dump import PostgresSource
from app.postgres.load import load


def main() -> None:
    configure_logging("WARNING", "console")
    parser = argparse.ArgumentParser()
    parser.add_argument("verb", choices=["dump", "verify", "load", "scan"])
    parser.add_argument("--codec", default="none")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--url", default="")
    parser.add_argument("--file", type=Path, required=True)
    options = parser.parse_args()
    verbs = {"dump": _dump, "verify": _verify, "load": _load, "scan": _scan}
    begun = time.monotonic()
    said = verbs[options.verb](options, Codec(options.codec))
    print(json.dumps({"seconds": time.monotonic() - begun} | said))


def _index_file(file: Path) -> Path:
    return file.with_name(file.name + ".index")


def _index(file: Path) -> Index:
    return Manifest.model_validate_json(_index_file(file).read_text()).index


def _dump(options: argparse.Namespace, codec: Codec) -> dict[str, float]:
    source = PostgresSource(Database.from_url(options.url), options.jobs)
    with options.file.open("wb") as stream, source.snapshot() as snapshot:
        writer = ArchiveWriter(stream, codec)
        snapshot.dump_into(writer)
        index = writer.finish()
    facts = dict.fromkeys(("tool", "database", "period"), "-")
    times = dict.fromkeys(("snapshot_time", "verified_at"), snapshot.taken_at)
    manifest = Manifest.of(index, origin="dump", tier="manual", codec=codec, **facts, **times)
    _index_file(options.file).write_text(manifest.model_dump_json())
    return {}


def _verify(options: argparse.Namespace, codec: Codec) -> dict[str, float]:
    with options.file.open("rb") as stream:
        reader.verify(stream, _index(options.file), codec)
    return {}


def _load(options: argparse.Namespace, codec: Codec) -> dict[str, float]:
    archive = Archive(lambda: options.file.open("rb"), codec, _index(options.file))
    done = load(Database.from_url(options.url), archive, options.jobs)
    return {str(phase): seconds for phase, seconds in done.seconds.items()}


def _scan(options: argparse.Namespace, _: Codec) -> dict[str, float]:
    begun = time.monotonic()
    with options.file.open("rb") as stream:
        total = sum(len(piece.data) for piece in scan(iter(lambda: stream.read(1 << 20), b"")))
    return {"mb_per_second": total / 1e6 / (time.monotonic() - begun)}


if __name__ == "__main__":
    main()
