"""One way in which every verb ends that does not succeed.

try the work
a cancel becomes the verb's own error
settle   what the work left is cleaned up, or known to be done after all
tell     listeners of events are told of the error
record   the catalog is told, and what can only go now is removed
raise the error, with what caused it behind it
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from app.errors import BackupCancelledError, as_logged


class Ending:
    """What a verb does if it fails; a verb overrides what it needs."""

    def cancelled(self, signal: KeyboardInterrupt | BackupCancelledError) -> Exception | None:  # noqa: ARG002
        """The verb's own error of a cancel; None lets the signal pass as it is, for the edge to name."""
        return None

    def settle(self, error: Exception, cause: BaseException) -> Exception | None:  # noqa: ARG002
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


@contextmanager
def ending(how: Ending) -> Iterator[None]:
    """Do a verb's work in a block; whatever it fails of ends alike.

    Args:
        how: what the verb does then.

    Raises:
        Exception: what `how.settle` gives. If it gives None, the block is left as if it had come to its end.
    """
    try:
        yield
    except (KeyboardInterrupt, BackupCancelledError) as signal:
        cancelled = how.cancelled(signal)
        if cancelled is None:
            raise
        _end(how, cancelled, signal)
    except Exception as error:  # noqa: BLE001 -- whatever it was, it is raised again when all is looked after
        _end(how, error, error)


def _end(how: Ending, error: Exception, cause: BaseException) -> None:
    final = how.settle(error, cause)
    if final is None:
        return
    how.tell(as_logged(final))
    how.record(final)
    if final is cause:
        raise final
    raise final from (final.__cause__ or cause)
