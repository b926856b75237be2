"""Restores of other files, into other databases, and where no database may be created."""

from __future__ import annotations

import gzip
import subprocess
from pathlib import Path

import psycopg
import pytest
import zstandard

from app.domain.backup import Tier
from app.domain.restore import Method, RestoreState
from app.embedded.postgres import binaries
from app.embedded.server import environment
from app.errors import RestorePostCommandError, RestoreValidationError
from app.operations.backup.take import BackupRequest, take_backup
from app.operations.backups.inventory import find
from app.operations.health.check import check
from app.operations.restore.preview import preview
from app.operations.restore.request import RestoreRequest
from app.operations.restore.rollback import rollback
from tests.fix_damaged import Damaged, execute, require_nothing_left
from tests.fix_postgres import copy_of_all_tables, scratch_database
from tests.tiers import sample_of


def test_a_restore_into_another_database_leaves_the_live_one_alone(damaged: Damaged) -> None:
    other = f"{damaged.name}_staging"
    first = damaged.run(mode="replace", into=other)
    assert (first.warnings, first.restore.safety, first.restore.undo_until) == ([], None, None)
    assert copy_of_all_tables(damaged.server.url(other)) == damaged.whole
    assert damaged.content() == damaged.broken
    with pytest.raises(RestoreValidationError, match="cannot be rolled back"):
        rollback(damaged.service(), first.restore.id)
    with psycopg.connect(damaged.server.url(other), autocommit=True) as connection:
        connection.execute("DELETE FROM notifications")
    spoilt = copy_of_all_tables(damaged.server.url(other))
    second = damaged.run(mode="replace", into=other)
    assert copy_of_all_tables(damaged.server.url(other)) == damaged.whole
    rollback(damaged.service(), second.restore.id)
    assert copy_of_all_tables(damaged.server.url(other)) == spoilt
    third = damaged.run(mode="merge", into=other)
    assert copy_of_all_tables(damaged.server.url(other)) == damaged.whole
    rollback(damaged.service(), third.restore.id)
    assert copy_of_all_tables(damaged.server.url(other)) == spoilt
    assert damaged.content() == damaged.broken


def foreign(damaged: Damaged, folder: Path, suffix: str) -> Path:
    """A dump by the stock pg_dump."""
    argv = [str(binaries() / "pg_dump"), "-d", damaged.site.database.url]
    text = subprocess.run(argv, env=environment(), check=True, capture_output=True).stdout
    pack = {".gz": gzip.compress, ".zst": zstandard.ZstdCompressor().compress}.get(suffix, bytes)
    file = folder / f"foreign.sql{suffix}"
    file.write_bytes(pack(text))
    return file


@pytest.mark.parametrize("suffix", sample_of(["", ".gz", ".zst"], [1]))
def test_any_plain_dump_is_restored_by_its_path(damaged: Damaged, tmp_path: Path, suffix: str) -> None:
    file = foreign(damaged, tmp_path, suffix)
    damaged.site.database.execute("DELETE FROM notifications")
    outcome = damaged.run(backup=str(file), mode="replace")
    assert damaged.content() == damaged.broken
    assert outcome.restore.backup == str(file)
    assert outcome.restore.safety is not None
    damaged.site.database.execute("DELETE FROM notifications WHERE id = 8")
    assert damaged.run(backup=str(file), mode="merge", tables=["notifications"]).rows["inserted"] == 1


def test_a_backup_that_lost_its_manifest_is_restored_by_its_file_and_a_person_is_told(damaged: Damaged) -> None:
    (damaged.site.backups / f"{damaged.backup}.sql.json").unlink()
    outcome = damaged.run(mode="replace")
    assert damaged.content() == damaged.whole
    assert any("no manifest" in each for each in outcome.warnings)
    assert set(damaged.pins()) == {outcome.restore.safety}


def test_a_database_that_is_gone_is_made_anew(damaged: Damaged) -> None:
    execute(damaged.server, f'DROP DATABASE "{damaged.name}"')
    plan = preview(damaged.service(), RestoreRequest.parse(damaged.service(), backup=damaged.backup, mode="replace"))
    assert plan.changes.total("inserted") == sum(rows for rows, _ in damaged.whole.values() if rows)
    outcome = damaged.run(mode="replace")
    assert damaged.content() == damaged.whole
    assert outcome.restore.safety is None
    assert "none is taken" in outcome.findings[-1].message
    require_nothing_left(damaged)


def test_without_the_right_to_create_databases_it_goes_in_place(own: Damaged) -> None:
    outcome = own.run(mode="replace")
    assert outcome.restore.method is Method.IN_PLACE
    assert any("in place" in note for note in outcome.notes)
    assert own.content() == own.whole
    assert own.databases() == set()
    assert own.pins() == {outcome.restore.safety: f"restore {outcome.restore.id}"}
    own.site.database.execute("DELETE FROM notifications WHERE id = 8")
    since = own.content()
    undone = rollback(own.service(), outcome.restore.id)
    assert own.content() == own.broken
    kept = undone.restore.safety
    assert own.pins() == {kept: outcome.restore.pin}
    assert any(str(kept) in note for note in undone.notes)
    assert any(str(kept) in each.message for each in check(own.service()))
    own.run(own.service(RESTORE_UNDO_HOURS="0"), backup=str(kept), mode="replace")
    assert own.content() == since, "what came since the restore is not lost"


def test_a_post_command_that_fails_in_place_is_undone_with_the_restore(own: Damaged) -> None:
    with pytest.raises(RestorePostCommandError):
        own.run(own.service(RESTORE_POST_COMMAND="false"), mode="replace")
    assert own.content() == own.broken
    assert [each.state for each in own.records()] == [RestoreState.FAILED]
    require_nothing_left(own)


def test_in_place_into_another_database_says_that_nothing_undoes_it(own: Damaged) -> None:
    other = f"{own.name}_staging"
    execute(own.server, f'CREATE DATABASE "{other}" OWNER owner_{own.name}')
    outcome = own.run(mode="replace", into=other)
    assert copy_of_all_tables(own.server.url(other)) == own.whole
    assert any("cannot be rolled back" in each for each in outcome.warnings)


def test_another_databases_backup_is_never_the_latest_and_is_told_of(damaged: Damaged) -> None:
    with scratch_database(damaged.server) as stranger:
        other = damaged.service(DATABASE_URL=stranger.url)
        assert take_backup(other, BackupRequest(tier=Tier.WEEKLY)) is not None
        strange = find(other, "latest").id
    assert find(damaged.service(), "latest").id == damaged.backup
    plan = preview(
        damaged.service(), RestoreRequest.parse(damaged.service(), backup=strange, mode="replace", allow_missing=True)
    )
    assert any("is a backup of database" in warning for warning in plan.warnings)
