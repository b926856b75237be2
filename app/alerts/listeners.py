"""Passes each event on to all listeners. A listener that fails does not stop the work."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress

import structlog

from app.ports.events import Event

Listener = Callable[[Event], None]
log = structlog.get_logger(__name__)


class Listeners:
    """The port `Events`: tells every listener, in order.

    Args:
        listeners: called with each event, in the thread in which it happens.
    """

    def __init__(self, listeners: Sequence[Listener]) -> None:
        self._listeners = listeners

    def emit(self, event: Event) -> None:
        """Tell of an event; a listener that fails is a warning."""
        for listener in self._listeners:
            try:
                listener(event)
            except Exception as error:  # noqa: BLE001 -- whatever a listener does, the work goes on
                self._warn(listener, event, error)

    def _warn(self, listener: Listener, event: Event, error: Exception) -> None:
        name = getattr(listener, "__name__", type(listener).__name__)
        facts = {"listener": name, "told": event.name.phrase, "error": type(error).__name__, "reason": str(error)}
        with suppress(Exception):  # the log itself may be what fails
            log.warning("backup event not told to a listener", **facts)
