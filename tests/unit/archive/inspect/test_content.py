"""What a dump holds, read off its text."""

from __future__ import annotations

import io

import pytest
import xxhash

from app.archive.index import TableName
from app.archive.inspect.content import Content, EntryName, content_of
from app.archive.reader import Archive, build_index
from app.archive.scanner import scan
from app.domain.backup import Codec

DUMP = rb"""--
-- PostgreSQL database dump
--

\restrict abc

-- Dumped from database version 16.4 (Debian 16.4-1)
-- Dumped by pg_dump version 17.1

SET client_encoding = 'LATIN1';
SELECT pg_catalog.set_config('search_path', '', false);

--
-- Name: app; Type: SCHEMA; Schema: -; Owner: me
--

CREATE SCHEMA app;


ALTER SCHEMA app OWNER TO me;

SET default_tablespace = '';

--
-- Name: t; Type: TABLE; Schema: app; Owner: me
--

CREATE TABLE app.t (a integer, b text DEFAULT 'Name: x; Type: TABLE; Schema: y; Owner: z'::text);


--
-- Data for Name: t; Type: TABLE DATA; Schema: app; Owner: me
--

COPY app.t (a, b) FROM stdin;
1	one
2	two
\.


--
-- Name: s; Type: SEQUENCE SET; Schema: app; Owner: me
--

SELECT pg_catalog.setval('app."s''s"', -5, false);


--
-- Data for Name: BLOBS; Type: BLOBS; Schema: -; Owner: -
--

BEGIN;

SELECT pg_catalog.lo_open('17', 131072);
SELECT pg_catalog.lowrite(0, '\x00ff');
SELECT pg_catalog.lowrite(0, '\x41');
SELECT pg_catalog.lo_close(0);

SELECT pg_catalog.lo_open('18', 131072);
SELECT pg_catalog.lo_close(0);

COMMIT;

--
-- Name: t_a; Type: INDEX; Schema: app; Owner: me
--

CREATE INDEX t_a ON app.t USING btree (a);


--
-- PostgreSQL database dump complete
--

\unrestrict abc

"""


def content(text: bytes, block: int = 1 << 20) -> Content:
    found = Content()
    found.add(scan(text[at : at + block] for at in range(0, len(text), block)))
    found.finish()
    return found


@pytest.mark.parametrize("block", [1, 7, 4096])
def test_a_dump_is_read_whole(block: int) -> None:
    found = content(DUMP, block)
    assert found.encoding == "LATIN1"
    assert (found.entries.server, found.entries.program) == (16, 17)
    assert {table: each.rows for table, each in found.tables.items()} == {TableName("app", "t"): 2}
    assert found.sequences == {b"'app.\"s''s\"'": b"-5, false"}
    digests = {17: xxhash.xxh3_128_digest(b"00ff41"), 18: xxhash.xxh3_128_digest(b"")}
    assert dict(found.large_objects.digests()) == digests
    assert [str(name) for name in found.entries.words] == ["schema app", "table app.t", "index app.t_a"]
    assert found.entries.words == content(DUMP).entries.words


def test_an_archive_is_read_but_for_its_rows() -> None:
    archive = Archive(lambda: io.BytesIO(DUMP), Codec.NONE, build_index(io.BytesIO(DUMP), Codec.NONE))
    found, whole = content_of(archive), content(DUMP)
    assert found.tables == {}
    assert found.entries.words == whole.entries.words
    assert found.sequences == whole.sequences
    assert found.large_objects.differences(whole.large_objects) == ([], 0)
    assert {each.table: each for each in archive.index.tables} == whole.tables


# change of the text -> the entries whose words differ
WORDS = {
    (b"(a integer,", b"(a bigint,"): {EntryName(b"TABLE", b"app", b"t")},
    (b"OWNER TO me", b"OWNER TO you"): {EntryName(b"SCHEMA", b"-", b"app")},
    (b"SET default_tablespace = '';\n", b""): set(),
    (b"\\restrict abc\n", b"\\restrict def\n"): set(),
    (b"\n1\tone\n", b"\n1\tONE\n"): set(),
    (b"\\x41", b"\\x42"): set(),
    (b"-5, false", b"-5, true"): set(),
    (b"Type: TABLE; Schema: app; Owner: me\n--\n\nCREATE", b"Type: TABLE; Schema: app; Owner: -\n--\n\nCREATE"): set(),
}


@pytest.mark.parametrize("change", WORDS)
def test_words_are_those_of_the_schema_alone(change: tuple[bytes, bytes]) -> None:
    assert change[0] in DUMP
    before, after = content(DUMP).entries.words, content(DUMP.replace(*change)).entries.words
    assert {name for name in before if before[name] != after[name]} == WORDS[change]


def test_entries_of_one_name_are_all_kept() -> None:
    entry = b"--\n-- Name: a b; Type: TABLE; Schema: app; Owner: me\n--\n\nCREATE TABLE app.%s ();\n\n"
    found = content(entry % b'"a b"' + entry % b'"a\nb"')
    assert [len(words) for words in found.entries.words.values()] == [2]
