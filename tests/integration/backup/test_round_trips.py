"""How often the server is asked before a dump: each connection and each question costs the time to the server."""

from __future__ import annotations

from typing import Any

import pytest
from psycopg.abc import Query

from app.postgres.cursor import CopyCursor
from app.postgres.database import Database
from app.postgres.dump.source import PostgresSource
from app.postgres.server_facts import server_facts
from tests.fix_postgres import TestDatabase


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What each round trip asks, from now on."""
    messages: list[str] = []
    execute = CopyCursor.execute

    def noting(self: CopyCursor, query: Query, *params: Any, **options: Any) -> CopyCursor:
        messages.append(str(query))
        return execute(self, query, *params, **options)

    monkeypatch.setattr(CopyCursor, "execute", noting)
    return messages


def test_a_survey_takes_one_connection_and_two_round_trips_whatever_the_database_holds(
    empty_database: TestDatabase, asked: list[str]
) -> None:
    empty_database.execute("CREATE TABLE alembic_version (version_num text)")
    empty_database.execute("INSERT INTO alembic_version VALUES ('7c1d'), ('4e9a')")
    for number in range(20):
        empty_database.execute(f"CREATE TABLE t{number} (a int)")
    survey = PostgresSource(Database.from_url(empty_database.url), 2).survey()
    assert survey.facts.alembic_revision == "4e9a,7c1d"
    opening = [message for message in asked if "pg_backend_pid" in message or "statement_timeout" in message]
    assert len(opening) == 2, asked
    assert len(asked) == len(opening) + 2, asked


def test_questions_within_a_transaction_leave_its_settings_as_they_were(empty_database: TestDatabase) -> None:
    with Database.from_url(empty_database.url).connect() as connection, connection.transaction():
        connection.execute("SET LOCAL search_path = public")
        server_facts(connection)
        row = connection.execute("SELECT current_setting('search_path'), now()").fetchone()
        assert row
        assert row[0] == "public"
