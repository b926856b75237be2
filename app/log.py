"""Structured logs, one event a line, the same in every process, without passwords and keys."""

from __future__ import annotations

import io
import logging
import os
import re
import sys
import threading
from collections.abc import Iterable
from enum import Enum
from itertools import islice
from pathlib import Path
from typing import Any, Literal, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from app.domain.readable import readable
from app.domain.redaction import HIDDEN, redacted, worth_hiding
from app.errors import ResidencyBackupError

Style = Literal["console", "json"]
_SECRET_KEY = re.compile(r"passw|pwd|secret|token|credential|api_?key|private|identity", re.IGNORECASE)
_IN_TEXT = (
    # NAME=value of conninfo strings, environments and queries, "name": "value" of JSON; quoted, with escapes, or not.
    (
        re.compile(
            r"""(?i)\b(\w*(?:passw(?:or)?d|secret|token)["']?\s*[=:]\s*)('(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|[^\s&]+)"""
        ),
        rf"\1{HIDDEN}",
    ),
    (re.compile(r"AGE-SECRET-KEY-\w+"), HIDDEN),
)
_INLINE = {"exception": "traceback", "stack": "stack_trace"}  # the renderer writes these two below the line
_CHATTY = ("alembic", "kombu", "amqp")  # libraries whose INFO lines do not help an operator
# Longer values are cut off: nobody reads such a line.
_LONGEST = 16 << 10
_MOST_ITEMS = 200
_DEEPEST = 8
_LARGEST = 1 << 64  # converting a larger number to text takes quadratic time, and Python may refuse it


class Redactor:
    """A structlog processor that hides secrets: known ones, values of keys such as `password`, passwords in URLs."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._secrets = worth_hiding(secrets)

    def __call__(self, _: WrappedLogger, __: str, event: EventDict) -> EventDict:
        """Hide the secrets in one event."""
        return {
            key: HIDDEN if _SECRET_KEY.search(str(key)) and value else self._clean(value, _DEEPEST)
            for key, value in event.items()
        }

    def text(self, text: str) -> str:
        """The text without its secrets."""
        text = redacted(text, self._secrets)
        for pattern, replacement in _IN_TEXT:
            text = pattern.sub(replacement, text)
        return text

    def _clean(self, value: Any, depth: int) -> Any:
        if isinstance(value, Enum):
            value = value.value  # a line says the word, and not how Python writes its member
        if isinstance(value, dict | list | tuple) and not depth:
            return "…"
        if isinstance(value, dict):
            return {
                _cut(str(key)) if isinstance(key, str) else key: HIDDEN
                if _SECRET_KEY.search(str(key)) and inner
                else self._clean(inner, depth - 1)
                for key, inner in islice(value.items(), _MOST_ITEMS)
            }
        if isinstance(value, list | tuple):
            return [self._clean(inner, depth - 1) for inner in value[:_MOST_ITEMS]]
        if isinstance(value, int | float | None):
            return value if not isinstance(value, int) or abs(value) < _LARGEST else _cut(hex(value))
        # Cut off afterwards, because half a secret would not be recognised.
        return _cut(self.text(str(value)))


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}… ({len(text) - _LONGEST} letters more)"


def configure_logging(
    level: str,
    style: Style,
    secrets: Iterable[str] = (),
    stream: TextIO | None = None,
    *,
    errors: bool = True,
) -> None:
    """Route structlog and the standard library's logging, with the lines of other libraries, to one stream.

    Args:
        level: the lowest level shown.
        style: for people, or one JSON object a line.
        secrets: values that must never appear.
        stream: by default, standard output.
        errors: whether errors are shown. The command line raises them, and prints them once at its end.
    """
    shared = _processors(secrets)
    stream = stream or sys.stdout
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")  # do not lose a line with a character that the terminal lacks
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_formatter(shared, style))
    handler.setLevel(level)
    if not errors:
        handler.addFilter(lambda record: record.levelno < logging.ERROR)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("psycopg").addFilter(_demote_ignored_error)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def _demote_ignored_error(record: logging.LogRecord) -> bool:
    """Lower "error ignored in rollback" and its like to DEBUG.

    psycopg logs them when it closes a connection because of another error, or of a signal that cancels us. That error
    is reported; the second one does not help an operator.
    """
    if str(record.msg).startswith("error ignored"):
        record.levelno, record.levelname = logging.DEBUG, "DEBUG"
    return True


def open_for_lines(path: Path) -> TextIO:
    """Open a file, or a pipe that has a reader, to append lines to. A new file is private.

    Raises:
        OSError: it cannot be written. A pipe without a reader is refused, because opening it would wait for one.
    """
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(path, flags, 0o600)
    os.set_blocking(descriptor, True)
    return os.fdopen(descriptor, "a", encoding="utf-8", errors="backslashreplace")


def log_also_to(stream: TextIO, level: str, style: Style, secrets: Iterable[str] = ()) -> None:
    """Write lines of this level and above to a second stream too. Call it after `configure_logging`."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_formatter(_processors(secrets), style))
    handler.setLevel(level)
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(min(root.level, handler.level))


