"""Names, texts and operators as SQL, with one meaning under any search_path."""

from __future__ import annotations

import re

from app.domain.psql import quoted as quoted_name

SAME = "OPERATOR(pg_catalog.=)"  # the server's own operator, whatever the search_path finds first
_BARE = re.compile(r"[a-z_][a-z0-9_]*")


def quoted(*names: str) -> str:
    """A qualified name: ``"schema"."name"``."""
    return ".".join(map(quoted_name, names))


def readable(*names: str) -> str:
    """The same for people, and for patterns of psql and pg_dump: only names that need quotes have them."""
    return ".".join(name if _BARE.fullmatch(name) else quoted_name(name) for name in names)


def unquoted_name(identifier: str) -> str:
    """The name that the server spells as `identifier`, in SQL that it has quoted itself."""
    return identifier[1:-1].replace('""', '"') if identifier.startswith('"') else identifier


def literal(text: str) -> str:
    """A text as a string literal, for sessions with standard_conforming_strings."""
    return "'" + text.replace("'", "''") + "'"
