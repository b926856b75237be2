"""How every verb ends that fails or is cancelled.

try the work
a cancel becomes the verb's own error
recover  what the work left is cleaned up, or known to be done after all
tell     the event of the failure is emitted
record   the failure is recorded, and what can only be removed now is removed
raise the error, with what caused it behind it
"""

from __future__ import annotations

from typing import Literal, Self

from app.domain.events import EventName
from app.errors import BackupCancelledError, Cancelled, as_logged
from app.ports.events import Events, failure


class Ending:
    """A context manager around a verb's work; each verb overrides what it does if the work fails.

    Raises:
        Exception: what `recover` gives. If it gives None, the block is left as if it had come to its end.
    """

    def __enter__(self) -> Self:
        """The work begins."""
        return self

    def __exit__(self, kind: object, cause: BaseException | None, trace: object) -> bool:
        """The work has ended: well, by an error, or cancelled."""
        error: Exception | None = None
        if isinstance(cause, KeyboardInterrupt | BackupCancelledError):
            error = self.cancelled(cause)
        elif isinstance(cause, Exception):
            error = cause
        if error is None or cause is None:
            return False
        final = self.recover(error, cause)
        if final is None:
            return True
        self.tell(as_logged(final))
        self.record(final)
        if final is cause:
            return False
        raise final from (final.__cause__ or cause)

    def cancelled(self, signal: KeyboardInterrupt | BackupCancelledError) -> Exception | None:  # noqa: ARG002
        """The verb's own error of a cancel; None lets the signal pass as it is, for the edge to name."""
        return None

    def recover(self, error: Exception, cause: BaseException) -> Exception | None:  # noqa: ARG002
        """Clean up; returns the error that the caller is to get, or None if the work is done all the same.

        Args:
            error: what went wrong, or the verb's own error of a cancel.
            cause: what was raised.
        """
        return error

    def tell(self, error: Exception) -> None:
        """Emit the event of the failure."""

    def record(self, error: Exception) -> None:
        """Record the failure."""


class VerbEnding(Ending):
    """The ending of a verb that leaves nothing to be cleaned up: the failure, or the cancel, is reported.

    Attributes:
        backup: id of the backup that it is about, once that is known.
    """

    def __init__(self, events: Events, failed: EventName, cancelled: str) -> None:
        self._events = events
        self._failed = failed
        self._cancelled = cancelled
        self.backup: str | None = None

    def __exit__(self, kind: object, cause: BaseException | None, trace: object) -> Literal[False]:
        """As of every ending; what was raised is never swallowed, so the block may return a value."""
        super().__exit__(kind, cause, trace)
        return False

    def cancelled(self, signal: KeyboardInterrupt | BackupCancelledError) -> Exception:
        """The reason that a signal handler named, or Ctrl-C."""
        return why_cancelled(signal, self._cancelled)

    def tell(self, error: Exception) -> None:
        """Emit the verb's event."""
        self._events.emit(failure(self._failed, error, backup=self.backup))


def why_cancelled(signal: KeyboardInterrupt | BackupCancelledError, otherwise: str) -> Exception:
    """The error that a signal handler named, or else one with these words."""
    if isinstance(signal, BackupCancelledError):
        return signal
    return signal.error if isinstance(signal, Cancelled) else BackupCancelledError(otherwise)
