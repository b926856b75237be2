"""The first line of a backup of some tables names them."""

from __future__ import annotations

import pytest

from app.archive.part import part_head, tables_of_part

NAMES = ("public.people", 'public."odd \\ name\n"', "public.größe")


def test_the_names_come_back() -> None:
    head = part_head(NAMES)
    assert head.count(b"\n") == 1
    assert tables_of_part(head + b"--\n-- PostgreSQL database dump\n--\n") == NAMES


@pytest.mark.parametrize("begin", [b"", b"--\n", part_head(NAMES)[:-5], part_head(NAMES).replace(b"[", b"{")])
def test_what_has_no_such_line_is_whole(begin: bytes) -> None:
    assert tables_of_part(begin) == ()
