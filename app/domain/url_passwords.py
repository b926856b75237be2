"""Hides passwords of URLs in a text, in a time that grows as the text does, whoever wrote it."""

from __future__ import annotations

import re

_WORD = re.compile(r"\S+")
_USER = re.compile(r"(?<!\w)\w+://[^\s:/@]*:")


def without_url_passwords(text: str, hidden: str) -> str:
    """The text with `hidden` for the password of each URL.

    Up to the last @ of a word: one that is not percent-encoded is a mistake that must not show the rest.
    """
    if "://" not in text or "@" not in text:
        return text
    return _WORD.sub(lambda word: _hidden(word[0], hidden), text)


def _hidden(word: str, hidden: str) -> str:
    end = word.rfind("@")
    user = _USER.search(word, 0, end) if end > 0 else None
    # The first URL of a word is the one whose password ends last.
    return word if user is None or user.end() == end else f"{word[: user.end()]}{hidden}{word[end:]}"
