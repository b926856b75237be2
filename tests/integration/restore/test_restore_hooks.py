"""RESTORE_BEFORE_COMMAND and RESTORE_AFTER_COMMAND as real commands around real restores, also killed and cancelled."""

from __future__ import annotations

import json
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from app.domain.restore import RestoreState
from app.embedded.postgres import binaries
from app.embedded.server import wait_until
from app.postgres.programs import ProgramResult
from tests.fix_damaged import Damaged, drop_databases, require_nothing_left

# Appends to its file what it was told, and what it sees of the rows.
STORY = """#!/bin/sh
echo "$1 is at work"
echo "$1 $RESTORE_MODE ${{RESTORE_OUTCOME-none}} ${{RESTORE_ERROR-none}}" \
    "$({psql} -XqtAc 'SELECT count(*) FROM swap_requests' "$DATABASE_URL")" >> {story}
{more}
"""


@dataclass
class Hooked:
    """A damaged site with a command before and one after its restores.

    Attributes:
        folder: of the commands, and their working directory.
        lost: rows of `swap_requests` that were deleted since the backup.
    """

    damaged: Damaged
    folder: Path
    lost: int

    def write(self, name: str, more: str = "") -> None:
        """A command; `more` is what it does then."""
        script = self.folder / name
        script.write_text(STORY.format(psql=binaries() / "psql", story=self.folder / "story", more=more))
        script.chmod(0o755)

    def cli(self, *words: str, **settings: str) -> ProgramResult:
        """The program with these commands."""
        hooks = {"RESTORE_BEFORE_COMMAND": "./before before", "RESTORE_AFTER_COMMAND": "./after after"}
        return self.damaged.site.cli(*words, **{**hooks, "RESTORE_COMMAND_DIR": str(self.folder), **settings})

    def restore(self, *words: str, **settings: str) -> ProgramResult:
        """A replace by the backup."""
        words = ("restore", self.damaged.backup, "--mode", "replace", "--confirm", self.damaged.name, *words)
        return self.cli(*words, **settings)

    def story(self) -> list[str]:
        """What the commands saw since the last look."""
        lines = (self.folder / "story").read_text().splitlines() if (self.folder / "story").exists() else []
        (self.folder / "story").unlink(missing_ok=True)
        return lines

    def process_is_gone(self) -> bool:
        """Whether the process is gone whose number a command left in the file `pid`."""
        try:
            os.kill(int((self.folder / "pid").read_text()), 0)
        except ProcessLookupError:
            return True
        return False


@pytest.fixture
def hooked(damaged: Damaged, tmp_path: Path) -> Hooked:
    made = Hooked(damaged, tmp_path / "commands", damaged.whole['"public"."swap_requests"'][0])
    made.folder.mkdir()
    made.write("before")
    made.write("after")
    return made


def test_hooks_run_around_a_restore_and_its_rollback(hooked: Hooked) -> None:
    planned = hooked.restore("--dry-run")
    assert f"command: RESTORE_BEFORE_COMMAND runs {hooked.folder}/before" in planned.stdout.replace("/./", "/")
    assert hooked.story() == []
    done = hooked.restore("--json", LOG_LEVEL="INFO")
    assert done.code == 0, done.stderr
    assert hooked.damaged.content() == hooked.damaged.whole
    assert hooked.story() == ["before replace none none 0", f"after replace complete none {hooked.lost}"]
    printed = [line for line in done.stderr.splitlines() if "restore command printed" in line]
    assert ["before is at work" in printed[0], "after is at work" in printed[1]] == [True, True]
    undone = hooked.cli("rollback", json.loads(done.stdout)["restore"])
    assert undone.code == 0, undone.stderr
    assert hooked.story() == [f"before rollback none none {hooked.lost}", "after rollback complete none 0"]
    assert hooked.damaged.content() == hooked.damaged.broken


def test_a_before_command_that_fails_or_takes_too_long_leaves_all_as_it_was(hooked: Hooked) -> None:
    files = hooked.damaged.site.files()
    hooked.write("before", "echo no worker answers >&2; exit 7")
    failed = hooked.restore()
    assert failed.code == 1
    assert "RestoreHookError: RESTORE_BEFORE_COMMAND: before failed with exit code 7" in failed.stderr
    assert "no worker answers" in failed.stderr
    hooked.write("before", "sleep 600 & echo $! > pid; wait")
    late = hooked.restore(RESTORE_HOOK_SECONDS="1")
    assert "before did not end within 1 s" in late.stderr
    assert wait_until(hooked.process_is_gone, 10)
    story = [line.split()[:4] for line in hooked.story()]
    assert story == [["before", "replace", "none", "none"], ["after", "replace", "failed", "RestoreHookError"]] * 2
    assert hooked.damaged.content() == hooked.damaged.broken
    assert hooked.damaged.site.files() == files, "not even a safety backup was taken"
    require_nothing_left(hooked.damaged)
    assert hooked.restore(RESTORE_BEFORE_COMMAND="").code == 0
    assert hooked.damaged.content() == hooked.damaged.whole


def test_an_after_command_that_fails_is_a_warning(hooked: Hooked) -> None:
    this = f"{sys.executable} -c 'from app.cli import main; main()'"
    hooked.write("after", f"{this} restores; echo the cache is not there; exit 1")
    done = hooked.restore()
    assert done.code == 3
    assert "running: after command" in done.stderr, "a command may call this program"
    assert "unknown setting" not in done.stderr
    assert "warning: RESTORE_AFTER_COMMAND: after failed with exit code 1" in done.stderr
    assert "the cache is not there" in done.stderr
    assert hooked.damaged.content() == hooked.damaged.whole


def test_a_cancel_in_the_before_command_ends_it_and_runs_the_other(hooked: Hooked) -> None:
    hooked.write("before", "sleep 600 & echo $! > pid; kill -TERM $PPID; wait")
    cancelled = hooked.restore()
    assert cancelled.code == 130, cancelled.stderr
    assert wait_until(hooked.process_is_gone, 10)
    assert hooked.story()[-1] == "after replace failed RestoreCancelledError 0"
    assert hooked.damaged.content() == hooked.damaged.broken
    require_nothing_left(hooked.damaged)


# Which command kills the restore, and what the after command sees when that is recovered.
KILLED = {"before": (RestoreState.FAILED, "failed"), "after": (RestoreState.COMPLETE, "complete")}


@pytest.mark.parametrize("killer", KILLED)
def test_what_a_killed_restore_paused_goes_on_when_it_is_recovered(hooked: Hooked, killer: str) -> None:
    state, outcome = KILLED[killer]
    # The guard learns of a command just after its start: a command that kills us at once could outlive us.
    hooked.write(killer, "echo $$ > pid; sleep 0.5; kill -9 $PPID; sleep 600")
    assert hooked.restore().code == -signal.SIGKILL
    assert wait_until(hooked.process_is_gone, 10), "a command goes on without its restore"
    hooked.story()
    hooked.write(killer)
    assert hooked.restore().code == 11
    assert hooked.story() == []
    repaired = hooked.cli("check", "--repair")
    assert "RESTORE_AFTER_COMMAND was run" in repaired.stdout
    assert hooked.damaged.records()[0].state is state
    assert hooked.story() == [f"after replace {outcome} none {hooked.lost if outcome == 'complete' else 0}"]
    assert hooked.restore().code == 0
    assert hooked.damaged.content() == hooked.damaged.whole
    drop_databases(hooked.damaged.server, hooked.damaged.name)
