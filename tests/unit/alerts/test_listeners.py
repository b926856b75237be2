"""Who is told of events."""

from __future__ import annotations

import ast
from pathlib import Path

import structlog.testing

from app.alerts.listeners import Listeners
from app.alerts.log import write_line
from app.domain.backup import Tier
from app.domain.events import ALL, BackupEvent, Level
from app.errors import BackupStorageError
from app.ports.events import Event, failure

OPERATIONS = Path(__file__).parents[3] / "app" / "operations"
CREATED = Event(BackupEvent.CREATED, backup="daily/backup-2025-01-15", figures={"bytes": 7, "rows": None})


def test_the_log_writes_a_line_with_what_is_known() -> None:
    with structlog.testing.capture_logs() as lines:
        write_line(CREATED)
        write_line(failure(BackupEvent.FAILED, BackupStorageError("the disk is full", "free it"), tier=Tier.DAILY))
        write_line(failure(BackupEvent.FAILED, ValueError("a bug"), run="4711"))
        write_line(failure(BackupEvent.CATALOG_NOT_SAVED, BackupStorageError("full", "free it"), backup="a"))
    expected = {"event": "backup created", "log_level": "info", "backup": "daily/backup-2025-01-15"}
    assert lines[0] == {**expected, "bytes": 7, "rows": None}
    expected = {"event": "backup failed", "log_level": "error", "error": "BackupStorageError", "tier": "daily"}
    assert lines[1] == {**expected, "reason": "the disk is full", "hint": "free it"}
    expected = {"event": "backup failed", "log_level": "error", "error": "ValueError", "run": "4711"}
    assert lines[2] == {**expected, "reason": "a bug", "hint": None}
    expected = {"event": "backup catalog not saved", "log_level": "warning", "error": "BackupStorageError"}
    assert lines[3] == {**expected, "backup": "a", "reason": "full"}


def test_a_check_is_as_bad_as_what_it_found() -> None:
    with structlog.testing.capture_logs() as lines:
        write_line(Event(BackupEvent.PREFLIGHT, found=Level.ERROR))
        write_line(Event(BackupEvent.PREFLIGHT))
    assert [line["log_level"] for line in lines] == ["error", "warning"]


def test_a_listener_that_fails_is_a_warning_and_the_others_are_told() -> None:
    told: list[Event] = []

    def broken(_: Event) -> None:
        raise OSError("no way out")

    with structlog.testing.capture_logs() as lines:
        Listeners([broken, told.append]).emit(CREATED)
    assert told == [CREATED]
    (line,) = lines
    assert (line["log_level"], line["listener"], line["told"]) == ("warning", "broken", "backup created")
    assert (line["error"], line["reason"]) == ("OSError", "no way out")


def test_every_name_can_be_searched_for_and_says_what_it_means() -> None:
    phrases = [name.phrase for name in ALL]
    assert len(set(phrases)) == len(phrases)
    assert all("backup" in phrase or "restore" in phrase for phrase in phrases)
    assert all(name.meaning.endswith(".") for name in ALL)


def test_operations_tell_by_events_and_log_steps_alone() -> None:
    """Whatever an operator reads at INFO or above, every listener is told of."""
    wrong = [
        f"{file.relative_to(OPERATIONS)}:{node.lineno}"
        for file in OPERATIONS.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Attribute) and node.attr in {"info", "warning", "error", "exception"}
        if isinstance(node.value, ast.Name) and node.value.id == "log"
    ]
    assert wrong == []