def tell(event: str, error: ResidencyBackupError, style: str) -> None:
    """Report why the program ends, at a time when logging is not configured yet."""
    if style != "json":
        sys.stderr.write(f"{event}: {readable(error.message)}\n{readable(error.hint)}\n")
        return
    configure_logging("ERROR", "json", stream=sys.stderr)
    structlog.get_logger(__name__).error(event, error=type(error).__name__, message=error.message, hint=error.hint)


class PrintedLines(io.TextIOBase):
    """A standard stream whose lines become events, because a reader of JSON logs cannot read plain text."""

    def __init__(self, name: str, level: int, real: TextIO) -> None:
        super().__init__()
        self._log = logging.getLogger(name)
        self._level = level
        self._begun = ""
        self._real = real
        self._thread = threading.local()

    def writable(self) -> bool:
        """It can be written to, and nothing else."""
        return True

    def write(self, text: str) -> int:
        """Log whole lines, and keep the rest for the next call."""
        if getattr(self._thread, "logging", False):
            return self._real.write(text)  # logging failed and reports it here: another event would fail too
        *lines, self._begun = (self._begun + text).split("\n")
        if len(self._begun) > _LONGEST:
            lines.append(self._begun)
            self._begun = ""
        self._thread.logging = True
        try:
            for line in lines:
                if line.strip():
                    self._log.log(self._level, "%s", line.rstrip())
        finally:
            self._thread.logging = False
        return len(text)


def log_what_is_printed() -> None:
    """Turn lines that libraries print to a standard stream into events. Call it after `configure_logging`."""
    sys.stdout = sys.__stdout__ = PrintedLines("stdout", logging.INFO, sys.stdout)  # type: ignore[assignment, misc] # Celery prints to both
    sys.stderr = sys.__stderr__ = PrintedLines("stderr", logging.WARNING, sys.stderr)  # type: ignore[assignment, misc]


def _processors(secrets: Iterable[str]) -> list[Processor]:
    """The processors of every event, ours and other libraries'."""
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        Redactor(secrets),
    ]


def _formatter(shared: list[Processor], style: Style) -> logging.Formatter:
    """The formatter that turns an event into a line."""
    last: list[Processor] = [structlog.processors.JSONRenderer()]
    if style == "console":
        last = [_without_nothing, _on_one_line, structlog.dev.ConsoleRenderer(colors=False, pad_event_to=0)]
    first = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    return structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=[first, *last])


def _without_nothing(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Leave out keys without a value, for people."""
    return {key: value for key, value in event.items() if value is not None}


def _on_one_line(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Put a message of several lines on one line, so that grep finds it whole, and escape control characters."""
    return {
        _INLINE.get(key, key): readable(" | ".join(value.splitlines())) if isinstance(value, str) else value
        for key, value in event.items()
    }
