"""The port by which operations tell what happened: done, failed, warned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from app.domain.backup import Tier
from app.domain.events import EventName, Level
from app.errors import ResidencyBackupError


@dataclass(frozen=True, slots=True)
class Event:
    """Something worth telling.

    Attributes:
        name: what happened.
        backup, restore: the id of what it happened to.
        database, tier: whose; None if whoever tells has named them to the log for all that it does.
        figures: what else is known, by the keys of the log line: ``bytes``, ``seconds``, ``file``.
        error: class of the error, if it is one.
        reason: why it happened.
        hint: what to do now.
        found: how much it matters, if that is not the name's level.
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
    """Whoever wants to know of events."""

    def emit(self, event: Event) -> None:
        """Tell of an event. Never fails: a listener that does is named in the log."""


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
    """The event of an error: its class and reason; of an ERROR the hint too."""
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
