"""The names of all events of operations."""

from __future__ import annotations

from app.domain.events.backup import BackupEvent
from app.domain.events.name import EventName, Level
from app.domain.events.restore import RestoreEvent

ALL: tuple[EventName, ...] = (*BackupEvent, *RestoreEvent)

__all__ = ["ALL", "BackupEvent", "EventName", "Level", "RestoreEvent"]
