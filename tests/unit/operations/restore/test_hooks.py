"""The operator's commands around a restore: when they run, what they are told, and what their failure means."""

from __future__ import annotations

from typing import Any

import pytest

from app.domain.restore import RestoreState, Step
from app.errors import (
    RestoreBusyError,
    RestoreCancelledError,
    RestoreHookError,
    RestoreRollbackError,
    RestoreValidationError,
)
from app.operations.backups.inventory import inventory
from app.operations.health.check import repair
from app.operations.health.restores import check_restores
from app.operations.restore.journal import Journal
from app.operations.restore.preview import preview
from app.operations.restore.request import RestoreRequest
from app.operations.restore.rollback import rollback
from tests.fakes.server import some_rows
from tests.fix_catalog import held_by
from tests.fix_memory_restores import DAMAGED, METHODS, after, flip, methods
from tests.fix_memory_site import MemorySite

BEFORE, AFTER = ("echo", "paused"), ("printenv", "RESTORE_OUTCOME")
BACKUP = "daily/backup-2025-01-15"


@pytest.fixture
def site(damaged_memory_site: MemorySite) -> MemorySite:
    hooked(damaged_memory_site)
    return damaged_memory_site


def hooked(site: MemorySite, before: tuple[str, ...] = BEFORE, after: tuple[str, ...] = AFTER) -> None:
    site.service = site.with_options(before_command=before, after_command=after)


def ran(site: MemorySite) -> list[str]:
    return [words for words, _ in site.commands.ran]


def outcomes(site: MemorySite) -> list[str]:
    """What the after command was told, each time."""
    return [variables["RESTORE_OUTCOME"] for words, variables in site.commands.ran if words == " ".join(AFTER)]


@pytest.mark.parametrize("name", METHODS)
def test_one_runs_before_the_safety_backup_and_one_after_the_change(site: MemorySite, name: str) -> None:
    seen: list[list[str]] = []
    site.commands.meanwhile["echo paused"] = lambda: seen.append(site.ids())
    site.commands.meanwhile["printenv RESTORE_OUTCOME"] = lambda: seen.append([str(site.rows == after(name))])
    outcome = site.restore(**methods(site, name))
    assert seen == [[BACKUP], ["True"]]
    record = outcome.restore
    variables = {"RESTORE_ID": record.id, "RESTORE_MODE": str(record.mode), "RESTORE_DATABASE": "residency"}
    variables |= {"RESTORE_BACKUP": BACKUP}
    ended = {"RESTORE_SAFETY": str(record.safety), "RESTORE_OUTCOME": "complete"}
    assert site.commands.ran == [(" ".join(BEFORE), variables), (" ".join(AFTER), variables | ended)]
    lines = [event.figures["line"] for event in site.events if event.name.phrase == "restore command printed"]
    assert lines == ["paused", "complete"]
    assert {"restore before command done", "restore after command done"} <= set(site.phrases)
    assert (outcome.warnings, record.state, record.step) == ([], RestoreState.COMPLETE, Step.DONE)


def test_a_before_command_that_fails_stops_the_restore_before_anything_is_done(site: MemorySite) -> None:
    hooked(site, before=("false",))
    with pytest.raises(RestoreHookError, match=r"RESTORE_BEFORE_COMMAND: false failed with exit code 1") as failed:
        site.restore()
    assert "nothing was changed" in failed.value.hint
    assert "RESTORE_BEFORE_COMMAND=" in failed.value.hint
    (record,) = site.restores()
    assert (record.state, record.error, record.safety) == (RestoreState.FAILED, "RestoreHookError", None)
    assert site.rows == DAMAGED
    assert site.ids() == [BACKUP]
    assert outcomes(site) == ["failed"]  # it may have paused something before it failed
    assert site.commands.ran[-1][1]["RESTORE_ERROR"] == "RestoreHookError"


def test_one_that_takes_too_long_is_a_failure(site: MemorySite) -> None:
    site.service = site.with_options(before_command=("sleep", "9"), after_command=AFTER, hook_seconds=8)
    with pytest.raises(RestoreHookError, match="did not end within 8 s"):
        site.restore()
    assert site.rows == DAMAGED


@pytest.mark.parametrize("command", [("false",), ("sleep", "301")])
def test_an_after_command_that_fails_is_a_warning(site: MemorySite, command: tuple[str, ...]) -> None:
    hooked(site, after=command)
    outcome = site.restore()
    assert [warning.partition(": ")[0] for warning in outcome.warnings] == ["RESTORE_AFTER_COMMAND"]
    assert site.restores()[0].report["warnings"] == outcome.warnings
    assert site.restores()[0].state is RestoreState.COMPLETE
    assert site.rows == some_rows()
    assert "restore after command failed" in site.phrases


