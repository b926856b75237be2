"""Celery and nothing else: ``celery -A tasks worker``, ``… beat``, ``celery -A tasks call backup.daily``."""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    """Make the Celery application when ``-A tasks`` asks for it, so that an import alone reads no environment."""
    if name == "app":
        from tasks.application import app_or_exit  # noqa: PLC0415 -- see above

        return app_or_exit()
    raise AttributeError(name)
