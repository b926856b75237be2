"""Pieces of SQL that mean the same whatever the search_path."""

from __future__ import annotations

from psycopg import sql

SAME = "OPERATOR(pg_catalog.=)"  # the server's own, whatever the search_path leads to


def quoted(*names: str) -> str:
    """A name as SQL: ``"schema"."name"``."""
    return sql.Identifier(*names).as_string(None)
