"""A name that leads to several servers: all sessions of a dump go to the one that has the snapshot.

Seen in public trackers: xataio/pgstream#1012, dimitri/pgcopydb#582.
"""

from __future__ import annotations

import io

from psycopg.conninfo import make_conninfo

from app.archive.writer import ArchiveWriter
from app.domain.backup import Codec
from app.errors import ServerUnavailableError
from app.postgres.causes import known_cause
from app.postgres.database import Database
from app.postgres.dump.source import PostgresSource
from tests.fix_postgres import TestDatabase


def test_all_sessions_go_to_the_server_that_has_the_snapshot(empty_database: TestDatabase) -> None:
    empty_database.execute("CREATE TABLE t (id int); INSERT INTO t VALUES (1)")
    port = Database.from_url(empty_database.url).parameters["port"]
    ports = f"1,{port}"  # one of several is away
    choice = {"load_balance_hosts": "random", "target_session_attrs": "read-write"}
    several = Database.from_url(make_conninfo(empty_database.url, host="127.0.0.1,localhost", port=ports, **choice))
    with several.connect() as connection:
        there = several.same_server(connection)
    assert there.password == several.password
    assert {name: there.parameters.get(name) for name in ("host", "hostaddr", "port", *choice)} == {
        "host": "localhost",
        "hostaddr": "127.0.0.1",
        "port": port,
        "load_balance_hosts": None,
        "target_session_attrs": None,
    }
    with PostgresSource(several, 1).snapshot() as snapshot:
        writer = ArchiveWriter(io.BytesIO(), Codec.NONE)
        snapshot.dump_into(writer)
        assert writer.finish().rows == 1


def test_a_balancer_that_shows_one_address_is_named() -> None:
    for said in ('invalid snapshot identifier: "0000-1"', 'snapshot "00000003-00000008-1" does not exist'):
        error = known_cause(f"psql failed with exit code 3: ERROR:  {said}", "app", role="backup")
        assert isinstance(error, ServerUnavailableError)
        assert "load balancer" in error.hint
