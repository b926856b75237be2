"""What `check` and `sync` print."""

from __future__ import annotations

from collections.abc import Sequence

from app import documents
from app.cli.output.messages import document, warn
from app.cli.output.text import say
from app.domain.checks import Finding, Severity
from app.operations.backups.sync import SyncResult

_COLOURS = {Severity.OK: "green", Severity.WARNING: "yellow", Severity.ERROR: "red"}


def findings(found: Sequence[Finding], done: Sequence[str], *, as_json: bool) -> None:
    """What a check found."""
    if as_json:
        document(documents.check(found, done))
        return
    for line in done:
        say(f"repaired  {line}")
    for finding in found:
        finding_line(finding)


def finding_line(found: Finding) -> None:
    """One finding."""
    say(f"{found.severity:8}", colour=_COLOURS[found.severity], end=False)
    say(f" {found.check}: {found.message}")
    if found.error:
        say(f"         {found.error.hint}")


def synced(outcome: SyncResult, *, as_json: bool) -> None:
    """What a sync changed."""
    if as_json:
        document(documents.sync(outcome))
        return
    changes = {"added": outcome.added, "healed": outcome.healed, "forgotten": outcome.forgotten}
    for verb, names in changes.items():
        for name in names:
            say(f"{verb:10}{name}")
    if not any(changes.values()) and not outcome.problems:
        say("the catalog and the files agree")
    warn(outcome.problems)
