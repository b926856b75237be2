"""Safety backups: none is taken for what a dry run refuses, and none is pinned for what nothing can undo."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from app.domain.backup import Tier
from app.domain.checks import Finding
from app.domain.restore import RestoreState
from app.embedded.postgres import EmbeddedPostgres
from app.errors import ResidencyBackupError, RestoreBusyError, RestoreValidationError
from app.operations.backups.expire import expire
from app.operations.backups.inventory import inventory
from app.operations.backups.keep import keep
from app.operations.health.check import check
from app.operations.restore.preview import preview
from app.operations.restore.request import RestoreRequest
from app.operations.restore.rollback import rollback
from tests.fix_damaged import Damaged, execute, require_nothing_left
from tests.fix_postgres import scratch_database
from tests.fix_restore_faults import AtStart
from tests.fix_small_site import TABLES, made


@dataclass(frozen=True, slots=True)
class Refused:
    """What is asked, after the live database was changed so, and what is said."""

    said: str
    asked: dict[str, Any]
    before: str = "SELECT 1"


REFUSED = {
    "no such table": Refused("has no table peopel", {"mode": "merge", "tables": ["peopel"]}),
    "no such table to replace": Refused("has no table peopel", {"mode": "replace", "tables": ["peopel"]}),
    "a condition with a typo": Refused('"nam" does not', {"mode": "merge", "tables": ["people"], "where": "nam = 1"}),
    "no condition at all": Refused("syntax error", {"mode": "merge", "tables": ["people"], "where": "name ="}),
    "a condition on a replace": Refused("takes all", {"mode": "replace", "tables": ["people"], "where": "id = 1"}),
    "a table that is gone": Refused("are not in the live", {"mode": "merge"}, "DROP TABLE notes"),
    "a column that is gone": Refused("people.pager is not", {"mode": "merge"}, "ALTER TABLE people DROP pager"),
    "a column that wants a value": Refused(
        "that the backup does not have: grade",
        {"mode": "merge"},
        "DELETE FROM people; ALTER TABLE people ADD grade int NOT NULL",
    ),
    "no such column to go by": Refused("has a column changed", {"mode": "merge", "on_conflict": "newest:changed"}),
    "rows that conflict": Refused(
        "the policy is `fail`", {"mode": "merge", "on_conflict": "fail"}, "UPDATE people SET name = 'x' WHERE id = 1"
    ),
    "rows that others refer to": Refused(
        "cannot be restored",
        {"mode": "replace", "tables": ["units"]},
        "INSERT INTO units VALUES (3, 'c'); INSERT INTO people VALUES (3, 3, 'three')",
    ),
    "rows that are published without an identity": Refused(
        "without a replica identity",
        {"mode": "replace", "tables": ["notes"]},
        "INSERT INTO notes VALUES ('b'); CREATE PUBLICATION everything FOR ALL TABLES",
    ),
}


@pytest.fixture(scope="module")
def shared(postgres_server: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Damaged]:
    """One for all that is refused, and so leaves it as it was."""
    backups = tmp_path_factory.mktemp("shared") / "backups"
    with scratch_database(postgres_server) as database, made(database, backups, postgres_server) as damaged:
        yield damaged


def safe(damaged: Damaged) -> list[str]:
    return [each.id for each in inventory(damaged.service()) if each.tier is Tier.SAFETY]


@pytest.mark.parametrize("refused", REFUSED.values(), ids=REFUSED.keys())
def test_what_a_dry_run_refuses_takes_no_safety_backup(shared: Damaged, refused: Refused) -> None:
    small = shared
    small.site.database.execute("DROP PUBLICATION IF EXISTS everything; DROP TABLE IF EXISTS people, units, notes")
    small.site.database.execute(TABLES)
    small.site.database.execute(refused.before)
    before = small.content()
    try:
        assert preview(
            small.service(), RestoreRequest.parse(small.service(), backup=small.backup, **refused.asked)
        ).refused
    except ResidencyBackupError as error:
        said = str(error)
        with pytest.raises(type(error), match=refused.said) as caught:
            small.run(**refused.asked)
        assert str(caught.value) == said
    else:
        with pytest.raises(ResidencyBackupError, match=refused.said):
            small.run(**refused.asked)
    assert safe(small) == []
    assert small.content() == before
    assert {each.state for each in small.records()} == {RestoreState.FAILED}
    require_nothing_left(small)


def test_the_command_that_is_named_lets_published_rows_go(small: Damaged) -> None:
    database = small.site.database
    database.execute("INSERT INTO notes VALUES ('b'); CREATE PUBLICATION everything FOR ALL TABLES")
    with pytest.raises(RestoreValidationError) as caught:
        small.run(mode="replace", tables=["notes"])
    assert f"psql -d {small.name} -c 'ALTER TABLE public.notes REPLICA IDENTITY FULL'" in caught.value.hint
    database.execute("ALTER TABLE public.notes REPLICA IDENTITY FULL")
    small.run(mode="replace", tables=["notes"])
    assert database.query("SELECT t FROM notes") == [("a",)]


def test_the_rows_are_put_beside_the_live_ones_once_and_before_the_safety_backup(small: Damaged) -> None:
    small.site.database.execute("DELETE FROM people")
    beside: list[int] = []
    where = "SELECT count(*) FROM pg_class WHERE relname ~ '^restore_rows' AND relpersistence = 't'"
    act = AtStart(lambda: beside.append(small.site.database.query(where)[0][0]), phase="safety backup")
    outcome = small.run(progress=act, mode="merge")
    assert beside == [3]
    assert outcome.rows["inserted"] == 2
    assert safe(small) == [outcome.restore.safety]
    manifest = next(each for each in inventory(small.service()) if each.tier is Tier.SAFETY)
    assert (manifest.tables, manifest.rows) == (3, 3), "nothing of the restore is in it"


@pytest.mark.parametrize(
    "altered", ["ALTER TABLE people ADD beeper text", "CREATE TABLE more (id int REFERENCES people)"]
)
def test_tables_that_are_altered_meanwhile_end_it_before_anything_is_changed(small: Damaged, altered: str) -> None:
    database = small.site.database
    database.execute("DELETE FROM people")
    act = AtStart(lambda: database.execute(altered), phase="safety backup")
    with pytest.raises(RestoreBusyError, match="altered since the restore began"):
        small.run(progress=act, mode="merge")
    assert act.done
    assert database.query("SELECT count(*) FROM people") == [(0,)]


def test_other_tables_may_come_and_go_meanwhile(small: Damaged) -> None:
    act = AtStart(lambda: small.site.database.execute("CREATE TABLE other (id int)"), phase="safety backup")
    small.run(progress=act, mode="merge")
    assert act.done


def found(damaged: Damaged) -> Finding:
    return next(each for each in check(damaged.service()) if each.check == "safety backups")


def test_check_says_what_they_hold(small: Damaged) -> None:
    assert all(each.check != "safety backups" for each in check(small.service()))
    first = small.run(mode="replace").restore
    second = small.run(small.service(RESTORE_UNDO_HOURS="48"), mode="merge").restore
    assert second.undo_until is not None
    said = found(small).message
    assert said.startswith("2 of 0.0 MB, before restore ")
    assert first.id in said
    assert f"{second.safety} until {second.undo_until:%Y-%m-%d %H:%M} UTC" in said
    keep(small.service(), first.safety or "", "audit")
    assert f"{first.safety} for audit" in found(small).message


def test_one_whose_restore_nothing_can_undo_is_released_and_not_removed(small: Damaged) -> None:
    """The database was dropped, and made anew by a restore that has nothing to go back to."""
    first = small.run(mode="merge").restore
    second = small.run(mode="merge").restore
    assert set(small.pins()) == {first.safety, second.safety}
    execute(small.server, f"DROP DATABASE {small.name} WITH (FORCE)")
    last = small.run(mode="replace").restore
    assert last.undo_until is None
    assert small.pins() == {}
    assert set(safe(small)) == {first.safety, second.safety}
    assert "none is pinned" in found(small).message
    with pytest.raises(RestoreValidationError, match=f"restore {last.id} came after it, and cannot be undone"):
        rollback(small.service(), second.id)
    said = [each.message for each in check(small.service()) if first.id in each.message]
    assert any("cannot be rolled back" in each for each in said)


def test_one_whose_undo_was_dropped_is_released(small: Damaged) -> None:
    record = small.run(mode="replace").restore
    assert expire(small.service()) == []
    assert set(small.pins()) == {record.safety}
    execute(small.server, f"DROP DATABASE {record.undo}")
    assert any(f"{record.safety} released" in line for line in expire(small.service()))
    assert small.pins() == {}
    assert safe(small) == [record.safety]


def test_one_of_a_merge_into_a_database_that_was_made_anew_by_hand_is_released(small: Damaged) -> None:
    record = small.run(mode="merge").restore
    execute(small.server, f"ALTER DATABASE {small.name} RENAME TO {small.name}_aside")
    execute(small.server, f"CREATE DATABASE {small.name}")
    assert any("made anew" in line for line in expire(small.service()))
    assert safe(small) == [record.safety]
