"""The log as a listener of events: one line each."""

from __future__ import annotations

import structlog

from app.domain.events import Level
from app.ports.events import Event

LOGGER = "app.events"
log = structlog.get_logger(LOGGER)


def write_line(event: Event) -> None:
    """Write an event's line: its phrase, and what is known of it as keys."""
    write = {Level.INFO: log.info, Level.WARNING: log.warning, Level.ERROR: log.error}[event.level]
    write(event.name.phrase, **keys_of(event))


def keys_of(event: Event) -> dict[str, object]:
    """The keys of an event's line, besides those that its run or task has bound."""
    known = {
        "backup": event.backup,
        "restore": event.restore,
        "database": event.database,
        "tier": None if event.tier is None else str(event.tier),
        "error": event.error,
        "reason": event.reason,
        "hint": event.hint,
    }
    keys: dict[str, object] = {key: value for key, value in known.items() if value is not None}
    if event.name.level is Level.ERROR:
        keys.setdefault("hint", None)
    return keys | dict(event.figures)
