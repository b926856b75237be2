"""Makes text safe for a terminal or a log: a name may contain control characters that a terminal obeys."""

from __future__ import annotations

import re

# Control characters without the line break (C0, DEL, C1), Unicode's line separators and bidirectional controls, and
# surrogates, which cannot be encoded.
_UNSAFE = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
_INDENT = "\n  "


def readable(text: str) -> str:
    r"""The text with control characters escaped: ``\x1b``. Line breaks stay, but the next line is indented.

    So no line break in a name makes a line that looks like one of ours.
    """
    return _UNSAFE.sub(_escaped, text).replace("\n", _INDENT)


def on_one_line(text: str) -> str:
    r"""The text with control characters and line breaks escaped: ``\n``."""
    if text.isascii() and text.isprintable():
        return text
    return _UNSAFE.sub(_escaped, text).replace("\n", "\\n")


def _escaped(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode("ascii")


def shortened(text: str | None, most: int) -> str | None:
    """The text, or its first `most` characters and ``…``."""
    return text if text is None or len(text) <= most else f"{text[:most]}…"


def shortened_pair(one: str | None, other: str | None, most: int) -> tuple[str | None, str | None]:
    """Two texts, shortened to about the same part: that with their first difference."""
    if one is None or other is None or max(len(one), len(other)) <= most:
        return shortened(one, most), shortened(other, most)
    pairs = enumerate(zip(one, other, strict=False))
    common = next((at for at, (left, right) in pairs if left != right), min(len(one), len(other)))
    start = common - most // 4
    if start <= 0 or one == other:
        return shortened(one, most), shortened(other, most)
    return f"…{shortened(one[start:], most)}", f"…{shortened(other[start:], most)}"