def test_a_restore_that_fails_is_followed_by_the_after_command(site: MemorySite) -> None:
    site.server.fails["load"] = RestoreBusyError("somebody stays in it", "end them")
    with pytest.raises(RestoreBusyError):
        site.restore()
    assert outcomes(site) == ["failed"]
    assert site.commands.ran[-1][1]["RESTORE_ERROR"] == "RestoreBusyError"
    assert site.restores()[0].state is RestoreState.FAILED


def test_so_is_one_that_is_cancelled_in_the_before_command_or_later(site: MemorySite) -> None:
    for begin in (site.commands.meanwhile, site.server.meanwhile):
        begin["echo paused" if begin is site.commands.meanwhile else "prove"] = interrupt
        with pytest.raises(RestoreCancelledError):
            site.restore()
    assert outcomes(site) == ["failed", "failed"]
    assert [record.state for record in site.restores()] == [RestoreState.FAILED] * 2


def test_so_is_one_whose_clean_up_fails_and_again_when_it_is_known_how_it_ended(site: MemorySite) -> None:
    site.server.fails = {"load": RestoreBusyError("busy"), "drop": RestoreBusyError("somebody stays in it")}
    with pytest.raises(RestoreRollbackError):
        site.restore()
    assert outcomes(site) == ["failed"]
    site.server.fails = {}
    assert any("RESTORE_AFTER_COMMAND was run" in line for line in repair(site.service))
    assert outcomes(site) == ["failed", "failed"]


def interrupt() -> None:
    raise KeyboardInterrupt


def test_a_cancel_in_the_after_command_is_a_warning_because_the_change_is_done(site: MemorySite) -> None:
    site.commands.meanwhile["printenv RESTORE_OUTCOME"] = interrupt
    outcome = site.restore()
    assert "RESTORE_AFTER_COMMAND was cancelled" in outcome.warnings[0]
    assert site.rows == some_rows()
    assert site.restores()[0].state is RestoreState.COMPLETE


