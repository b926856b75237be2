"""What every name of an event has: each is the text of a log line, which docs and users search for."""

from __future__ import annotations

from enum import Enum, StrEnum


class Level(StrEnum):
    """How much an event matters."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class EventName(Enum):
    """An event: its phrase, its level, and what it means.

    Attributes:
        phrase: what the log line says.
        level: how much it matters; of a failed check it is the check's own.
        meaning: one sentence for whoever reads the log.
    """

    def __init__(self, phrase: str, level: Level, meaning: str) -> None:
        self.phrase = phrase
        self.level = level
        self.meaning = meaning
