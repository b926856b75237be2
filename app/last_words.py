"""What a process says outside of its log, to a terminal: the end of a verb, or a crash. No secret is in that either."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterable
from types import TracebackType

from app.domain.redaction import without, worth_hiding
from app.log import Redactor

_known: list[str] = []


def keep_to_oneself(secrets: Iterable[str]) -> None:
    """Hide these from now on, in tracebacks too."""
    _known[:] = worth_hiding(secrets)
    sys.excepthook = _tell_of_crash


def without_secrets(text: str) -> str:
    """The text without the known secrets. What only looks like one stays: a hint shows how a URL is written."""
    return without(text, _known)


def _tell_of_crash(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    sys.stderr.write(Redactor(_known).text("".join(traceback.format_exception(kind, error, trace))))
