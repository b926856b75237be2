"""Event triggers of the users: none fires on what is ours, however it is enabled; else it is named."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from app.domain.changes import MergeRequest
from app.errors import RestoreDataError
from app.ports.target import LoadOptions
from app.postgres import event_triggers
from app.postgres.database import Database
from app.postgres.load.loader import load
from app.postgres.replace.proof import compare
from tests.fix_archives import archive_of, as_role, target
from tests.fix_matrix import Major, at_home, running_major
from tests.fix_merge import beside, merge, request, undo
from tests.fix_postgres import TestDatabase
from tests.tiers import majors, sample_of, thorough_at

# A trigger on a table is held still for a merge, which is DDL; a materialized view is filled after a dump has made all.
_CONTENT = """
    CREATE TABLE public.people (id int PRIMARY KEY, name text);
    INSERT INTO public.people VALUES (1, 'a'), (2, 'b');
    CREATE FUNCTION public.nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
    CREATE TRIGGER stays AFTER INSERT ON public.people FOR EACH ROW EXECUTE FUNCTION public.nothing();
    CREATE MATERIALIZED VIEW public.counted AS SELECT count(*) FROM public.people"""
_TRIGGERS = """
    CREATE TABLE public.ddl_log (id serial PRIMARY KEY, tag text, what text);
    CREATE FUNCTION public.note_ddl() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO public.ddl_log (tag, what)
        SELECT command_tag, object_identity FROM pg_event_trigger_ddl_commands(); END $$;
    CREATE FUNCTION public.forbid() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN
        RAISE EXCEPTION 'forbidden in production'; END $$;
    CREATE EVENT TRIGGER note_ddl ON ddl_command_end EXECUTE FUNCTION public.note_ddl();
    CREATE EVENT TRIGGER no_drop ON sql_drop EXECUTE FUNCTION public.forbid();
    CREATE EVENT TRIGGER no_table ON ddl_command_start WHEN TAG IN ('CREATE TABLE', 'CREATE TABLE AS', 'ALTER TABLE')
        EXECUTE FUNCTION public.forbid()"""
_ALWAYS = "ALTER EVENT TRIGGER {0} ENABLE ALWAYS"
_NAMES = ("no_drop", "no_table", "note_ddl")
# By the setting of 17, and as before that, whatever the server is; with those that are enabled always.
_WAYS = [(since, always) for since in (170_000, 999_999) for always in ((), ("note_ddl",), _NAMES)]


@pytest.fixture(scope="module", params=majors(18), ids=lambda each: f"PostgreSQL {each}")
def major(request: pytest.FixtureRequest) -> Iterator[Major]:
    with running_major(request.param) as found:
        yield found


@pytest.fixture
def watched(major: Major, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestDatabase]:
    """A database whose DDL is logged and forbidden."""
    at_home(major, monkeypatch)
    with major.database("watched") as database:
        database.execute(_CONTENT)
        database.execute(_TRIGGERS)
        yield database


@pytest.mark.parametrize(("since", "always"), thorough_at(sample_of(_WAYS, (1, 3, 4)), _WAYS[3]))
def test_none_fires_on_what_is_ours(
    watched: TestDatabase, major: Major, since: int, always: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_triggers, "SETTING_SINCE", since)
    for name in always:
        watched.execute(_ALWAYS.format(name))
    enabled = watched.query("SELECT evtname, evtenabled FROM pg_event_trigger ORDER BY 1")
    archive, facts = archive_of(watched)

    with beside(watched, archive, MergeRequest(exact=True)) as found:
        changes = found.preview()
    assert all(not each.changed for each in changes.tables), changes
    assert target(watched).compare(archive, archive, lambda _: None).total("inserted") == 0

    watched.execute("DELETE FROM people WHERE id = 1")
    merged, script = merge(watched, archive, request())
    assert (merged.total("inserted"), merged.total("deleted")) == (1, 0)
    assert not [note for note in merged.notes if "event trigger" in note]
    undo(watched, script)
    assert watched.query("SELECT id FROM people") == [(2,)]

    with major.database("shadow") as shadow:
        load(Database.from_url(shadow.url), archive, 2)
        assert (
            compare(Database.from_url(shadow.url), archive, LoadOptions(facts=facts), 1).require_equal("shadow") == []
        )

    target(watched, 1).replace_in_place(archive, facts, lambda _: None)
    assert watched.query("SELECT count(*) FROM people") == [(2,)]
    assert watched.query("SELECT count(*) FROM ddl_log") == [(0,)]
    assert watched.query("SELECT evtname, evtenabled FROM pg_event_trigger ORDER BY 1") == enabled


def test_what_a_role_cannot_keep_still_is_named(watched: TestDatabase) -> None:
    watched.execute("CREATE ROLE keeper LOGIN PASSWORD 'secret'; GRANT ALL ON people, ddl_log TO keeper")
    watched.execute("GRANT ALL ON SEQUENCE ddl_log_id_seq TO keeper")
    archive, _ = archive_of(watched)
    database = TestDatabase(watched.name, as_role(watched.url, "keeper"))
    try:
        with pytest.raises(RestoreDataError) as caught:
            merge(database, archive, request())
        assert "forbidden in production, in PL/pgSQL function forbid() " in caught.value.message
        assert "; event triggers of the database fire on it: " in caught.value.message
        assert ", ".join(_NAMES) in caught.value.message
        assert 'ALTER EVENT TRIGGER "no_table" DISABLE' in caught.value.hint
        watched.execute("ALTER EVENT TRIGGER no_table DISABLE; ALTER EVENT TRIGGER no_drop DISABLE")
        merged, _ = merge(database, archive, request())
        assert [note for note in merged.notes if "event triggers fire" in note and note.endswith(": note_ddl")]
    finally:
        watched.execute("DROP OWNED BY keeper; DROP ROLE keeper")
