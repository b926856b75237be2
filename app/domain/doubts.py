"""What a restore could not make: an object whose functions find what they name by the search_path alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

MOST = 50  # that a manifest names
_LONGEST = 300
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

    def __str__(self) -> str:
        called = ", ".join(self.functions)
        said = self.said if len(self.said) <= _LONGEST else f"{self.said[:_LONGEST]}…"
        if self.lasting:
            return f"{self.name} calls {called}, which fails in every session, and so in a restore: {said}"
        set_path = "; ".join(f"ALTER FUNCTION {each} SET search_path = {self.path}" for each in self.functions)
        return (
            f"{self.name} calls {called}, which finds what it names by search_path alone, and so not in a restore: "
            f"{said}; mend it: {set_path}; until then restore with --search-path"
        )


def shown(doubts: Sequence[Doubt]) -> str:
    """The objects, or some of them and how many more there are."""
    return listed([doubt.name for doubt in doubts])


def listed(names: Sequence[str]) -> str:
    """Some of the names, and how many more there are."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def path_of(doubts: Iterable[Doubt]) -> str | None:
    """What --search-path is to be for all of them; None if that is no way for any."""
    return next((doubt.path for doubt in doubts if not doubt.lasting), None)
