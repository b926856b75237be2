"""A merge across migrations takes the rows of a migrated copy, and leaves nothing of it behind, whatever happens."""

from __future__ import annotations

from dataclasses import replace

import pytest

from app.domain.adaptation import ColumnRef, Filled
from app.domain.restore import RestoreState, Step
from app.domain.revisions import History
from app.errors import RestoreBusyError, RestoreError, RestoreMigrationError, RestoreValidationError
from app.operations.health.check import repair
from app.operations.health.restores import check_restores
from app.operations.restore.preview import Preview, preview
from app.operations.restore.request import RestoreRequest
from tests.fakes.server import CannedDatabase
from tests.fix_memory_site import MemorySite, by_check

FILLED = Filled(frozenset({ColumnRef.parse("public.people.b", "")}))


def up(database: CannedDatabase) -> Filled:
    """What the application's migration does: rows of the backup look otherwise then."""
    database.revision = "b"
    database.rows["people"] = [f"{row} (migrated)" for row in database.rows["people"]]
    return FILLED


@pytest.fixture
def site(memory_site: MemorySite) -> MemorySite:
    """A backup of revision a, and a live database of b, in which a row is gone."""
    site, live = memory_site, memory_site.server.databases["residency"]
    live.revision = "a"
    site.take()
    live.revision, live.rows["people"] = "b", ["1\tAda (migrated)"]
    site.server.migrations = {"env": up}
    site.read_history(lambda: History({"a": (), "b": ("a",)}))
    return site


def planned(site: MemorySite, **asked: object) -> Preview:
    asked.setdefault("mode", "merge")
    return preview(site.service, RestoreRequest.parse(site.service, "latest", **asked))  # type: ignore[arg-type]


def with_command(site: MemorySite) -> None:
    site.service = replace(site.service, options=replace(site.service.options, migrate_command=("env", "x")))


@pytest.mark.parametrize("setting", ["RESTORE_MIGRATE_COMMAND", "--migrate"])
def test_the_rows_of_the_migrated_copy_are_merged_as_previewed(site: MemorySite, setting: str) -> None:
    asked = {"migrate": "env x"} if setting == "--migrate" else {}
    if not asked:
        with_command(site)
    plan = planned(site, **asked)
    assert site.rows["people"] == ["1\tAda (migrated)"]
    outcome = site.restore(mode="merge", **asked)
    assert site.rows["people"] == ["1\tAda (migrated)", "2\tGrace (migrated)"]
    assert outcome.changes is not None
    assert plan.changes.tables == outcome.changes.tables
    assert list(plan.changes.notes) == outcome.notes
    assert f"a copy of the backup was brought from revision a to b by {setting}; its rows are merged" in outcome.notes
    assert "filled by the migration, so for new rows only: public.people.b" in outcome.notes
    assert list(site.server.databases) == ["residency"]
    assert outcome.restore.shadow is None
    assert [argv for _, argv in site.server.ran] == [("env", "x")] * 2
    assert [name.partition("_")[2][:8] for name, _ in site.server.ran] == ["preview_", "restore_"]


def test_an_empty_command_merges_the_backup_as_it_is(site: MemorySite) -> None:
    with_command(site)
    site.restore(mode="merge", migrate="")
    assert site.rows["people"] == ["1\tAda", "2\tGrace"]
    assert site.server.ran == []


def test_a_backup_of_the_live_revision_is_not_copied(site: MemorySite) -> None:
    site.server.databases["residency"].revision = "a"
    with_command(site)
    site.restore(mode="merge")
    outcome = site.restore(mode="merge", migrate="env x")
    assert site.server.ran == []
    found = by_check(outcome.findings)["migration"].message
    assert found == "nothing is to be migrated: both are of revision a"


FAULTS = {
    "migrate": RestoreMigrationError("--migrate on database x: alembic failed; it printed: no such column"),
    "require_alone": RestoreBusyError("somebody else used the scratch database"),
    "load": RestoreError("the server refuses a statement"),
    "prove": RestoreError("the content differs"),
    "dump_into": RestoreError("the server went away"),
}


