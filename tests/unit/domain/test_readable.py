"""What others named is written so that a terminal takes no orders from it."""

from __future__ import annotations

import pytest

from app.domain.readable import on_one_line, readable, shortened_pair


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("größer 日本 ~\u00a0…", "größer 日本 ~\u00a0…"),
        ("a\x1b[31mb\x07\x00\x7f", "a\\x1b[31mb\\x07\\x00\\x7f"),
        ("\x9b2J\x85", "\\x9b2J\\x85"),
        ("tab\tand\rreturn", "tab\\tand\\rreturn"),
        ("\u202eabc\u2066\u2028\u200f", "\\u202eabc\\u2066\\u2028\\u200f"),
        ("half \udcff", "half \\udcff"),
    ],
)
def test_controls_are_escaped_and_nothing_else(text: str, shown: str) -> None:
    assert readable(text) == on_one_line(text) == shown


def test_a_line_break_begins_no_line_of_ours() -> None:
    assert readable("failed:\nok  all is well") == "failed:\n  ok  all is well"
    assert on_one_line("a\nb") == "a\\nb"


@pytest.mark.parametrize(
    ("one", "other", "shown"),
    [
        ("a", None, ("a", None)),
        ("0123456789", "x", ("0123456789", "x")),
        ("0123456789a", "x", ("01234567…", "x")),
        ("0123456789a", "0123456789b", ("…89a", "…89b")),
        ("0123456789a", "0123456789", ("…89a", "…89")),
        ("0123456789a" + "z" * 9, "0123456789b", ("…89azzzzz…", "…89b")),
        ("x" * 20, "x" * 20, ("x" * 8 + "…", "x" * 8 + "…")),
    ],
)
def test_two_long_texts_are_shown_around_their_first_difference(
    one: str, other: str | None, shown: tuple[str, str | None]
) -> None:
    assert shortened_pair(one, other, 8 if len(one) > 10 else 10) == shown
