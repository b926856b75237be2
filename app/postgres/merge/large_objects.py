"""What a merge says of large objects: it does not add them, and nothing of theirs is run."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from app.archive import lexer
from app.archive.index import SegmentKind
from app.archive.pg_dump import LO_OPEN
from app.archive.reader import Archive
from app.archive.scanner import scan
from app.domain.changes import MergeRequest
from app.postgres.merge.session import MergeSession

LOOKED_AT_BYTES = 256 << 20  # of the large objects' text: a backup may hold many gigabytes of it
_AT_ONCE = 5000
_OIDS = range(1, 1 << 32)
_MISSING = """
    SELECT pg_catalog.count(*) FROM pg_catalog.unnest('{{{}}}'::pg_catalog.oid[]) o WHERE NOT EXISTS (
        SELECT FROM pg_catalog.pg_largeobject_metadata m WHERE m.oid OPERATOR(pg_catalog.=) o)"""


def notes_on_large_objects(session: MergeSession, archive: Archive, request: MergeRequest) -> Iterator[str]:
    """A note on large objects that the live database lacks. It takes one pass, and the server compares."""
    if request.tables:
        return
    segments = [segment for segment in archive.index.segments if segment.kind is SegmentKind.LARGE_OBJECTS]
    oids = (oid for oid in _oids(archive.joined(segments)) if oid in _OIDS)
    missing = 0
    while part := list(islice(oids, _AT_ONCE)):
        missing += session.query(_MISSING.format(",".join(map(str, part))), "large objects")[0][0]
    size = sum(segment.raw_bytes for segment in segments)
    least = "at least " if size > LOOKED_AT_BYTES else ""
    if missing:
        yield f"{least}{missing} large objects of the backup are not in the live database; a merge does not add them"
    elif least:
        yield f"large objects were compared in the first {LOOKED_AT_BYTES >> 20} MiB of their text; none is missing"


def _oids(text: Iterator[bytes]) -> Iterator[int]:
    """The oids of the objects that are written in a text, up to a length. pg_dump writes each, also an empty one."""
    looked_at = 0
    for chunk in scan(text):
        if chunk.objects:
            yield from map(int, LO_OPEN.findall(chunk.data))
        elif opened := LO_OPEN.match(chunk.data, lexer.start_of(chunk.data)):
            yield int(opened[1])
        looked_at += len(chunk.data)
        if looked_at > LOOKED_AT_BYTES:
            return
