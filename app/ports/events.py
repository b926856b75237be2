"""The port for events: operations report through it what is done, failed or worth a warning."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from app.domain.backup import Tier
from app.domain.events import EventName, Level
from app.errors import ResidencyBackupError


@dataclass(frozen=True, slots=True)
class Event:
    """Something worth reporting.

    Attributes:
        name: of the event.
        backup, restore: id of the backup or restore.
        database, tier: of the backup or restore; None if the caller has bound them to all of its log lines.
        figures: further values, each under its key in the log line: ``bytes``, ``seconds``, ``file``.
        error: class of the error, if there is one.
        reason: why it happened.
        hint: what to do now.
        found: the level of this event, if it differs from the level of its name.
    """

    name: EventName
    backup: str | None = field(default=None, kw_only=True)
    restore: str | None = field(default=None, kw_only=True)
    database: str | None = field(default=None, kw_only=True)
    tier: Tier | None = field(default=None, kw_only=True)
    figures: Mapping[str, object] = field(default_factory=dict, kw_only=True)
    error: str | None = field(default=None, kw_only=True)
    reason: str | None = field(default=None, kw_only=True)
    hint: str | None = field(default=None, kw_only=True)
    found: Level | None = field(default=None, kw_only=True)

    @property
    def level(self) -> Level:
        """How much it matters."""
        return self.found or self.name.level


class Events(Protocol):
    """The listeners of events."""

    def emit(self, event: Event) -> None:
        """Report an event. Never raises: a listener that fails is named in the log."""


def failure(  # noqa: PLR0913 -- the keys of a log line
    name: EventName,
    error: Exception,
    *,
    backup: str | None = None,
    restore: str | None = None,
    database: str | None = None,
    tier: Tier | None = None,
    **figures: object,
) -> Event:
    """The event of an error, with its class and reason. If the level is ERROR, it has the hint too."""
    typed = error if isinstance(error, ResidencyBackupError) else None
    return Event(
        name,
        backup=backup,
        restore=restore,
        database=database,
        tier=tier,
        figures=figures,
        error=type(error).__name__,
        reason=str(error) if typed is None else typed.message,
        hint=typed.hint if typed is not None and name.level is Level.ERROR else None,
    )
