"""Whoever restores a backup of another revision is told, and told what to do about it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from app import documents
from app.domain.checks import Severity
from app.domain.revisions import History
from app.errors import DiskReadError, RestoreMisfitError, RestoreValidationError
from app.operations.restore.preview import Preview, diff, preview
from app.operations.restore.request import RestoreRequest
from tests.fix_memory_site import MemorySite, by_check

HISTORY = History({"a": (), "b": ("a",), "c": ("b",)})
SAID = "the backup is of revision a, the live database of c (a comes before c, by 2 migrations)"


@pytest.fixture
def site(memory_site: MemorySite) -> MemorySite:
    """A backup of revision a; the live database is of c."""
    live = memory_site.server.databases["residency"]
    live.revision = "a"
    memory_site.take()
    live.revision = "c"
    memory_site.read_history(lambda: HISTORY)
    return memory_site


def planned(site: MemorySite, **asked: object) -> Preview:
    return preview(site.service, RestoreRequest.parse(site.service, "latest", **asked))


def test_a_replace_by_an_older_backup_warns_and_says_what_to_run(site: MemorySite) -> None:
    plan = planned(site, mode="replace")
    (warning,) = [text for text in plan.warnings if "revision" in text]
    assert warning.startswith(f"{SAID}: after the restore run the application's migrations")
    assert documents.preview(plan)["revisions"] == {
        "backup": ["a"],
        "live": ["c"],
        "order": "before",
        "migrations": 2,
        "others": [],
    }
    outcome = site.restore()
    assert warning in outcome.warnings
    assert documents.restore(outcome)["revisions"]["order"] == "before"


def test_with_a_post_command_nothing_is_left_to_do(site: MemorySite) -> None:
    site.service = replace(site.service, options=replace(site.service.options, post_command=("true",)))
    outcome = site.restore()
    assert (
        by_check(outcome.findings)["revision"].message == f"{SAID}: RESTORE_POST_COMMAND runs on the restored database"
    )
    assert not [text for text in outcome.warnings if "revision" in text]


def test_a_backup_of_a_later_revision_is_no_matter_of_migrations(site: MemorySite) -> None:
    site.server.databases["residency"].revision = "c"
    site.later(hours=1)
    site.take()
    site.server.databases["residency"].revision = "b"
    (warning,) = [text for text in planned(site, mode="replace").warnings if "revision" in text]
    assert "c comes after b, by 1 migration): the application that runs now may not know that schema" in warning


def test_a_merge_notes_it_and_names_the_command_that_migrates_a_copy(site: MemorySite) -> None:
    plan, outcome = planned(site, mode="merge"), site.restore(mode="merge")
    for notes in (plan.changes.notes, outcome.notes):
        (note,) = [text for text in notes if text.startswith(SAID)]
        assert "residency-backup restore daily/backup-2025-01-15 --mode merge --migrate" in note
    assert not plan.warnings
    assert documents.restore(outcome)["revisions"]["migrations"] == 2


def test_diff_says_it_of_the_live_database_and_of_two_backups(site: MemorySite) -> None:
    against_live = diff(site.service, "latest", None)
    assert SAID in against_live.notes
    site.later(days=1)
    site.take()
    of_two = diff(site.service, "oldest", "latest")
    (note,) = of_two.notes
    assert note == (
        "daily/backup-2025-01-15 is of revision a, daily/backup-2025-01-16 of c (a comes before c, by 2 migrations)"
    )


def test_scripts_that_cannot_be_read_keep_nobody_from_a_restore(site: MemorySite) -> None:
    def fails() -> History:
        raise DiskReadError("/srv/app/a.py cannot be read: Permission denied")

    site.read_history(fails)
    finding = by_check(site.restore(mode="merge").findings)["revision"]
    assert finding.severity is Severity.OK
    assert "the live database of c; /srv/app/a.py cannot be read" in finding.message


def test_the_same_revision_is_said_and_nothing_more(site: MemorySite) -> None:
    site.server.databases["residency"].revision = "a"
    outcome = site.restore(mode="merge")
    assert by_check(outcome.findings)["revision"].message == "backup and live database are of revision a"
    assert not [note for note in outcome.notes if "revision" in note]


def test_show_and_list_have_the_revision(site: MemorySite) -> None:
    assert documents.backup(site.find())["revision"] == "a"


def test_a_merge_that_does_not_fit_is_refused_with_the_command_that_migrates_a_copy(site: MemorySite) -> None:
    del site.rows["shifts"]
    for run in (lambda: planned(site, mode="merge"), lambda: site.restore(mode="merge")):
        with pytest.raises(RestoreMisfitError, match="is not in the live database") as refused:
            run()
        assert refused.value.hint.endswith("--mode merge --migrate 'alembic upgrade head' --dry-run")


def test_the_command_that_migrates_a_copy_has_the_options_of_the_merge_and_helps_no_typo(
    site: MemorySite,
) -> None:
    with pytest.raises(RestoreValidationError, match="no table nothing") as refused:
        planned(site, mode="merge", tables=["nothing"])
    assert "--migrate" not in refused.value.hint
    plan = planned(site, mode="merge", tables=["people"], on_conflict="keep-live")
    way = "--mode merge --table people --on-conflict keep-live --migrate 'alembic upgrade head' --dry-run"
    assert any(note.endswith(way) for note in plan.changes.notes), plan.changes.notes
