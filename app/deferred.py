"""Parts of the program that are imported and made when they are first used.

`list` and `show` need no server; the modules that talk to one take longer to import than these verbs to run.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar, cast

Part = TypeVar("Part")


class _Deferred:
    """Stands for a part: every attribute that is not known beforehand is the part's own."""

    def __init__(self, make: Callable[[], object], known: dict[str, Any]) -> None:
        self.__dict__.update(known)
        self._make = make
        self._made: list[object] = []
        self._making = threading.Lock()

    def __getattr__(self, name: str) -> Any:
        with self._making:
            if not self._made:
                self._made.append(self._make())
        return getattr(self._made[0], name)


def deferred(make: Callable[[], Part], **known: object) -> Part:
    """A part that is made when it is first used.

    Args:
        make: makes the part; called once, unless it raises.
        known: attributes that can be read without making it.
    """
    return cast("Part", _Deferred(make, known))
