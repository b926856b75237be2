r"""The scanner against nasty dumps: what it cuts out is the data, and nothing but the data."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.archive.index import SegmentKind, TableName
from app.archive.scanner import Chunk, SegmentHeader, scan
from app.errors import BackupReadError


@dataclass(frozen=True)
class Found:
    """A segment as the pieces show it, wherever they were cut."""

    kind: SegmentKind
    table: TableName | None
    columns: tuple[str, ...] | None
    text: bytes
    rows: bytes


def segments(chunks: Iterator[Chunk]) -> list[Found]:
    found: list[tuple[SegmentHeader, list[Chunk]]] = []
    for chunk in chunks:
        assert chunk.data, "an empty piece"
        if not found or found[-1][0] is not chunk.header:
            found.append((chunk.header, []))
        found[-1][1].append(chunk)
    return [
        Found(
            header.kind,
            header.table,
            header.columns,
            b"".join(chunk.data for chunk in parts),
            b"".join(chunk.data for chunk in parts if chunk.rows),
        )
        for header, parts in found
    ]


def scanned(text: bytes, size: int = 1 << 20) -> list[Found]:
    found = segments(scan(text[at : at + size] for at in range(0, len(text), size)))
    assert b"".join(each.text for each in found) == text
    return found


def tables(text: bytes) -> dict[str, bytes]:
    """The rows of each table; no table may stand there twice."""
    data = [each for each in scanned(text) if each.table is not None]
    assert len({each.table for each in data}) == len(data)
    return {str(each.table): each.rows for each in data}


FAKE = "COPY fake (a) FROM stdin;\n1\n\\.\n"
STATEMENTS = [
    "SELECT 1;",
    "",
    "-- a comment; with 'one quote\n",
    "/* a comment /* in a comment */ it's;\n" + FAKE + "*/",
    "-- COPY fake (a) FROM stdin;\n-- 1\n-- \\.\n",
    "\\restrict aBc123",
    "\\connect other",
    "\\unrestrict aBc123",
    f"COMMENT ON TABLE t IS '{FAKE}';",
    f"COMMENT ON TABLE t IS 'it''s\n{FAKE}';",
    f"COMMENT ON TABLE t IS E'it\\'s;\n{FAKE}\\\\';",
    f"SELECT U&'\\0041\\';\nSELECT '{FAKE}';",
    f'SELECT U&"d\\0061t;a" AS "a;\n{FAKE}""b";',
    f'CREATE TABLE "semi;colon" ("new\n{FAKE}line" text);',
    f"CREATE FUNCTION f() RETURNS void LANGUAGE sql AS $$\n{FAKE}$$;",
    f"CREATE FUNCTION f(int) RETURNS void LANGUAGE plpgsql AS $_$BEGIN PERFORM $1; END;\n{FAKE}$_$;",
    f"DO $a$ $$ ;\n{FAKE}$$ $b$ $a$;",
    "CREATE FUNCTION f() RETURNS int LANGUAGE sql\nBEGIN ATOMIC\n SELECT 1;\n SELECT ';';\n SELECT 2;\nEND;",
    "CREATE FUNCTION f() RETURNS int LANGUAGE sql BEGIN ATOMIC\n SELECT CASE WHEN $1 THEN 1 ELSE 2 END;\nEND;",
    "CREATE RULE r AS ON INSERT TO t DO ALSO (SELECT 1;\nSELECT 2;);",
    "PREPARE p AS SELECT $1, $2, a$1$b, c$$d;",
    "CREATE OPERATOR public.-|- (FUNCTION = f, LEFTARG = int);",
    "SELECT 1 -1 - -1 / 2 /* ; */ ; SELECT 2;SELECT 3;   ;;",
    "COPY (SELECT 1) TO STDOUT;",
    "COPY t TO stdout;",
    "COPY t (a) FROM '/etc/stdin';",
    'COPY t ("a) FROM stdin") TO STDOUT;',
    'COPY "FROM stdin" TO STDOUT;',
    "SELECT 'COPY t FROM stdin;';",
    "COPYRIGHT t FROM stdin;",
    "SELECT 1; -- trailing 'comment",
    "CREATE TABLE copy (stdin text);",
    "--\n-- Name: x; Type: TABLE; Schema: public; Owner: -\n--\n\nCREATE TABLE x();",
]
ROWS = [
    b"",
    b"\n",
    b"\n\n\n",
    b"1\ttext\n",
    b"\\\\.\n",
    b"a\\\\.\n",
    b"\\\\.\\\\.\n\\\\.\t\\N\n",
    b'it\'s "quoted" $$ /* -- \n',
    b"COPY fake (a) FROM stdin;\n",
    b"--\n-- Name: x; Type: SEQUENCE SET; Schema: public; Owner: -\n--\n",
    b"\\N\n\\r\\n\\t\n",
    b"\\.x\n\\..\n \\.\n\\. \n",
]
HEADS = [
    (b"COPY public.t (a, b) FROM stdin;\n", TableName("public", "t"), ("a", "b")),
    (b"COPY t FROM stdin;\n", TableName("", "t"), None),
    (b"COPY public.t  FROM stdin;\n", TableName("public", "t"), None),
    (b"COPY public.t () FROM stdin;\n", TableName("public", "t"), ()),
    (b"copy Public.T (A) from STDIN;\n", TableName("public", "t"), ("a",)),
    (b'COPY "Up"."a b" ("c,d", "e)f", "g""h") FROM stdin;\n', TableName("Up", "a b"), ("c,d", "e)f", 'g"h')),
    (b'COPY "a.b"."c;d" ("FROM stdin;") FROM stdin;\n', TableName("a.b", "c;d"), ("FROM stdin;",)),
    (b'COPY public."new\nline" ("x\ny") FROM stdin;\n', TableName("public", "new\nline"), ("x\ny",)),
    ("COPY öffentlich.tür (größe) FROM stdin;\n".encode(), TableName("öffentlich", "tür"), ("größe",)),
    (b"COPY t (a) FROM stdin WITH (FORMAT text);\n", TableName("", "t"), ("a",)),
    (b"COPY a$1$b.c$$d (e$) FROM stdin;   \n", TableName("a$1$b", "c$$d"), ("e$",)),
]


@pytest.mark.parametrize(("header", "table", "columns"), HEADS)
def test_a_table_is_named_as_the_server_spells_it(
    header: bytes, table: TableName, columns: tuple[str, ...] | None
) -> None:
    (found,) = scanned(header + b"1\n\\.\n")
    assert (found.kind, found.table, found.columns, found.rows) == (SegmentKind.DATA, table, columns, b"1\n")


@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("end", [b"\\.\n", b"\\.\r\n"])
def test_rows_are_all_that_stands_before_the_end_line(rows: bytes, end: bytes) -> None:
    text = b"COPY public.t (a) FROM stdin;\n" + rows + end + b"\n\nSELECT 1;\n"
    for size in (1, 2, 3, 5, 1000):
        found = scanned(text, size)
        assert [each.rows for each in found] == [rows, b""]
        assert found[1].text == b"\n\nSELECT 1;\n"


@pytest.mark.parametrize("statement", STATEMENTS)
def test_what_only_looks_like_data_is_none(statement: str) -> None:
    text = f"SET a = 1;\n{statement}\nCOPY real (a) FROM stdin;\nrow\n\\.\n{statement}\nSELECT 2;\n"
    assert tables(text.encode()) == {"real": b"row\n"}


@pytest.mark.parametrize("statement", STATEMENTS)
def test_with_windows_line_ends_the_same_is_found(statement: str) -> None:
    text = f"SET a = 1;\n{statement}\nCOPY real (a) FROM stdin;\nrow\n\\.\n{statement}\nSELECT 2;\n"
    assert tables(text.replace("\n", "\r\n").encode()) == {"real": b"row\r\n"}


def nasty_dump() -> bytes:
    parts = [b"--\n-- PostgreSQL database dump\n--\n\n\\restrict aBc\n\nSET client_encoding = 'UTF8';\n"]
    for number, statement in enumerate(STATEMENTS):
        parts.append(statement.encode() + b"\n")
        rows = ROWS[number % len(ROWS)]
        parts.append(b'COPY public."t %d" (a) FROM stdin;\n%s\\.\n\n' % (number, rows))
    parts.append(b"--\n-- Name: s; Type: SEQUENCE SET; Schema: public; Owner: -\n--\n\nSELECT setval('s', 1);\n\n")
    parts.append(
        b"--\n-- Name: BLOBS; Type: BLOBS; Schema: -; Owner: -\n--\n\nBEGIN;\nSELECT lo_open(1, 2);\nCOMMIT;\n\n"
    )
    parts.append(b"--\n-- Name: i; Type: INDEX; Schema: public; Owner: -\n--\n\nCREATE INDEX i ON t (a);\n\n")
    parts.append(b"--\n-- PostgreSQL database dump complete\n--\n\n\\unrestrict aBc\n\n")
    return b"".join(parts)


DUMP = nasty_dump()
EXPECTED = scanned(DUMP)


def test_the_nasty_dump_is_found_to_be_what_it_is() -> None:
    data = [each for each in EXPECTED if each.table]
    assert [each.table.name for each in data if each.table] == [f"t {number}" for number in range(len(STATEMENTS))]
    assert [each.rows for each in data] == [ROWS[number % len(ROWS)] for number in range(len(STATEMENTS))]
    assert [each.kind for each in EXPECTED[-4:]] == [
        SegmentKind.DATA,
        SegmentKind.SEQUENCES,
        SegmentKind.LARGE_OBJECTS,
        SegmentKind.AFTER,
    ]
    assert EXPECTED[0].kind is SegmentKind.BEFORE


@pytest.mark.parametrize("size", range(1, 41))
def test_every_block_size_gives_the_same_segments(size: int) -> None:
    assert scanned(DUMP, size) == EXPECTED


@given(st.lists(st.integers(0, len(DUMP)), max_size=200))
def test_random_cuts_and_empty_blocks_give_the_same_segments(places: list[int]) -> None:
    ends = sorted(places)
    blocks = (DUMP[start:end] for start, end in zip([0, *ends], [*ends, len(DUMP)], strict=True))
    assert segments(scan(blocks)) == EXPECTED


@given(st.lists(st.sampled_from([*STATEMENTS, "\r", "\\", "'", '"', "$", "$$", "/*", "*/", "--", ";", "\n", "E'"])))
def test_any_text_without_copy_comes_through_whole(parts: list[str]) -> None:
    text = "\n".join(part for part in parts if "COPY" not in part).encode()
    for size in (1, 7, 1000):
        assert b"".join(chunk.data for chunk in scan(text[at : at + size] for at in range(0, len(text), size))) == text


ALPHABET = st.text(alphabet="aE'\"$;-/*\\\n\r .&U1(", max_size=60)


@given(ALPHABET, st.integers(1, 9))
def test_any_text_is_cut_alike_whatever_the_blocks(text: str, size: int) -> None:
    whole = (text + "\nCOPY t (a) FROM stdin;\n1\n\\.\n;\n").encode()

    def outcome(size: int) -> list[Found] | str:
        try:
            return scanned(whole, size)
        except BackupReadError as error:
            return error.message

    assert outcome(size) == outcome(len(whole))


def test_every_cut_within_data_is_an_error_that_names_the_table() -> None:
    text = b'COPY public."my table" (a) FROM stdin;\nrow one\nrow two\n\\.\n'
    begin = text.index(b"\n") + 1
    for end in range(begin, len(text)):
        for size in (1, 4, 1000):
            with pytest.raises(BackupReadError, match=r"public\.my table") as caught:
                scanned(text[:end], size)
            assert caught.value.hint


def test_an_empty_file_has_no_segments() -> None:
    assert scanned(b"") == []
    assert segments(scan([b"", b""])) == []


def test_a_header_within_a_string_or_body_changes_no_kind() -> None:
    header = b"--\n-- Name: x; Type: SEQUENCE SET; Schema: public; Owner: -\n--\n"
    text = b"COMMENT ON TABLE t IS '\n" + header + b"';\nSELECT $$\n" + header + b"$$;\n/* the end */\n"
    assert [each.kind for each in scanned(text)] == [SegmentKind.BEFORE]


def test_an_encoding_within_a_body_changes_no_name() -> None:
    text = "SELECT $$ SET client_encoding = 'LATIN1' $$;\nCOPY tür FROM stdin;\n\\.\n".encode()
    assert list(tables(text)) == ["tür"]


@pytest.mark.parametrize(
    ("postgres", "python", "name"),
    [
        ("UTF8", "utf-8", "tür"),
        ("LATIN1", "latin-1", "tür"),
        ("LATIN2", "iso8859-2", "łódź"),
        ("LATIN5", "iso8859-9", "çağ"),
        ("LATIN9", "iso8859-15", "œuvre"),
        ("LATIN10", "iso8859-16", "țară"),
        ("ISO_8859_5", "iso8859-5", "таблица"),
        ("ISO_8859_7", "iso8859-7", "πίνακας"),
        ("WIN1251", "cp1251", "таблица"),
        ("WIN1252", "cp1252", "tür"),
        ("WIN866", "cp866", "таблица"),
        ("WIN874", "cp874", "ตาราง"),
        ("KOI8R", "koi8-r", "таблица"),
        ("KOI8U", "koi8-u", "їжак"),
        ("EUC_JP", "euc_jp", "表"),
        ("EUC_CN", "gb2312", "表"),
        ("EUC_KR", "euc_kr", "표"),
        ("EUC_JIS_2004", "euc_jis_2004", "表"),
        ("GBK", "gbk", "价格"),
        ("GB18030", "gb18030", "价格"),
        ("BIG5", "big5", "價格"),
    ],
)
def test_names_are_read_in_the_encoding_that_the_dump_sets(postgres: str, python: str, name: str) -> None:
    text = f"SET client_encoding = '{postgres}';\nCOPY {name} (\"{name}\") FROM stdin;\n\\.\n".encode(python)
    (_, found) = scanned(text)
    assert (found.table, found.columns) == (TableName("", name), (name,))


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "MULE_INTERNAL", "NONSENSE", "hex", "zlib", "undefined", "idna"])
def test_names_in_an_unknown_encoding_stay_distinct(encoding: str) -> None:
    header = f"SET client_encoding = '{encoding}';\n".encode()
    assert list(tables(header + b"COPY t\xe4 FROM stdin;\n\\.\nCOPY t\xfc FROM stdin;\n\\.\n")) == ["t\\xe4", "t\\xfc"]


def test_a_table_after_one_line_with_many_statements_is_found_in_time() -> None:
    text = b"SELECT 1; " * 100_000 + b"\nCOPY t FROM stdin;\n1\n\\.\n"
    begun = time.process_time()
    assert tables(text) == {"t": b"1\n"}
    assert time.process_time() - begun < 5


def test_text_after_a_copy_on_its_line_is_refused_not_misread() -> None:
    for rest in (b" SELECT 1;\n", b" -- a comment\n", b" COPY u FROM stdin;\n"):
        with pytest.raises(BackupReadError, match="line"):
            scanned(b"COPY t FROM stdin;" + rest + b"1\n\\.\n")


def test_a_copy_may_be_the_last_of_several_statements_on_a_line() -> None:
    assert tables(b"SELECT 1; SELECT ';'; COPY t FROM stdin;\n1\n\\.\nSELECT 2; SELECT 3;") == {"t": b"1\n"}


@pytest.mark.parametrize("size", [1, 2, 3, 4, 1000])
def test_a_byte_order_mark_belongs_to_no_statement(size: int) -> None:
    text = b"\xef\xbb\xbfSET a = 1;\nCOPY t FROM stdin;\n1\n\\.\n"
    found = scanned(text, size)
    assert [each.kind for each in found] == [SegmentKind.BEFORE, SegmentKind.DATA]
    assert found[0].text == text[:14]
    for short in (text[:1], text[:2], b"\xef\xbbx;"):
        assert b"".join(each.data for each in scan([short])) == short
