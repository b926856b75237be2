"""Makes sure that an event of an operation has only keys that its name declares and docs/operations.md lists."""

import sys
from collections.abc import Iterator
from typing import Any

import pytest

from app.alerts.log import keys_of
from app.ports.events import Event

_UNDECLARED: list[str] = []
_make = Event.__init__


def _make_noted(event: Event, *args: Any, **values: Any) -> None:
    _make(event, *args, **values)
    frame = sys._getframe(1)
    while frame.f_back and frame.f_globals["__name__"] == Event.__module__:
        frame = frame.f_back
    if str(frame.f_globals["__name__"]).startswith("app.operations"):
        _UNDECLARED.extend(f"{event.name}: {key}" for key in keys_of(event).keys() - set(event.name.keys))


Event.__init__ = _make_noted  # type: ignore[method-assign]


@pytest.fixture(autouse=True)
def _declared_keys() -> Iterator[None]:
    _UNDECLARED.clear()
    yield
    assert not _UNDECLARED, "keys of events that app/domain/events does not name"
