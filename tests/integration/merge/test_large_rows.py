"""Rows too large for memory come from the server in pieces, and are what COPY writes."""

from __future__ import annotations

import io

import psycopg
import pytest

from app.postgres.database import Database
from app.postgres.merge import large_rows
from app.postgres.merge.large_rows import Rows, copy_out
from app.postgres.merge.schema_reader import live_schema
from app.postgres.merge.session import MergeSession, merge_session
from tests.fix_postgres import TestDatabase

SCHEMA = r"""
    CREATE TYPE pair AS (a int, b text);
    CREATE TABLE odd (id int, t text, b bytea, c char(5), p pair, l text[], j jsonb, f bool, d date);
    INSERT INTO odd VALUES
        (1, E'a\tb\nc\\d\re\bf\vg\f' || repeat('ä€😀', 9), '\x00ff5c', 'x', (1, NULL), '{a,NULL,"b c"}', '{"a": "\\"}',
         true, '2025-01-01'),
        (2, NULL, NULL, NULL, (NULL, NULL), NULL, NULL, NULL, NULL), (3, '\N', '', '', NULL, '{}', '1', false, NULL)"""


def _lines(session: MergeSession, least_beside: int) -> list[bytes]:
    live = live_schema(session)
    (table,) = live.tables.values()
    out = io.BytesIO()
    rows = Rows(table, list(table.columns), f"{table.rows} l", "l.id IS NOT NULL", ["l.id"])
    large_rows.LEAST_BESIDE = least_beside
    copy_out(session, rows, out, large_rows.with_values_beside(session, live))
    return sorted(out.getvalue().split(b"\n"))


def test_pieces_of_rows_are_what_copy_writes(empty_database: TestDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    with psycopg.connect(empty_database.url, autocommit=True) as connection:
        connection.execute(SCHEMA.encode())
    monkeypatch.setattr(large_rows, "LEAST_BESIDE", large_rows.LEAST_BESIDE)
    with merge_session(Database.from_url(empty_database.url)) as session:
        whole = _lines(session, large_rows.LEAST_BESIDE)
        monkeypatch.setattr(large_rows, "LARGE", 20)
        monkeypatch.setattr(large_rows, "PIECE", 3)
        assert _lines(session, 0) == whole
    assert len(whole) == 4
