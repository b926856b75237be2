"""One dump, one read-back or one load by this project, as a process of its own: ``python -m bench.ours dump …``.

It prints how long the work took without the start of Python.
"""

from __future__ import annotations

import argparse
import io
import json
import time
from pathlib import Path

from app.archive.index import Index
from app.archive.manifest import Manifest
from app.archive.reader import Archive
from app.archive.scanner import scan
from app.archive.verify import verify
from app.archive.writer import ArchiveWriter
from app.domain.backup import Codec
from app.domain.changes import MergeRequest
from app.log import configure_logging
from app.postgres.database import Database
from app.postgres.dump.source import PostgresSource
from app.postgres.load.loader import load
from app.postgres.target import PostgresTarget
from bench.manifests import manifest_of


def main() -> None:
    configure_logging("WARNING", "console")
    parser = argparse.ArgumentParser()
    parser.add_argument("verb", choices=["dump", "verify", "load", "scan", "merge"])
    parser.add_argument("--codec", default="none")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--url", default="")
    parser.add_argument("--file", type=Path, required=True)
    options = parser.parse_args()
    verbs = {"dump": _dump, "verify": _verify, "load": _load, "scan": _scan, "merge": _merge}
    begun = time.monotonic()
    figures = verbs[options.verb](options, Codec(options.codec))
    print(json.dumps({"seconds": time.monotonic() - begun} | figures))


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
    manifest = manifest_of(index, origin="dump", tier="manual", codec=codec, **facts, **times)
    _index_file(options.file).write_text(manifest.model_dump_json())
    return {}


def _verify(options: argparse.Namespace, codec: Codec) -> dict[str, float]:
    with options.file.open("rb") as stream:
        verify(stream, _index(options.file), codec)
    return {}


def _load(options: argparse.Namespace, codec: Codec) -> dict[str, float]:
    archive = _archive(options, codec)
    done = load(Database.from_url(options.url), archive, options.jobs)
    return {str(phase): seconds for phase, seconds in done.seconds.items()}


def _archive(options: argparse.Namespace, codec: Codec) -> Archive:
    return Archive(lambda: options.file.open("rb"), codec, _index(options.file))


def _merge(options: argparse.Namespace, codec: Codec) -> dict[str, float]:
    """A merge of all rows."""
    target = PostgresTarget(Database.from_url(options.url), options.jobs)
    begun = time.monotonic()
    with target.merging(_archive(options, codec), MergeRequest(), lambda _: None) as merging:
        staged = time.monotonic()
        done = merging.apply(io.BytesIO(), lambda _: None)
    ended = time.monotonic()
    rows = {name: done.total(name) for name in ("inserted", "updated", "unchanged")}
    return {"seconds": ended - begun, "stage": staged - begun, "plan and apply": ended - staged} | rows


def _scan(options: argparse.Namespace, _: Codec) -> dict[str, float]:
    begun = time.monotonic()
    with options.file.open("rb") as stream:
        total = sum(len(chunk.data) for chunk in scan(iter(lambda: stream.read(1 << 20), b"")))
    return {"mb_per_second": total / 1e6 / (time.monotonic() - begun)}


if __name__ == "__main__":
    main()