def test_a_cancel_right_before_the_after_command_does_not_keep_it_from_running(
    site: MemorySite, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Journal.write

    def cancelled(journal: Journal, step: Step | None = None, **changes: Any) -> None:
        write(journal, step, **changes)
        if step is Step.AFTER_COMMAND:
            raise KeyboardInterrupt

    monkeypatch.setattr(Journal, "write", cancelled)
    outcome = site.restore()
    assert outcomes(site) == ["complete"]
    assert "it was cancelled or cut off after it had been committed" in outcome.warnings[0]
    assert site.restores()[0].state is RestoreState.COMPLETE


@pytest.mark.parametrize("name", ["replace", "in place", "merge"])
def test_hooks_run_around_a_rollback_too(site: MemorySite, name: str) -> None:
    record = site.restore(**methods(site, name)).restore
    site.commands.ran.clear()
    outcome = rollback(site.service, record.id)
    assert ran(site) == [" ".join(BEFORE), " ".join(AFTER)]
    assert [variables["RESTORE_MODE"] for _, variables in site.commands.ran] == ["rollback", "rollback"]
    assert (outcomes(site), outcome.warnings) == (["complete"], [])
    assert site.rows == DAMAGED


def test_a_before_command_that_fails_stops_a_rollback(site: MemorySite) -> None:
    record = site.restore().restore
    hooked(site, before=("false",))
    with pytest.raises(RestoreHookError, match="RESTORE_BEFORE_COMMAND"):
        rollback(site.service, record.id)
    assert site.rows == some_rows()
    assert site.restores()[0].state is RestoreState.COMPLETE
    assert outcomes(site) == ["complete", "failed"]
    hooked(site, after=("false",))
    assert "RESTORE_AFTER_COMMAND" in rollback(site.service, record.id).warnings[0]
    assert site.rows == DAMAGED


def test_a_program_that_is_not_there_is_found_before_a_rollback_begins(site: MemorySite) -> None:
    record = site.restore().restore
    hooked(site, after=("/no/such/program",))
    site.commands.ran.clear()
    with pytest.raises(RestoreHookError, match="RESTORE_AFTER_COMMAND: there is no program"):
        rollback(site.service, record.id)
    assert not site.commands.ran
    assert site.restores()[0].state is RestoreState.COMPLETE


@pytest.mark.parametrize("which", ["before", "after"])
def test_a_program_that_is_not_there_refuses_the_restore_before_any_command_runs(site: MemorySite, which: str) -> None:
    hooked(site, **{which: ("/no/such/program", "-p", "secret-4711")})
    with pytest.raises(RestoreHookError, match="there is no program /no/such/program") as failed:
        site.restore()
    assert "4711" not in f"{failed.value} {failed.value.hint}"
    assert not site.commands.ran


def test_a_restore_that_is_refused_by_the_checklist_runs_none(site: MemorySite) -> None:
    flip(site)
    with pytest.raises(RestoreValidationError):
        site.restore()
    assert not site.commands.ran


def test_a_restore_into_another_database_runs_none(site: MemorySite) -> None:
    outcome = site.restore(into="staging", confirm="staging")
    assert not site.commands.ran
    messages = [finding.message for finding in outcome.findings if finding.check == "before command"]
    assert messages == ["RESTORE_BEFORE_COMMAND is not run: staging is not the live database"]


def test_a_dry_run_runs_none_and_says_which_would_run(site: MemorySite) -> None:
    plan = preview(site.service, RestoreRequest.parse(site.service, "latest", mode="replace"))
    assert [line.partition(" /")[0] for line in plan.commands] == [
        "RESTORE_BEFORE_COMMAND runs",
        "RESTORE_AFTER_COMMAND runs",
    ]
    hooked(site, before=("/no/such/program",))
    plan = preview(site.service, RestoreRequest.parse(site.service, "latest", mode="merge"))
    assert any("/no/such/program" in warning for warning in plan.warnings)
    assert len(plan.commands) == 1
    assert not site.commands.ran


class Killed(BaseException):
    """The process dies here."""


def die() -> None:
    raise Killed


def bury(site: MemorySite) -> None:
    held_by(site.catalog_url, "another-machine/pid:[1]/7/123", "backup_restores")
    site.later(minutes=30)


# Where the process dies, and what the after command is told when somebody recovers it.
DEATHS: dict[str, tuple[dict[str, str], list[str]]] = {
    "in the before command": ({"commands": "echo paused"}, ["failed"]),
    "in the load": ({"server": "load"}, ["failed"]),
    "after the swap": ({"server": "swapped"}, ["complete"]),
    "in the after command": ({"commands": "printenv RESTORE_OUTCOME"}, ["complete", "complete"]),
}


@pytest.mark.parametrize("death", DEATHS)
def test_who_recovers_a_restore_that_died_runs_the_after_command(site: MemorySite, death: str) -> None:
    (at, expected) = DEATHS[death]
    for part, step in at.items():
        getattr(site, part).meanwhile[step] = die
    with pytest.raises(Killed):
        site.restore()
    bury(site)
    found = check_restores(site.service, inventory(site.service))
    assert any("RESTORE_AFTER_COMMAND is still to be run" in finding.message for finding in found)
    (remark,) = [line for line in repair(site.service) if "restore " in line]
    assert "RESTORE_AFTER_COMMAND was run" in remark
    assert outcomes(site) == expected
    assert site.commands.ran[-1][1]["RESTORE_MODE"] == "replace"
    (record,) = site.restores()
    assert record.state is (RestoreState.COMPLETE if expected[-1] == "complete" else RestoreState.FAILED)
    assert site.rows == (some_rows() if expected[-1] == "complete" else DAMAGED)
    site.commands.ran.clear()
    repair(site.service)
    assert not site.commands.ran


def test_who_recovers_a_rollback_that_died_says_so_to_the_command(site: MemorySite) -> None:
    record = site.restore().restore
    site.server.meanwhile["swap"] = die
    with pytest.raises(Killed):
        rollback(site.service, record.id)
    bury(site)
    hooked(site, after=("false",))
    assert any("RESTORE_AFTER_COMMAND: false failed" in line for line in repair(site.service))
    words, variables = site.commands.ran[-1]
    assert (words, variables["RESTORE_MODE"], variables["RESTORE_OUTCOME"]) == ("false", "rollback", "failed")


def test_a_restore_that_was_refused_and_died_leads_to_no_command(site: MemorySite) -> None:
    site.server.meanwhile["facts"] = die
    with pytest.raises(Killed):
        site.restore()
    bury(site)
    repair(site.service)
    assert not site.commands.ran


def test_much_output_is_told_of_in_part(site: MemorySite, monkeypatch: pytest.MonkeyPatch) -> None:
    real = site.commands.run

    def chatty(*given: Any) -> None:
        *_, tell = given
        for number in range(150):
            tell(f"line {number}")
        real(*given)

    monkeypatch.setattr(site.commands, "run", chatty)
    hooked(site, after=())
    site.restore()
    assert site.phrases.count("restore command printed") == 100
    (done,) = [event for event in site.events if event.name.phrase == "restore before command done"]
    assert done.figures["lines_not_shown"] == 51
