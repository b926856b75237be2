"""Names, texts and operators as SQL, with one meaning under any search_path."""

from __future__ import annotations

from app.domain.psql import quoted as quoted_name

SAME = "OPERATOR(pg_catalog.=)"  # the server's own operator, whatever the search_path finds first


def quoted(*names: str) -> str:
    """A qualified name: ``"schema"."name"``."""
    return ".".join(map(quoted_name, names))


def unquoted_name(identifier: str) -> str:
    """The name that the server spells as `identifier`, in SQL that it has quoted itself."""
    return identifier[1:-1].replace('""', '"') if identifier.startswith('"') else identifier


def literal(text: str) -> str:
    """A text as a string literal, for sessions with standard_conforming_strings."""
    return "'" + text.replace("'", "''") + "'"
