"""Tables are cut into ranges that cover every page once."""

from __future__ import annotations

import pytest

from app.archive.index import PageRange
from app.postgres.dump.ranges import RANGE_BYTES, ranges_of
from tests.fix_large_tables import table

PG14, PG13 = 140000, 130015


@pytest.mark.parametrize("pages", [0, 1, 1023, 1024, 1025, 2048, 100_000])
def test_every_page_is_in_one_range_and_the_last_has_no_end(pages: int) -> None:
    ranges = list(ranges_of(table(pages), PG14))
    assert [each.first for each in ranges] == [0, *(each.end for each in ranges[:-1])]
    assert [each.end for each in ranges].index(None) == len(ranges) - 1
    assert len(ranges) == max(1, -(-pages * 8192 // RANGE_BYTES))


def test_toast_counts_so_that_a_range_of_large_values_is_no_larger() -> None:
    assert len(list(ranges_of(table(100, 800 << 20), PG14))) == 100


def test_a_server_without_tid_range_scans_gives_tables_whole() -> None:
    (whole,) = ranges_of(table(100_000), PG13)
    assert whole.query == b'COPY public.t (a, "b c") TO STDOUT;'
    assert whole.header.pages == PageRange(relfilenode=4711, first=0, last=99_999)


def test_a_range_asks_for_its_pages_and_no_others() -> None:
    first, second, last = ranges_of(table(2500), PG14)
    select = b'COPY (SELECT a, "b c" FROM ONLY public.t WHERE %s) TO STDOUT;'
    assert first.query == select % b"ctid < '(1024,0)'"
    assert second.query == select % b"ctid >= '(1024,0)' AND ctid < '(2048,0)'"
    assert last.query == select % b"ctid >= '(2048,0)'"
    assert last.header.pages == PageRange(relfilenode=4711, first=2048, last=2499)


def test_the_text_before_the_rows_is_pg_dumps_own() -> None:
    assert next(ranges_of(table(1), PG14)).opening == (
        b"\n\n--\n-- Data for Name: t; Type: TABLE DATA; Schema: public; Owner: o\n--\n\n"
        b'COPY public.t (a, "b c") FROM stdin;\n'
    )
