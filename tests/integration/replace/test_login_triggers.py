"""Event triggers for logins: none keeps a restore from the database that it has made, and one that refuses is named."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from app.domain.backup import Tier
from app.domain.restore import RestoreState
from app.errors import BackupPermissionError
from app.operations.backup.take import BackupRequest, take_backup
from app.operations.restore.request import RestoreRequest
from app.operations.restore.run import restore
from app.postgres.database import Database
from app.postgres.without_login_triggers import without_login_triggers
from tests.fix_archives import as_role
from tests.fix_postgres import TestDatabase
from tests.fix_service import Site

# It lets in its own database's sessions alone, and notes them.
ONLY_ITS_OWN = """
    CREATE TABLE public.logins (who text, inside text);
    CREATE FUNCTION public.on_login() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN
        IF current_database() <> '{name}' THEN
            RAISE EXCEPTION 'only app, not %', current_database();
        END IF;
        INSERT INTO public.logins VALUES (session_user, current_database());
    END $$;
    CREATE EVENT TRIGGER "at login" ON login EXECUTE FUNCTION public.on_login();
    ALTER EVENT TRIGGER "at login" ENABLE ALWAYS"""


@pytest.fixture
def live(site: Site) -> Iterator[TestDatabase]:
    """A database with such a trigger, and a backup of it; what is restored of it is dropped at the end."""
    site.database.execute(ONLY_ITS_OWN.format(name=site.database.name))
    take_backup(site.service(), BackupRequest(tier=Tier.MANUAL))
    yield site.database
    others = "SELECT datname FROM pg_database WHERE starts_with(datname, current_database() || '_')"
    for (name,) in site.database.query(others):
        site.database.execute(f"DROP DATABASE {name} WITH (FORCE)")


def test_one_for_its_own_database_hinders_no_restore(site: Site, live: TestDatabase) -> None:
    noted = live.query("SELECT * FROM logins")
    outcome = restore(
        site.service(), RestoreRequest.parse(site.service(), backup="latest", mode="replace", confirm=live.name)
    )
    assert outcome.restore.state is RestoreState.COMPLETE
    assert live.query("SELECT evtname, evtenabled FROM pg_event_trigger") == [("at login", "A")]
    # Nothing was noted by what was done to the restored database before it had its name.
    assert {inside for _, inside in live.query("SELECT * FROM logins")} == {live.name}
    assert outcome.rows["public.logins"] <= len(noted)

    into = f"{live.name}_into"
    restore(
        site.service(), RestoreRequest.parse(site.service(), backup="latest", mode="replace", into=into, confirm=into)
    )
    database = Database.from_url(live.url).named(into)
    with pytest.raises(BackupPermissionError) as caught, database.connect():
        pass
    assert caught.value.message.startswith(f'event trigger "at login" of database {into} refuses the session: ')
    assert f"only app, not {into}" in caught.value.message
    assert caught.value.hint.endswith("""-c 'ALTER ROLE "postgres" SET event_triggers = off'""")
    with without_login_triggers(database, into).connect() as connection:
        assert connection.execute("SHOW event_triggers").fetchone() == ("off",)
    assert without_login_triggers(database, "template1") == database.named("template1")


def test_a_role_that_may_not_set_it_is_told_which_function_refuses(live: TestDatabase) -> None:
    role = f"guest_{live.name}"
    live.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'secret'")
    try:
        with pytest.raises(BackupPermissionError) as caught, Database.from_url(as_role(live.url, role)).connect():
            pass
        assert caught.value.message.startswith("an event trigger for logins of database ")
        assert "permission denied for table logins" in caught.value.message
        assert "on_login()" in caught.value.message
        assert f'ALTER ROLE "{role}" SET event_triggers = off' in caught.value.hint
    finally:
        live.execute(f"DROP ROLE {role}")
