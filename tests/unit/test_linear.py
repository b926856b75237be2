"""What a stranger wrote is read in a time and a memory that grow as it does: anything quadratic could not end here."""

from __future__ import annotations

import io
import tracemalloc
from collections.abc import Callable

import pytest
import zstandard

from app.archive.codecs import decode
from app.archive.index import SegmentKind
from app.archive.inspect.content import content_of
from app.archive.inspect.grammar import Judge
from app.archive.inspect.lint import lint
from app.archive.inspect.needs import needs_of
from app.archive.inspect.pg_attver import without_pg_attver
from app.archive.inspect.tokens import StringSyntax, UnreadableError, tokens
from app.archive.pg_dump import last_header
from app.archive.reader import Archive, build_index
from app.archive.scanner import Chunk, SegmentHeader
from app.domain.backup import Codec
from app.errors import BackupReadError, RestoreValidationError
from app.log import Redactor
from app.postgres.load.batches import batches_of_stream
from app.postgres.load.entries import entry_header

MANY = 100_000
LAST = b"\n--\n-- PostgreSQL database dump complete\n--\n\n"
IN_LOGS = (
    "://a:",
    "a://a:",
    "x://a:b ",
    "password=",
    "password='",
    "token='\\",
    'secret":"',
    "a",
    "a.b@",
    "postgresql://u:p@",
)


def archive(data: bytes, codec: Codec = Codec.NONE) -> Archive:
    return Archive(lambda: io.BytesIO(data), codec, build_index(io.BytesIO(data), codec))


def nested(depth: int) -> list[object]:
    value: list[object] = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("part", IN_LOGS)
def test_an_argument_of_any_length_is_redacted_and_cut(part: str) -> None:
    event = {"event": "x", "args": [part * MANY], "kwargs": {"y": part * MANY + " postgres://u:hidden@h "}}
    said = Redactor(["s3cr3t"])(None, "", event)
    assert len(str(said)) < 100_000
    assert "hidden" not in str(said)


def test_a_secret_behind_the_end_of_what_is_shown_is_not_cut_in_half() -> None:
    secret = "s3cr3t-" * 10
    text = Redactor([secret])(None, "", {"event": "x" * ((16 << 10) - 5) + secret})["event"]
    assert "s3c" not in text


@pytest.mark.parametrize(
    "value", [nested(5000), ["x"] * 10**6, 10**10_000, {"k" * 10**6: 1}], ids=["deep", "wide", "long", "key"]
)
def test_an_argument_of_any_shape_is_logged_in_bounds(value: object) -> None:
    assert len(str(Redactor()(None, "", {"event": "x", "args": value}))) < 50_000


def test_a_header_may_hold_what_looks_like_many() -> None:
    text = b"-- Name: a" + b"; Type: A; Schema:" * MANY + b"\n"
    assert last_header(text, len(text)) is None
    short = b"-- Name: a" + b"; Type: A; Schema: x" * 2000 + b"; Owner: o\n"
    header = last_header(short, len(short))
    assert header is not None
    assert (header.type, header.schema) == (b"A", b"x")
    many = short * 50
    assert entry_header(many, len(many)) == (b"ENTRY", header.name.decode())


