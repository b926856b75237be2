"""Hides secrets in a text: known values, and passwords of URLs. Its time grows linearly with the text."""

from __future__ import annotations

import re
from collections.abc import Iterable

HIDDEN = "***"
# Passwords that are common words: to hide them wherever they occur would garble every line, and hide nothing.
_WORDS = frozenset({"backup", "restore", "postgres", "postgresql", "redis", "admin", "residency", "scheduler"})
_SHORTEST_SECRET = 4  # shorter ones occur by chance
_WORD = re.compile(r"\S+")
_USER = re.compile(r"(?<!\w)\w+://[^\s:/@]*:")


def worth_hiding(secrets: Iterable[str]) -> list[str]:
    """The secrets that can be replaced wherever they occur; the longest first, because one may contain another."""
    worth = {secret for secret in secrets if len(secret) >= _SHORTEST_SECRET and secret.lower() not in _WORDS}
    return sorted(worth, key=len, reverse=True)


def without(text: str, secrets: Iterable[str]) -> str:
    """The text without known secrets, each replaced in its turn: see `worth_hiding`."""
    for secret in secrets:
        text = text.replace(secret, HIDDEN)
    return text


def redacted(text: str, secrets: Iterable[str]) -> str:
    """The text without known secrets, and without the password of any URL: for what other programs print."""
    return _without_url_passwords(without(text, secrets))


def _without_url_passwords(text: str) -> str:
    """The text without URL passwords: all between the colon and the last @ of a word.

    The last, because a password whose @ is not percent-encoded must not show the part behind it.
    """
    if "://" not in text or "@" not in text:
        return text
    return _WORD.sub(lambda word: _hidden(word[0]), text)


def _hidden(word: str) -> str:
    end = word.rfind("@")
    user = _USER.search(word, 0, end) if end > 0 else None
    # Of several URLs in a word, the first one has the password that ends last.
    return word if user is None or user.end() == end else f"{word[: user.end()]}{HIDDEN}{word[end:]}"
