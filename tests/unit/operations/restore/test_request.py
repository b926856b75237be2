"""What is asked of a restore: what makes no sense, and what cannot be done, is refused with all that is wrong."""

from __future__ import annotations

from typing import Any

import pytest

from app.domain.restore import RestoreState
from app.errors import (
    BackupNotFoundError,
    ResidencyBackupError,
    RestorePostCommandError,
    RestoreRunningError,
    RestoreValidationError,
)
from app.operations.restore.preview import diff, preview
from app.operations.restore.request import RestoreRequest
from app.operations.restore.run import restore
from tests.fix_memory_restores import DAMAGED, flip
from tests.fix_memory_site import MemorySite


@pytest.fixture
def site(damaged_memory_site: MemorySite) -> MemorySite:
    return damaged_memory_site


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"mode": "mirror"}, RestoreValidationError),
        ({"mode": "merge", "on_conflict": "newest"}, RestoreValidationError),
        ({"mode": "replace", "on_conflict": "keep-live"}, RestoreValidationError),
        ({"confirm": None}, RestoreValidationError),
        ({"confirm": "production"}, RestoreValidationError),
        ({"where": "id = 1"}, RestoreValidationError),
        ({"dependents": True}, RestoreValidationError),
        ({"tables": "people"}, RestoreValidationError),
        ({"tables": [7]}, RestoreValidationError),
        ({"mode": "merge", "as_role": "stranger"}, RestoreValidationError),
        ({"skip_tables": ["people"]}, RestoreValidationError),
        ({"mode": "merge", "skip_tables": "people"}, RestoreValidationError),
        ({"mode": "merge", "fills": ["people.phone"]}, RestoreValidationError),
        ({"into": "template1"}, RestoreValidationError),
        ({"into": "x" * 64}, RestoreValidationError),
        ({"into": ""}, RestoreValidationError),
        ({"search_path": "public; DROP TABLE people"}, RestoreValidationError),
        ({"backup": "daily/backup-1999-01-01"}, BackupNotFoundError),
        ({"backup": "/nowhere/dump.sql"}, BackupNotFoundError),
    ],
)
def test_a_request_that_makes_no_sense_is_refused_before_anything_is_recorded(
    site: MemorySite, asked: dict[str, Any], expected: type[ResidencyBackupError]
) -> None:
    with pytest.raises(expected) as caught:
        site.restore(**asked)
    assert caught.value.hint
    assert site.restores() == []
    assert site.rows == DAMAGED


@pytest.mark.parametrize("nothing", [None, [], (), "", {}])
def test_naming_no_tables_means_all(site: MemorySite, nothing: Any) -> None:
    assert RestoreRequest.parse(site.service, "latest", tables=nothing).merge.tables == ()


def test_what_is_refused_while_it_is_checked_is_recorded_with_all_that_is_wrong(site: MemorySite) -> None:
    flip(site)
    site.tree.mount.free = 0
    with pytest.raises(RestoreValidationError) as caught:
        site.restore()
    assert "1 more" in caught.value.message
    assert [record.state for record in site.restores()] == [RestoreState.FAILED]


def test_a_second_restore_is_refused_and_a_message_delivered_twice_is_run_once(site: MemorySite) -> None:
    def second() -> None:
        with pytest.raises(RestoreRunningError, match="under way"):
            site.restore()

    site.server.meanwhile["create"] = second
    request = RestoreRequest.parse(site.service, "latest", "task-1", confirm="residency")
    restore(site.service, request)
    with pytest.raises(RestoreRunningError):
        restore(site.service, request)
    assert len(site.restores()) == 1


def test_rows_need_a_database_to_go_into(site: MemorySite) -> None:
    site.server.databases.clear()
    with pytest.raises(RestoreValidationError, match="no database residency to bring rows into"):
        site.restore(mode="merge")


def test_a_post_command_that_is_not_there_is_found_before_anything_is_done(site: MemorySite) -> None:
    site.service = site.with_options(post_command=("/no/such/program",))
    with pytest.raises(RestorePostCommandError):
        site.restore()
    assert len(site.ids()) == 1


def test_a_preview_says_what_a_restore_then_does_and_touches_nothing(site: MemorySite) -> None:
    files, records = site.files(), site.restores()
    request = RestoreRequest.parse(site.service, "latest", mode="merge", confirm=None)
    planned = preview(site.service, request)
    assert (site.files(), site.restores(), site.rows) == (files, records, DAMAGED)
    done = site.restore(mode="merge")
    assert planned.changes is not None
    assert done.changes is not None
    assert planned.changes.tables == done.changes.tables


def test_a_diff_is_of_two_backups_or_of_one_and_the_live_database(site: MemorySite) -> None:
    site.take()
    for other in ("latest", None):
        tables = {counts.table: counts for counts in diff(site.service, "oldest", other).tables}
        assert (tables["public.people"].inserted, tables["public.people"].updated) == (1, 1)
