"""Findings of checks: a name, a severity and, if the finding stops the work, the error to raise."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from app.errors import ResidencyBackupError


class Severity(StrEnum):
    """How much a finding matters."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check; `error` is set if, and only if, the severity is ERROR."""

    check: str
    severity: Severity
    message: str
    error: ResidencyBackupError | None = None

    @classmethod
    def ok(cls, check: str, message: str) -> Finding:
        """The check found nothing wrong."""
        return cls(check, Severity.OK, message)

    @classmethod
    def warning(cls, check: str, message: str) -> Finding:
        """The work can go on, but somebody should look."""
        return cls(check, Severity.WARNING, message)

    @classmethod
    def failed(cls, check: str, error: ResidencyBackupError) -> Finding:
        """The work must not begin."""
        return cls(check, Severity.ERROR, error.message, error)


def findings_of(check: str, look: Callable[[], Iterable[Finding]]) -> list[Finding]:
    """What a check finds; if it raises one of our errors, that as its only finding."""
    try:
        return list(look())
    except ResidencyBackupError as error:
        return [Finding.failed(check, error)]


def first_error(findings: Sequence[Finding]) -> ResidencyBackupError | None:
    """The error to raise: the first one, with the messages of the others."""
    errors = [finding.error for finding in findings if finding.error is not None]
    if not errors:
        return None
    first = errors[0]
    if len(errors) == 1:
        return first
    others = "; ".join(error.message for error in errors[1:])
    return type(first)(f"{first.message} (and {len(errors) - 1} more: {others})", first.hint)
