r"""Statements about large objects are read in runs, and are what they are if they are read one by one."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.archive import large_objects, scanner
from app.archive.inspect.content import Content, content_of
from app.archive.inspect.large_objects import LargeObjects
from app.archive.inspect.lint import lint
from app.archive.inspect.needs import needs_of
from app.archive.reader import Archive, build_index
from app.archive.scanner import Chunk, scan
from app.domain.backup import Codec
from app.errors import RestoreValidationError
from tests.unit.archive.test_scanner import Found, segments

T = TypeVar("T")
BEGINS = (
    b"--\n-- PostgreSQL database dump\n--\n\nSET standard_conforming_strings = on;\n\nCREATE TABLE a (b int);\n\n\n"
)
ENDS = b"--\n-- PostgreSQL database dump complete\n--\n\n"
COPY = b"COPY public.a (b) FROM stdin;\n1\n\\.\n\n\n"
HEADER = b"--\n-- %bName: %b; Type: %b; Schema: -; Owner: %b\n--\n\n"
CREATE = b"SELECT pg_catalog.lo_create('%d');\n"
OWNER = b"ALTER LARGE OBJECT %d OWNER TO %b;\n"
WRITE = b"SELECT pg_catalog.lowrite(0, '\\x%b');\n"
ROLES = (b"me", b'"a role"', '"größe"'.encode())
OBJECTS = {oid: bytes([oid % 256]) * (oid % 7) for oid in range(16400, 16600)}
LONG = 16450
PARTS = (b"a" * 16384, b"b" * 16384, b"c")


def role_of(oid: int) -> bytes:
    return ROLES[2] if oid % 50 == 1 else ROLES[oid // 40 % 2]


def data_of(oids: range) -> bytes:
    """What dumpLOs writes."""
    text = b"BEGIN;\n\n"
    for oid in oids:
        parts = PARTS if oid == LONG else filter(None, [OBJECTS[oid]])
        written = b"".join(WRITE % part.hex().encode() for part in parts)
        text += b"SELECT pg_catalog.lo_open('%d', 131072);\n%bSELECT pg_catalog.lo_close(0);\n\n" % (oid, written)
    return text + b"COMMIT;\n\n"


def by_16() -> bytes:
    """As pg_dump up to 16 writes it."""
    text = BEGINS
    for oid in OBJECTS:
        role = role_of(oid)
        text += HEADER % (b"", b"%d" % oid, b"BLOB", role.strip(b'"'))
        text += CREATE % oid + b"\n\n" + OWNER % (oid, role) + b"\n"
        if oid % 50 == 0:
            text += HEADER % (b"", b"LARGE OBJECT %d" % oid, b"COMMENT", b"me")
            text += b"COMMENT ON LARGE OBJECT %d IS 'SELECT pg_catalog.lo_create(''1'');\n\\! id';\n\n\n" % oid
    text += COPY + HEADER % (b"Data for ", b"BLOBS", b"BLOBS", b"-")
    return text + data_of(range(16400, 16600)) + ENDS


def by_17() -> bytes:
    """As pg_dump from 17 on writes it: large objects of one owner and the same rights in groups."""
    text = BEGINS + COPY
    for first in range(16400, 16600, 40):
        group, role = range(first, first + 40), role_of(first)
        name = b"%d..%d" % (group[0], group[-1])
        text += HEADER % (b"", name, b"BLOB METADATA", role.strip(b'"'))
        text += b"".join(CREATE % oid for oid in group) + b"\n"
        text += b"".join(OWNER % (oid, role_of(oid)) for oid in group) + b"\n"
        text += HEADER % (b"Data for ", name, b"BLOBS", role.strip(b'"')) + data_of(group)
    return text + ENDS


DUMPS = {"16": by_16(), "17": by_17()}


def blocks(text: bytes, size: int) -> Iterator[bytes]:
    return (text[at : at + size] for at in range(0, len(text), size))


def archive(text: bytes) -> Archive:
    return Archive(lambda: io.BytesIO(text), Codec.NONE, build_index(io.BytesIO(text), Codec.NONE))


def content(text: bytes, size: int = 1 << 20) -> Content:
    found = Content()
    found.add(scan(blocks(text, size)))
    found.finish()
    return found


def one_by_one(read: Callable[[], T]) -> T:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(large_objects, "end_of_run", lambda text, at, limit, headers: at)  # noqa: ARG005
        return read()


@pytest.fixture(params=DUMPS)
def dump(request: pytest.FixtureRequest) -> bytes:
    return DUMPS[request.param]


@pytest.mark.parametrize("size", [1, 7, 100, 1000, 4096, 1 << 20])
def test_every_block_size_gives_the_segments_that_single_statements_give(dump: bytes, size: int) -> None:
    def cut() -> list[Found]:
        return segments(scan(blocks(dump, size)))

    assert cut() == one_by_one(cut)


@pytest.mark.parametrize("size", [64, 1 << 20])
def test_a_run_says_what_its_statements_say(dump: bytes, size: int) -> None:
    runs, statements = content(dump, size), one_by_one(lambda: content(dump, size))
    expected = {**OBJECTS, LONG: b"".join(PARTS)}
    assert len(list(runs.large_objects.digests())) == len(expected)
    assert runs.large_objects.differences(statements.large_objects) == ([], 0)
    assert runs.large_objects.differing_owners(statements.large_objects) == 0
    assert len(list(runs.large_objects.owners())) == len(expected)
    assert runs.entries == statements.entries
    assert needs_of(archive(dump)).owners == {"me", "a role", "größe"} == needs_of(archive(dump)).roles
    assert lint(archive(dump)) == []


def test_a_dump_of_many_objects_is_few_chunks(dump: bytes) -> None:
    chunks = list(scan([dump]))
    single = [chunk for chunk in chunks if not chunk.objects]
    assert len(chunks) < 0.3 * one_by_one(lambda: sum(1 for _ in scan([dump])))
    # What is left for the lexer: the first of each group, roles that are not ASCII, one long object, comments.
    assert sum(b"lo_" in chunk.data for chunk in single) <= 20
    assert b"".join(chunk.data for chunk in chunks) == dump


def test_a_long_run_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scanner, "_RUN_BYTES", 1000)
    sizes = [len(chunk.data) for chunk in scan([DUMPS["17"]]) if chunk.objects]
    assert max(sizes) < 20_000
    assert len(sizes) > 10


# What somebody may hide between statements about large objects; what the lint says of it.
HIDDEN = {
    b"\\! id": "a psql command",
    b"SELECT pg_catalog.lo_create('1'); \\! id": "a psql command",
    b"SELECT pg_catalog.lo_create('1'); DROP ROLE me;": "a statement",
    b"SELECT pg_catalog.lo_import('/etc/passwd');": "a statement",
    b"SELECT pg_catalog.lo_create('1') FROM pg_catalog.pg_authid;": "a statement",
    b"SELECT pg_catalog.lowrite(0, '\\x41' || pg_catalog.pg_read_file('x'));": "a statement",
    b"SELECT pg_catalog.lowrite(0, '\\x41'); SELECT pg_catalog.pg_read_file('x');": "a statement",
    b'ALTER LARGE OBJECT 1 OWNER TO "a"; \\! id\n;': "a psql command",
    b"ALTER LARGE OBJECT 1 OWNER TO a, b; DROP ROLE me;": "an ALTER",
    b"--\n-- Name: 1; Type: BLOB; Schema: -; Owner: a\r\\! id\n--\n\nSELECT pg_catalog.lo_close(0);": "a psql command",
    b"--\n-- Name: 1; Type: BLOB; Schema: -; Owner: a\n--\n\nDROP ROLE me;": "a statement",
    b"SELECT pg_catalog.lo_open('1', 131072);\n\\! id\nSELECT pg_catalog.lo_close(0);": "a psql command",
}


@pytest.mark.parametrize("hidden", HIDDEN)
@pytest.mark.parametrize("place", [16410, 16499])
def test_nothing_hides_among_large_objects(dump: bytes, hidden: bytes, place: int) -> None:
    for statement in (CREATE % place, OWNER % (place, ROLES[1]), b"SELECT pg_catalog.lo_open('%d', 131072);\n" % place):
        at = dump.find(statement)
        if at < 0:
            continue
        text = dump[:at] + hidden + b"\n" + dump[at:]
        line = dump.count(b"\n", 0, at) + 1
        with pytest.raises(RestoreValidationError) as refused:
            lint(archive(text))
        assert HIDDEN[hidden] in refused.value.message
        assert line <= int(refused.value.message.split(":")[0].removeprefix("line ")) <= line + 5


PIECES = [
    *(CREATE % 1, OWNER % (1, b"me"), OWNER % (2, b'"a b"'), OWNER % (2, b'"a;b"'), WRITE % b"41", WRITE % b"4'1"),
    *(b"SELECT pg_catalog.lo_open('1', 131072);\n", b"SELECT pg_catalog.lo_close(0);\n", b"\n", b" ", b"--\n"),
    *(HEADER % (b"", b"1", b"BLOB", b"me"), HEADER % (b"", b"1..2", b"BLOB METADATA", b"me"), b"/*", b"*/", b"'"),
    *(HEADER % (b"Data for ", b"BLOBS", b"BLOBS", b"-"), b"BEGIN;\n", b"COMMIT;\n", COPY, b";", b"\r\n", b"\r", b"\\x"),
    *(HEADER % (b"", b"i", b"INDEX", b"me"), b"CREATE INDEX i ON a (b);\n", b"SELECT pg_catalog.lo_open(1, 2);\n"),
]


@given(st.lists(st.sampled_from(PIECES), max_size=30), st.integers(1, 300))
def test_any_text_has_the_segments_that_single_statements_give(pieces: list[bytes], size: int) -> None:
    text = BEGINS + b"".join(pieces) + ENDS

    def cut() -> object:
        try:
            return segments(scan(blocks(text, size)))
        except Exception as error:  # noqa: BLE001 -- whatever it is, it must be the same
            return repr(error)

    assert cut() == one_by_one(cut)


@given(st.lists(st.sampled_from(PIECES), max_size=30))
def test_any_text_that_passes_the_lint_in_runs_passes_it_statement_by_statement(pieces: list[bytes]) -> None:
    text = BEGINS + b"".join(pieces) + ENDS

    def verdict() -> object:
        try:
            return lint(archive(text))
        except Exception as error:  # noqa: BLE001 -- whatever it is, it must be the same
            return repr(error)

    assert verdict() == one_by_one(verdict)


def test_the_statements_of_a_run_are_those_of_the_lexer() -> None:
    def run(chunk: Chunk) -> list[bytes]:
        return large_objects.statements_of(chunk.data)

    text = DUMPS["16"]
    runs = [statement for chunk in scan([text]) if chunk.objects for statement in run(chunk)]
    assert len(runs) > len(OBJECTS)
    singles = one_by_one(lambda: {chunk.data.rpartition(b"--\n\n")[2].strip() for chunk in scan([text])})
    assert set(runs) <= singles


def test_what_differs_in_large_objects_is_named() -> None:
    one, other = LargeObjects(), LargeObjects()
    for objects in (one, other):
        objects.add(1, b"a")
        objects.add(2, b"b")
        objects.take(b"ALTER LARGE OBJECT 1 OWNER TO me;")
    assert one.differences(other) == ([], 0)
    assert one.differing_owners(other) == 0
    other.add(4, b"d")
    one.add(2, b"c")  # once more: the last one counts
    one.add(3, b"c")
    other.take(b'ALTER LARGE OBJECT 1 OWNER TO "you";')
    assert one.differences(other) == (["large object 2 differs", "large object 3 is missing"], 1)
    assert one.differing_owners(other) == 1


def test_the_order_of_objects_and_quotes_of_roles_do_not_matter() -> None:
    one, other = LargeObjects(), LargeObjects()
    one.add(1, b"a")
    one.add(2, b"b")
    one.take(b"ALTER LARGE OBJECT 1 OWNER TO me;")
    other.add(2, b"b")
    other.add(1, b"a")
    other.take(b'ALTER LARGE OBJECT 1 OWNER TO "me";')
    assert one.differences(other) == ([], 0)
    assert one.differing_owners(other) == 0


def test_an_odd_number_of_digits_is_no_error_of_ours(dump: bytes) -> None:
    text = dump.replace(WRITE % OBJECTS[16402].hex().encode(), WRITE % b"123", 1)
    assert content_of(archive(text)).large_objects.differences(content(dump).large_objects)[0] != []


def test_what_a_merge_does_not_run_is_linted_before_a_replace(dump: bytes) -> None:
    at = dump.find(b"SELECT pg_catalog.lo_open('16410'")
    found = archive(dump[:at] + b"\\! id\n" + dump[at:])
    assert lint(found, rows=False) == []
    with pytest.raises(RestoreValidationError, match="a psql command"):
        lint(found)
