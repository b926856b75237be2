"""Table data as batches: rows of one table each, sent by one COPY.

A segment of an archive of this service is a batch, which the session that sends it reads. The single long COPY block of
another tool's dump is cut at line ends.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain

from app.archive import lexer
from app.archive.index import Segment, TableName
from app.archive.pg_dump import COPY
from app.archive.reader import Archive
from app.archive.scanner import Chunk, SegmentHeader, scan
from app.errors import RestoreValidationError

_BATCH_BYTES = 8 << 20
_WHOLE_BYTES = 32 << 20  # a segment up to here is one batch
SMALL_BYTES = 1 << 20  # a segment up to here is read once, into memory
_NOT_ONE_BLOCK = "this is no archive of ours and no dump of pg_dump: look at it before you load anything from it"


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows of one table for one COPY.

    Attributes:
        copy: the COPY statement.
        columns: that it names; None if it names none.
        blocks: returns the rows.
        alone: whether the rows are read from a stream that later batches are read from too.
        held: number of bytes that it holds in memory.
    """

    table: TableName
    copy: bytes
    columns: tuple[str, ...] | None
    blocks: Callable[[], Iterable[bytes]]
    alone: bool = False
    held: int = 0

    @property
    def name(self) -> bytes:
        """The table as the statement spells it.

        Raises:
            RestoreValidationError: the statement has options, which the lint allows nobody.
        """
        match = COPY.match(self.copy, lexer.statement_start(self.copy, 0))
        if match is None or self.copy[match.end() :].strip() != b";":
            raise RestoreValidationError(f"the rows of table {self.table} follow no plain COPY", _NOT_ONE_BLOCK)
        return b".".join(filter(None, match.groups()[:2]))

    @property
    def statement(self) -> bytes:
        """The COPY statement without the comments before it."""
        return self.copy[lexer.statement_start(self.copy, 0) :].strip()

    def frozen(self) -> Batch:
        """The same rows, written frozen: visible to all transactions."""
        end = self.copy.rindex(b";")
        return replace(self, copy=self.copy[:end] + b" (FREEZE);")


def batches_of_table(archive: Archive, segments: Sequence[Segment]) -> Iterator[Batch]:
    """The batches of segments that can be read one by one.

    Raises:
        RestoreValidationError: a segment is not one COPY block.
        BackupReadError, BackupValidationError: it cannot be read, or differs from the index.
    """
    for segment in segments:
        if segment.raw_bytes <= _WHOLE_BYTES or segment.pages is not None:
            yield _whole(archive, segment)
        else:
            yield from _cut(archive, segment)


def batches_of_stream(archive: Archive, segments: Sequence[Segment]) -> Iterator[Batch]:
    """The batches of segments of a file that can only be read from its beginning, in its order, once.

    Raises:
        RestoreValidationError: a segment is not one COPY block.
        BackupReadError, BackupValidationError: it cannot be read, or differs from the index.
    """
    for segment in archive.in_order(segments):
        yield from _cut(archive, segment)


def _cut(archive: Archive, segment: Segment) -> Iterator[Batch]:
    """The batches of a segment, which are read one after the other."""
    chunks = _one_block(archive, segment)
    empty = Batch(table_of(segment), _first(chunks, segment).data, segment.columns, tuple)
    yield from _block(empty, chunks)
    deque(chunks, maxlen=0)  # at its end its digest is checked


def table_of(segment: Segment) -> TableName:
    """The table of a segment of data."""
    if segment.table is None:
        raise RestoreValidationError(f"a segment of data names no table: {segment}", _NOT_ONE_BLOCK)
    return segment.table


def _one_block(archive: Archive, segment: Segment) -> Iterator[Chunk]:
    """The chunks of a segment that must be one COPY block and nothing else."""
    header: SegmentHeader | None = None
    for chunk in scan(archive.text(segment)):
        header = header or chunk.header
        if chunk.header is not header or header.table is None:
            message = f"{segment} is not one COPY block"
            raise RestoreValidationError(message, _NOT_ONE_BLOCK)
        yield chunk


def _first(chunks: Iterator[Chunk], segment: Segment) -> Chunk:
    first = next(chunks, None)
    if first is None:
        message = f"{segment} is not one COPY block: it is empty"
        raise RestoreValidationError(message, _NOT_ONE_BLOCK)
    return first


def _whole(archive: Archive, segment: Segment) -> Batch:
    """A segment as one batch. What was read of it for its COPY statement is not read again for its rows."""
    begun = [_one_block(archive, segment)]
    copy = _first(begun[0], segment).data
    if segment.raw_bytes <= SMALL_BYTES:
        empty = Batch(table_of(segment), copy, segment.columns, tuple)
        return _held(empty, [chunk.data for chunk in begun.pop() if chunk.rows])

    def rows() -> Iterator[bytes]:
        chunks = begun.pop() if begun else _one_block(archive, segment)
        return (chunk.data for chunk in chunks if chunk.rows)

    return Batch(table_of(segment), copy, segment.columns, rows)


def _block(empty: Batch, chunks: Iterator[Chunk]) -> Iterator[Batch]:
    """The COPY block of a batch without rows, in whole lines. A line longer than a batch is not held in memory."""
    held: list[bytes] = []
    for chunk in chunks:
        if not chunk.rows:
            break
        held.append(chunk.data)
        if sum(map(len, held)) < _BATCH_BYTES:
            continue
        line_end = chunk.data.rfind(b"\n") + 1
        if line_end:
            yield _held(empty, (*held[:-1], chunk.data[:line_end]))
            held = [chunk.data[line_end:]] if line_end < len(chunk.data) else []
        else:
            rest: list[bytes] = []
            yield replace(empty, blocks=partial(chain, held, _to_line_end(chunks, rest)), alone=True)
            held = rest
    if held:
        yield _held(empty, held)


def _held(empty: Batch, blocks: Sequence[bytes]) -> Batch:
    return replace(empty, blocks=partial(tuple, blocks), held=sum(map(len, blocks)))


def _to_line_end(chunks: Iterator[Chunk], rest: list[bytes]) -> Iterator[bytes]:
    """The rest of a line; what follows it in its last chunk is put into `rest`."""
    for chunk in chunks:
        line_end = chunk.data.find(b"\n") + 1
        if line_end:
            yield chunk.data[:line_end]
            if line_end < len(chunk.data):
                rest.append(chunk.data[line_end:])
            return
        yield chunk.data
