"""Text as it may be written to a terminal or a log: what others named may hold what a terminal takes for orders."""

from __future__ import annotations

import re

# Controls but the line break (C0, DEL, C1), the line separators of Unicode, what turns the direction of writing, and
# halves of characters, which no encoding has.
_UNSAFE = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
_INDENT = "\n  "


def readable(text: str) -> str:
    r"""The text with control characters escaped: ``\x1b``; line breaks stay, and what follows them is moved in.

    So no name begins a line of its own that could be taken for one of ours.
    """
    return _UNSAFE.sub(_escaped, text).replace("\n", _INDENT)


def on_one_line(text: str) -> str:
    r"""Likewise, with line breaks escaped too: ``\n``."""
    return _UNSAFE.sub(_escaped, text).replace("\n", "\\n")


def _escaped(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode("ascii")
