"""The name of an event: the text of its log line, which docs describe and users search for."""

from __future__ import annotations

from enum import Enum, StrEnum


class Level(StrEnum):
    """How much an event matters."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class EventName(Enum):
    """The name of an event.

    Attributes:
        phrase: what the log line says.
        level: how much it matters; of a failed check it is the check's own.
        meaning: one sentence for whoever reads the log.
        keys: that its line may have, besides those that the run or task has bound.
    """

    def __init__(self, phrase: str, level: Level, meaning: str, keys: str = "") -> None:
        self.phrase = phrase
        self.level = level
        self.meaning = meaning
        self.keys = tuple(keys.split())
