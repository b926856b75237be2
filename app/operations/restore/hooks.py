"""The operator's commands around a restore that changes the live database, and around its rollback.

checks -> RESTORE_BEFORE_COMMAND -> safety backup, change -> RESTORE_AFTER_COMMAND -> the end is recorded

Once the first command has begun, the second one is run whatever happens, so that whatever was paused goes on. It is run
before the end is recorded: if this process dies in between, whoever recovers the restore runs it (again).
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

from app.domain.checks import Finding, first_error
from app.domain.events import EventName, RestoreEvent
from app.domain.hooks import ROLLBACK, Hook, Outcome
from app.domain.restore import Restore, RestoreState, Step
from app.errors import BackupCancelledError, CatalogError, RestoreError, RestoreHookError
from app.operations.options import Options
from app.operations.restore.commands import command_finding
from app.operations.restore.journal import Journal
from app.operations.service import Progress, Service
from app.ports.events import Event, failure

CHECKS = {Hook.BEFORE: "before command", Hook.AFTER: "after command"}
_DONE: dict[Hook, EventName] = {Hook.BEFORE: RestoreEvent.BEFORE_DONE, Hook.AFTER: RestoreEvent.AFTER_DONE}
_MOST_LINES = 100  # of a command's output that are logged
_BY_HAND = "see what it printed, in the log; do its work by hand"


class Hooks:
    """The two commands around one restore or rollback.

    Args:
        journal: its record.
        mode: RESTORE_MODE of the commands: the mode of the restore, or ``rollback``.
        progress: shows that a command runs.
    """

    def __init__(self, journal: Journal, mode: str, progress: Progress) -> None:
        self._journal = journal
        self._mode = mode
        self._progress = progress
        self._due = False

    @property
    def _service(self) -> Service:
        return self._journal.service

    def before(self) -> None:
        """Run RESTORE_BEFORE_COMMAND; from then on RESTORE_AFTER_COMMAND is due.

        Raises:
            RestoreHookError: it failed; nothing was changed.
        """
        if self._journal.record.into is not None:
            return
        self._due = True
        if not self._service.options.before_command:
            return
        if self._mode != ROLLBACK:  # a rollback is known by its step
            self._journal.write(Step.BEFORE_COMMAND)
        self._progress.start(CHECKS[Hook.BEFORE], None)
        try:
            _run(self._service, Hook.BEFORE, _variables(self._journal.record, self._mode))
        except RestoreHookError as error:
            without = f"or do without: the same command with {Hook.BEFORE}= in front (docker: exec -e {Hook.BEFORE}=)"
            message = f"{Hook.BEFORE}: {error.message}"
            raise RestoreHookError(message, f"nothing was changed; correct the command, {without}") from error

    def after(self, outcome: Outcome, error: Exception | None = None) -> list[str]:
        """Run RESTORE_AFTER_COMMAND, once; returns warnings.

        Args:
            outcome: of the restore or rollback.
            error: why it failed.
        """
        if not self._due or not self._service.options.after_command:
            return []
        is_running = self._journal.record.state is RestoreState.RUNNING
        if is_running and outcome is Outcome.COMPLETE and self._mode != ROLLBACK:
            # Recording the end fails for the same reason, and reports it.
            with contextlib.suppress(CatalogError, RestoreError):
                self._journal.write(Step.AFTER_COMMAND)
        self._progress.start(CHECKS[Hook.AFTER], None)
        self._due = False  # from here on a cancel is one of the command; before, who ends the restore runs it
        return _run_after(self._service, self._journal.record, self._mode, outcome, error)


def run_after_recovery(service: Service, was: Restore, recovered: Restore) -> list[str]:
    """Run RESTORE_AFTER_COMMAND for a restore or rollback whose process died, or could not clean up.

    Args:
        service: the parts.
        was: the record as that process left it.
        recovered: the record as it should be.

    Returns:
        What was done, or a warning; nothing if the command is not due.
    """
    if not is_due(service.options, was):
        return []
    rolling_back = was.step is Step.ROLLING_BACK
    wanted = RestoreState.ROLLED_BACK if rolling_back else RestoreState.COMPLETE
    outcome = Outcome.COMPLETE if recovered.state is wanted else Outcome.FAILED
    warnings = _run_after(service, recovered, ROLLBACK if rolling_back else str(was.mode), outcome, None)
    return warnings or [f"{Hook.AFTER} was run"]


def is_due(options: Options, record: Restore) -> bool:
    """Whether RESTORE_AFTER_COMMAND is to be run when an interrupted restore or rollback is recovered."""
    return bool(options.after_command) and record.into is None and record.step is not Step.CHECKING


def hook_findings(options: Options, into: str | None) -> Iterator[Finding]:
    """Whether the commands can be run, if they will be."""
    for hook, command in ((Hook.BEFORE, options.before_command), (Hook.AFTER, options.after_command)):
        if command and into is not None:
            yield Finding.ok(CHECKS[hook], f"{hook} is not run: {into} is not the live database")
        elif command:
            yield command_finding(CHECKS[hook], hook, command, options.command_dir, RestoreHookError)


def require_hooks(options: Options) -> None:
    """Make sure that the commands can be run, before anything is done.

    Raises:
        RestoreHookError: there is no such program, or no such folder.
    """
    if error := first_error(list(hook_findings(options, None))):
        raise error


def _run_after(service: Service, record: Restore, mode: str, outcome: Outcome, error: Exception | None) -> list[str]:
    variables = _variables(record, mode) | {"RESTORE_OUTCOME": str(outcome)}
    if error is not None:
        variables["RESTORE_ERROR"] = type(error).__name__
    try:
        _run(service, Hook.AFTER, variables)
    except RestoreHookError as problem:
        failed = RestoreHookError(f"{Hook.AFTER}: {problem.message}", _BY_HAND)
    except (KeyboardInterrupt, BackupCancelledError):
        failed = RestoreHookError(f"{Hook.AFTER} was cancelled", _BY_HAND)
    else:
        return []
    event = failure(RestoreEvent.AFTER_FAILED, failed, restore=record.id, outcome=str(outcome))
    service.events.emit(replace(event, hint=failed.hint))
    return [f"{failed.message}; {failed.hint}"]


def _variables(record: Restore, mode: str) -> dict[str, str]:
    safety = {} if record.safety is None else {"RESTORE_SAFETY": record.safety}
    return {
        "RESTORE_ID": record.id,
        "RESTORE_MODE": mode,
        "RESTORE_DATABASE": record.changes,
        "RESTORE_BACKUP": record.backup,
        **safety,
    }


def _run(service: Service, hook: Hook, variables: dict[str, str]) -> None:
    options = service.options
    command: Sequence[str] = options.before_command if hook is Hook.BEFORE else options.after_command
    restore, lines = variables["RESTORE_ID"], 0

    def tell(line: str) -> None:
        nonlocal lines
        lines += 1
        if lines <= _MOST_LINES:
            figures = {"command": str(hook), "line": line}
            service.events.emit(Event(RestoreEvent.COMMAND_PRINTED, restore=restore, figures=figures))

    begun = time.monotonic()
    service.tools.commands.run(command, variables, options.hook_seconds, tell)
    figures: dict[str, object] = {"seconds": round(time.monotonic() - begun, 3)}
    if lines > _MOST_LINES:
        figures["lines_not_shown"] = lines - _MOST_LINES
    service.events.emit(Event(_DONE[hook], restore=restore, figures=figures))