@pytest.mark.parametrize("step", FAULTS)
def test_whatever_fails_on_the_way_refuses_the_restore_before_a_safety_backup(site: MemorySite, step: str) -> None:
    site.server.fails[step] = FAULTS[step]
    before = [backup.id for backup in [site.find()]]
    with pytest.raises(RestoreError) as caught:
        site.restore(mode="merge", migrate="env x")
    assert FAULTS[step].message in caught.value.message
    assert site.ids() == before
    assert site.rows["people"] == ["1\tAda (migrated)"]
    assert list(site.server.databases) == ["residency"]
    (record,) = site.restores()
    assert (record.state, record.shadow) == (RestoreState.FAILED, None)
    with pytest.raises(RestoreError):
        planned(site, migrate="env x")
    assert list(site.server.databases) == ["residency"]


def test_a_copy_that_does_not_reach_the_live_revision_is_named_with_both(site: MemorySite) -> None:
    def goes_nowhere(database: CannedDatabase) -> Filled:
        database.revision = "a"
        return Filled()

    site.server.migrations["env"] = goes_nowhere
    with pytest.raises(RestoreMigrationError) as caught:
        site.restore(mode="merge", migrate="env x")
    assert "it is of revision a, the live database of b" in caught.value.message
    assert "alembic upgrade b" in caught.value.hint


def test_nothing_brings_a_newer_backup_back(site: MemorySite) -> None:
    site.server.databases["residency"].revision = "b"
    site.later(hours=1)
    site.take()
    site.server.databases["residency"].revision = "a"
    with_command(site)
    site.restore(mode="merge")  # the setting is for older backups alone
    assert site.server.ran == []
    with pytest.raises(RestoreValidationError, match=r"--migrate brings a backup up .*b comes after a"):
        site.restore(mode="merge", migrate="env x")


def test_the_role_must_be_able_to_create_a_database(site: MemorySite) -> None:
    site.server.may_create = False
    with pytest.raises(RestoreError, match="the role may not create one"):
        planned(site, migrate="env x")


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"mode": "replace", "migrate": "env x"}, "--migrate belongs to a merge"),
        ({"mode": "merge", "migrate": "env 'x"}, "--migrate is given no command line"),
        ({"mode": "merge", "migrate": ["env"]}, "--migrate is given no command line"),
        ({"mode": "merge", "migrate": "'' x"}, "--migrate is given no command line"),
    ],
)
def test_what_makes_no_sense_is_refused(site: MemorySite, asked: dict[str, object], words: str) -> None:
    with pytest.raises(RestoreError, match=words):
        planned(site, **asked)


def test_a_program_that_is_missing_is_an_error_of_the_migration(site: MemorySite) -> None:
    with pytest.raises(RestoreMigrationError, match="--migrate: there is no program /no/such/program"):
        planned(site, migrate="/no/such/program x")


def test_a_copy_that_a_killed_restore_left_is_dropped_by_repair(site: MemorySite) -> None:
    name = "residency_restore_0123456789ab"
    record = site.begin_restore(mode="merge")
    site.end_restore(record, RestoreState.ABANDONED, step=Step.LOADING, method="rows", shadow=name)
    site.server.databases[name] = CannedDatabase(99)
    done = repair(site.service)
    assert any(record.id in line for line in done)
    assert list(site.server.databases) == ["residency"]
    assert site.restores()[0].state is RestoreState.FAILED


def test_a_copy_that_a_killed_preview_left_is_named_and_dropped_by_repair(site: MemorySite) -> None:
    name = "residency_preview_0123456789ab"
    site.server.databases[name] = CannedDatabase(99)
    site.server.databases["other_preview_0123456789ab"] = CannedDatabase(100)
    found = [finding.message for finding in check_restores(site.service, [])]
    assert f"{name} is left of a preview; to clean up: residency-backup check --repair" in found
    assert f"database {name} of a preview dropped" in repair(site.service)
    assert sorted(site.server.databases) == ["other_preview_0123456789ab", "residency"]