@pytest.mark.parametrize(
    "statement",
    [
        b"CREATE TABLE a /* " + b"".join(b"$a%d$ " % number for number in range(MANY)) + b" */ (b int);\n",
        b"CREATE VIEW a AS SELECT " + b"1 + " * MANY + b"1;\n",
        b"GRANT SELECT ON TABLE a TO b" + b", c" * MANY + b";\n",
        b"ALTER TABLE a ADD CONSTRAINT c CHECK (b <> E'" + b"\\'" * MANY + b"');\n",
        b"-- Name: a; Type: A; Schema: " * MANY + b"\nCREATE TABLE a (b int);\n",
        b"-- Name: a; Type: TABLE; Schema: s; Owner: o\n" * (MANY // 10) + b"CREATE TABLE a (b int);\n",
    ],
    ids=["dollar quotes in a comment", "words", "roles", "escapes", "one header", "headers"],
)
def test_a_dump_is_read_in_one_go(statement: bytes) -> None:
    source = archive(statement + LAST)
    lint(source)
    needs_of(source)
    content_of(source)


@pytest.mark.parametrize("part", [b"$a$b", b"'a''", b'"a""', b"/* /*", b"E'\\''", b"1e", b"a" * 50])
def test_words_that_do_not_end_are_given_up(part: bytes) -> None:
    with pytest.raises(UnreadableError):
        list(tokens(part * MANY + b"'", StringSyntax(standard=True)))


@pytest.mark.parametrize("ends", [b" SET (pg_attver=1; x);", b" SET (" * 9 + b";", b"pg_attver=1"])
def test_what_looks_like_a_mark_is_looked_at_once(ends: bytes) -> None:
    data = b"ALTER TABLE ONLY a" + b" ALTER COLUMN b SET (c=1, " * MANY + ends
    assert [chunk.data for chunk in without_pg_attver([Chunk(SegmentHeader(SegmentKind.AFTER), data)])] == [data]


def peak_of(work: Callable[[], object]) -> float:
    """MiB that were held at once."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1] / (1 << 20)
    finally:
        tracemalloc.stop()


def packed(begins: bytes, mebibytes: int, ends: bytes) -> bytes:
    packer = zstandard.ZstdCompressor(level=19).compressobj()
    blocks = [begins, *[b"x" * (1 << 20)] * mebibytes, ends + LAST]
    return b"".join(packer.compress(block) for block in blocks) + packer.flush()


def test_a_few_bytes_of_zstd_are_not_a_gigabyte_of_memory() -> None:
    data = packed(b"COPY t (a) FROM stdin;\n", 150, b"\n\\.\n")
    assert len(data) < 20_000
    assert peak_of(lambda: sum(len(chunk.data) for chunk in decode([data], Codec.ZSTD))) < 80
    assert peak_of(lambda: archive(data, Codec.ZSTD)) < 90


@pytest.mark.parametrize("begins", [b"-- ", b"/* ", b"COMMENT ON TABLE t IS '", b'CREATE TABLE "'])
def test_what_no_dump_has_so_long_is_refused_early(begins: bytes) -> None:
    data = packed(begins, 100, b"';")

    def read() -> None:
        with pytest.raises(BackupReadError, match="longer than"):
            build_index(io.BytesIO(data), Codec.ZSTD)

    assert peak_of(read) < 250


def test_a_long_row_of_an_insert_is_held_about_twice() -> None:
    data = packed(b"INSERT INTO t VALUES ('", 80, b"');\n")
    source = archive(data, Codec.ZSTD)
    assert peak_of(lambda: lint(source)) < 220


def test_a_name_longer_than_any_is_refused() -> None:
    for name in (b'"' + b"a" * MANY + b'"', b"a" * MANY):
        with pytest.raises((RestoreValidationError, BackupReadError)):
            lint(archive(b"COPY " + name + b" (b) FROM stdin;\n\\.\n" + LAST))
    assert Judge(StringSyntax(standard=True)).judge(b'INSERT INTO "' + b"a" * 900 + b'" VALUES (1);') is None


def test_a_packed_file_in_which_rows_and_sql_alternate_is_unpacked_once() -> None:
    tables = range(10_000)
    table = b"CREATE TABLE a.t%d (x int);\nCOPY a.t%d (x) FROM stdin;\n%d\n\\.\n"
    text = b"".join(table % (number, number, number) for number in tables) + LAST
    source = archive(zstandard.ZstdCompressor().compress(text), Codec.ZSTD)
    assert not source.seekable
    assert b"".join(block for _, run in source.runs() for block in source.joined(run)) == text
    data = [segment for segment in source.index.segments if segment.table]
    batches = batches_of_stream(source, data[::-1])  # in the file's order all the same
    assert b"".join(block for batch in batches for block in batch.blocks()) == b"".join(
        b"%d\n" % each for each in tables
    )


def test_a_part_that_was_passed_is_read_again_from_the_beginning() -> None:
    text = b"".join(b"COPY t%d (x) FROM stdin;\n%d\n\\.\n" % (number, number) for number in range(5)) + LAST
    source = archive(zstandard.ZstdCompressor().compress(text), Codec.ZSTD)
    forth = [b"".join(source.text(segment)) for segment in source.index.segments]
    back = [b"".join(source.text(segment)) for segment in source.index.segments[::-1]]
    assert forth == back[::-1]
    assert b"".join(forth) == text
    first, last = source.text(source.index.segments[0]), source.text(source.index.segments[-1])
    assert (next(last), next(first)) == (forth[-1], forth[0])
    last.close()
    assert [b"".join(source.text(segment)) for segment in source.index.segments] == forth
