"""What a restore could not make: an object whose functions find what they name by the search_path alone, and others."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from app.domain.listed import listed

# What findings of these are called.
SEARCH_PATH = "search_path"
LACKING = "not in dumps"
MOST = 50  # that a manifest names
_FUNCTIONS = 10  # of each
_LONGEST = 500
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Doubt:
    """An object that a restore could not make, or not fill, or not as it was.

    Attributes:
        name: with its kind: ``index public.people_name``.
        functions: those that it calls.
        said: by the server, or of it.
        lasting: whether it fails in the database's own sessions too, so that no path is a way out.
        path: what is looked up by it.
        mending: what helps, if it is not the search_path of the functions.
    """

    name: str
    functions: tuple[str, ...]
    said: str
    lasting: bool
    path: str
    mending: str = ""

    @property
    def bounded(self) -> Doubt:
        """The same, of no great length whatever somebody called things."""
        functions = tuple(map(bounded, self.functions[:_FUNCTIONS]))
        texts = map(bounded, (self.name, self.said, self.path, self.mending))
        name, said, path, mending = texts
        return Doubt(name, functions, said, self.lasting, path, mending)

    def __str__(self) -> str:
        called = ", ".join(self.functions)
        if self.mending:
            return f"{self.name}{called and ' calls '}{called}: {self.said}; {self.mending}"
        if self.lasting:
            return f"{self.name} calls {called}, which fails in every session, and so in a restore: {self.said}"
        set_path = "; ".join(f"ALTER FUNCTION {each} SET search_path = {self.path}" for each in self.functions)
        return (
            f"{self.name} calls {called}, which finds what it names by search_path alone, and so not in a restore: "
            f"{self.said}; mend it: {set_path}; until then restore with --search-path {shlex.quote(self.path)}"
        )


def in_short(names: Sequence[str]) -> str:
    """What to say of a backup of which these objects are in doubt."""
    return f"does not restore by itself: {listed(names, _SHOWN)} would fail, or differ"


def lacking_in_short(lacking: Sequence[str]) -> str:
    """What to say of a backup that lacks these."""
    more = f" (and {len(lacking) - 1} more)" if len(lacking) > 1 else ""
    return f"lacks what no dump carries: {lacking[0]}{more}"


def path_of(doubts: Iterable[Doubt]) -> str | None:
    """What --search-path is to be for them; None if that is no way for any."""
    return next((doubt.path for doubt in doubts if not doubt.lasting), None)


def bounded(text: str) -> str:
    """A text of no great length."""
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
