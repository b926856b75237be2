"""Types of columns, read off CREATE TABLE."""

from __future__ import annotations

import io

import pytest

from app.archive.index import TableName
from app.archive.inspect.column_types import column_types, same_type
from app.archive.reader import Archive, build_index
from app.domain.backup import Codec

DUMP = r"""--
-- PostgreSQL database dump
--

SET client_encoding = 'UTF8';
SELECT pg_catalog.set_config('search_path', '', false);

CREATE TABLE public.people (
    id integer NOT NULL,
    "Na,me" character varying(60) COLLATE "C" DEFAULT 'a, (b)
    c integer'::character varying,
    at timestamp(3) with time zone DEFAULT now(),
    n numeric(10,2)[] GENERATED ALWAYS AS (f(1, 2)) STORED,
    mood public."My mood",
    span interval day to second(3),
    CONSTRAINT ok CHECK (((id > 0) AND (id < 9)))
)
PARTITION BY RANGE (id);

CREATE UNLOGGED TABLE public."A.b" (
    x "char"
);

CREATE TABLE public.typed OF public.kind;

CREATE TABLE public.none (
);

SET search_path = old, pg_catalog;

CREATE TABLE things (
    "Größe" mood
);

--
-- PostgreSQL database dump complete
--

""".encode()


def test_each_column_has_the_type_that_the_server_names() -> None:
    archive = Archive(lambda: io.BytesIO(DUMP), Codec.NONE, build_index(io.BytesIO(DUMP), Codec.NONE))
    assert column_types(archive) == {
        TableName("public", "people"): {
            "id": "integer",
            "Na,me": "character varying(60)",
            "at": "timestamp(3) with time zone",
            "n": "numeric(10,2)[]",
            "mood": 'public."My mood"',
            "span": "interval day to second(3)",
        },
        TableName("public", "A.b"): {"x": '"char"'},
        TableName("public", "none"): {},
        TableName("old", "things"): {"Größe": "mood"},
    }


@pytest.mark.parametrize(
    ("backup", "live", "same"),
    [
        ("integer", "integer", True),
        ("integer", "bigint", False),
        ("character varying(60)", "character varying(61)", False),
        ("mood", "public.mood", True),
        ('"public"."mood"', "public.mood", True),
        ("app.mood", "public.mood", False),
        ("mood[]", "public.mood[]", True),
        ("mood", "public.moods", False),
    ],
)
def test_one_type_may_be_written_in_several_ways(backup: str, live: str, *, same: bool) -> None:
    assert same_type(backup, live) is same
