"""Hides secrets in a text: those that are known, and passwords of URLs, in a time that grows as the text does."""

from __future__ import annotations

import re
from collections.abc import Iterable

HIDDEN = "***"
# Passwords so weak that hiding them wherever they occur would garble every line, and hide nothing.
_WORDS = frozenset({"backup", "restore", "postgres", "postgresql", "redis", "admin", "residency", "scheduler"})
_SHORTEST_SECRET = 4  # likewise
_WORD = re.compile(r"\S+")
_USER = re.compile(r"(?<!\w)\w+://[^\s:/@]*:")


def worth_hiding(secrets: Iterable[str]) -> list[str]:
    """The secrets that can be replaced wherever they occur, the longest first."""
    worth = {secret for secret in secrets if len(secret) >= _SHORTEST_SECRET and secret.lower() not in _WORDS}
    return sorted(worth, key=len, reverse=True)


def without(text: str, secrets: Iterable[str]) -> str:
    """The text without these secrets, each replaced in its turn."""
    for secret in secrets:
        text = text.replace(secret, HIDDEN)
    return text


def without_url_passwords(text: str) -> str:
    """The text without the password of each URL.

    Up to the last @ of a word: one that is not percent-encoded is a mistake that must not show the rest.
    """
    if "://" not in text or "@" not in text:
        return text
    return _WORD.sub(lambda word: _hidden(word[0]), text)


def _hidden(word: str) -> str:
    end = word.rfind("@")
    user = _USER.search(word, 0, end) if end > 0 else None
    # The first URL of a word is the one whose password ends last.
    return word if user is None or user.end() == end else f"{word[: user.end()]}{HIDDEN}{word[end:]}"
