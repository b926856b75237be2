"""What is said of functions of the users' that run in sessions of ours can be pasted, and is true."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.errors import RestoreDataError
from app.operations.health.logins import check_logins
from tests.fix_merge import archive_of, merge, request
from tests.fix_postgres import TestDatabase
from tests.fix_service import make_site


def test_a_merge_names_the_path_that_a_function_looked_in(empty_database: TestDatabase) -> None:
    empty_database.execute("""
        CREATE FUNCTION known(v text) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT v $$;
        CREATE FUNCTION short(v text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN known(v); END $$;
        CREATE TABLE items (id int PRIMARY KEY, name text, slug text GENERATED ALWAYS AS (short(name)) STORED);
        INSERT INTO items VALUES (1, 'a')""")
    archive = archive_of(empty_database)
    name = empty_database.name
    empty_database.execute(f"DELETE FROM items; CREATE SCHEMA other; ALTER DATABASE {name} SET search_path = other")
    with pytest.raises(RestoreDataError, match="relies on search_path") as failed:
        merge(empty_database, archive, request())
    mending = f"psql -d {name} -c 'ALTER FUNCTION public.short(text) SET search_path = public, other'"
    named = "it searched other: name the schemas that it needs, --search-path 'public, other'"
    assert failed.value.hint == f"{named}; or change the function: {mending}"
    merge(empty_database, archive, request(search_path="public"))


def test_check_names_what_runs_at_each_login(empty_database: TestDatabase, tmp_path: Path) -> None:
    service = make_site(empty_database, tmp_path / "backups", filled=False).service()
    assert check_logins(service.source) == []
    empty_database.execute("""
        CREATE FUNCTION note() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN NULL; END $$;
        CREATE EVENT TRIGGER "at login" ON login EXECUTE FUNCTION note()""")
    (found,) = check_logins(service.source)
    assert found.message.startswith("event trigger at login fires at the start of each session of this service")
    assert found.message.endswith("""-c 'ALTER ROLE "postgres" SET event_triggers = off'""")
    empty_database.execute(f"ALTER ROLE postgres IN DATABASE {empty_database.name} SET event_triggers = off")
    assert check_logins(service.source) == []
