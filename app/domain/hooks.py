"""The operator's commands around a restore: their settings, and what they find in their environment."""

from __future__ import annotations

from enum import StrEnum

ROLLBACK = "rollback"  # RESTORE_MODE of a rollback; a restore's is its mode
# RESTORE_OUTCOME and RESTORE_ERROR are the after command's alone.
VARIABLES = (
    "RESTORE_ID",
    "RESTORE_MODE",
    "RESTORE_DATABASE",
    "RESTORE_BACKUP",
    "RESTORE_SAFETY",
    "RESTORE_OUTCOME",
    "RESTORE_ERROR",
)


class Hook(StrEnum):
    """A command, by its setting."""

    BEFORE = "RESTORE_BEFORE_COMMAND"
    AFTER = "RESTORE_AFTER_COMMAND"


class Outcome(StrEnum):
    """How a restore or rollback ended."""

    COMPLETE = "complete"
    FAILED = "failed"
