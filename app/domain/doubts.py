"""Objects that a restore could not make, as a rule because their functions rely on search_path."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from app.domain.listed import listed

# Names of the findings.
SEARCH_PATH = "search_path"
LACKING = "not in dumps"
MOST = 50  # that a manifest names
_FUNCTIONS = 10  # of each
_LONGEST = 500
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Doubt:
    """An object that a restore could not make or fill, or that would be different after it.

    Attributes:
        name: with its kind: ``index public.people_name``.
        functions: that it calls.
        said: what the server reports, or what is wrong.
        lasting: whether it fails in the database's own sessions too, so that no search_path helps.
        path: the search_path under which it works.
        mending: what helps, if that is not a search_path for the functions.
    """

    name: str
    functions: tuple[str, ...]
    said: str
    lasting: bool
    path: str
    mending: str = ""

    @property
    def bounded(self) -> Doubt:
        """The same with texts of limited length, because names may be long."""
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
        set_path = "; ".join(f"ALTER FUNCTION {function} SET search_path = {self.path}" for function in self.functions)
        return (
            f"{self.name} calls {called}, which finds what it names by search_path alone, and so not in a restore: "
            f"{self.said}; mend it: {set_path}; until then restore with --search-path {shlex.quote(self.path)}"
        )


def in_short(names: Sequence[str]) -> str:
    """A sentence about a backup with these doubts."""
    return f"does not restore by itself: {listed(names, _SHOWN)} would fail, or differ"


def lacking_in_short(lacking: Sequence[str]) -> str:
    """A sentence about a backup that lacks these objects."""
    return f"lacks what no dump carries: {listed(lacking, 1)}"


def path_of(doubts: Iterable[Doubt]) -> str | None:
    """The --search-path that helps; None if there is none."""
    return next((doubt.path for doubt in doubts if not doubt.lasting), None)


def bounded(text: str) -> str:
    """The text, cut off if it is long."""
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
