"""Hides secrets in text that goes to a terminal and not through the log: a verb's last message, or a traceback."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterable
from types import TracebackType

from app.domain.redaction import without, worth_hiding
from app.log import Redactor

_known: list[str] = []


def keep_to_oneself(secrets: Iterable[str]) -> None:
    """Hide these secrets from now on, also in tracebacks."""
    _known[:] = worth_hiding(secrets)
    sys.excepthook = _tell_of_crash


def without_secrets(text: str) -> str:
    """The text without the known secrets. Text that only looks like one stays: a hint may show the form of a URL."""
    return without(text, _known)


def _tell_of_crash(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    sys.stderr.write(Redactor(_known).text("".join(traceback.format_exception(kind, error, trace))))
