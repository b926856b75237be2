"""A password in any text that is logged is hidden, and nothing else."""

from __future__ import annotations

import pytest

from app.domain.redaction import HIDDEN
from app.log import Redactor

QUOTED = "s3cr3t%20p%40ss%3Aw%2Frd"


def redacted(text: str, *secrets: str) -> str:
    return Redactor(secrets).text(text)


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("postgresql://me:pw@db/app", "postgresql://me:***@db/app"),
        ("postgresql+psycopg://me:pw@db:5432/app?x=1", "postgresql+psycopg://me:***@db:5432/app?x=1"),
        (f"postgresql://me:{QUOTED}@db/app", "postgresql://me:***@db/app"),
        ("postgresql://me:p@ss@db/app", "postgresql://me:***@db/app"),
        ("postgresql://me:p:w@db/app", "postgresql://me:***@db/app"),
        ("postgresql://me:p/w?x#y@db/app", "postgresql://me:***@db/app"),
        ("redis://:pw@broker:6379/0", "redis://:***@broker:6379/0"),
        ("from redis://:pw@a/0 to amqp://u:pw@b//", "from redis://:***@a/0 to amqp://u:***@b//"),
        ("host=db password=pw user=me", "host=db password=*** user=me"),
        ("host=db password = pw user=me", "host=db password = *** user=me"),
        ("password='p w' user=me", "password=*** user=me"),
        (r"password='p\'s w\\' user=me", "password=*** user=me"),
        ('password="p w" user=me', "password=*** user=me"),
        ("password=p,w;(x) user=me", "password=*** user=me"),
        ("sslpassword=pw user=me", "sslpassword=*** user=me"),
        ("PGPASSWORD=pw psql", "PGPASSWORD=*** psql"),
        ("postgresql://db/app?user=me&password=pw&x=1", "postgresql://db/app?user=me&password=***&x=1"),
        ("{'password': 'p w', 'user': 'me'}", "{'password': ***, 'user': 'me'}"),
        ('{"token":"pw","user":"me"}', '{"token":***,"user":"me"}'),
        ("Password: pw", "Password: ***"),
        ("AGE-SECRET-KEY-1QQQSYQCYQ5 here", "*** here"),
    ],
)
def test_a_password_in_a_text_is_hidden_and_nothing_else(text: str, clean: str) -> None:
    assert redacted(text) == clean


@pytest.mark.parametrize(
    "text",
    [
        "backup created",
        'FATAL:  password authentication failed for user "me"',
        "postgresql://me@db:5432/app",
        "redis://localhost:6379/0",
        "see https://example.org/a:b and mail a@b",
        "no password supplied",
        "daily/backup-2025-01-15 12:30",
    ],
)
def test_a_text_without_a_password_stays_as_it_is(text: str) -> None:
    assert redacted(text) == text


def test_a_secret_within_another_is_hidden_with_it() -> None:
    assert redacted("x pass-word y", "pass", "pass-word") == f"x {HIDDEN} y"


def test_a_known_secret_too_short_to_hide_is_not_looked_for_everywhere() -> None:
    assert redacted("a backup of a database", "a", "") == "a backup of a database"
