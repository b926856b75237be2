"""What a restore could not make: an object whose functions find what they name by the search_path alone."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

MOST = 50  # that a manifest names
_FUNCTIONS = 10  # of each
_LONGEST = 500
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Doubt:
    """An object that a restore could not make, or not fill.

    Attributes:
        name: with its kind: ``index public.people_name``.
        functions: those of users that it calls.
        said: by the server.
        lasting: whether it fails in the database's own sessions too.
        path: what they find it by.
    """

    name: str
    functions: tuple[str, ...]
    said: str
    lasting: bool
    path: str

    @property
    def bounded(self) -> Doubt:
        """The same, of no great length whatever somebody called things."""
        functions = tuple(map(_short, self.functions[:_FUNCTIONS]))
        return Doubt(_short(self.name), functions, _short(self.said), self.lasting, _short(self.path))

    def __str__(self) -> str:
        called = ", ".join(self.functions)
        if self.lasting:
            return f"{self.name} calls {called}, which fails in every session, and so in a restore: {self.said}"
        set_path = "; ".join(f"ALTER FUNCTION {each} SET search_path = {self.path}" for each in self.functions)
        return (
            f"{self.name} calls {called}, which finds what it names by search_path alone, and so not in a restore: "
            f"{self.said}; mend it: {set_path}; until then restore with --search-path {shlex.quote(self.path)}"
        )


def in_short(names: Sequence[str]) -> str:
    """What to say of a backup of which these objects are in doubt."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"does not restore by itself: {', '.join(names[:_SHOWN])}{more} would fail"


def path_of(doubts: Iterable[Doubt]) -> str | None:
    """What --search-path is to be for them; None if that is no way for any."""
    return next((doubt.path for doubt in doubts if not doubt.lasting), None)


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
