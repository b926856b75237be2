"""The first line of a backup of some tables names them."""

from __future__ import annotations

import pytest

from app.archive.part import ROWS_ELSEWHERE, is_left_out, part_head, tables_of_part

NAMES = ("public.people", 'public."odd \\ name\n"', "public.größe")


def test_the_names_come_back() -> None:
    head = part_head(NAMES)
    assert head.count(b"\n") == 1
    assert tables_of_part(head + b"--\n-- PostgreSQL database dump\n--\n") == NAMES


@pytest.mark.parametrize("begin", [b"", b"--\n", part_head(NAMES)[:-5], part_head(NAMES).replace(b"[", b"{")])
def test_what_has_no_such_line_is_whole(begin: bytes) -> None:
    assert tables_of_part(begin) == ()


def test_only_the_entry_above_the_words_is_left_out() -> None:
    header = b"--\n-- Name: %s; Type: FK CONSTRAINT; Schema: public; Owner: -\n--\n\n"
    left_out = header % b"a a_fkey" + ROWS_ELSEWHERE + b"-- ALTER TABLE ONLY public.a\n"
    assert is_left_out(left_out)
    assert not is_left_out(left_out + header % b"b b_fkey")
