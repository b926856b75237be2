"""What a dump needs of the server that it is restored on, read off its SQL."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """Names as the server spells them.

    Attributes:
        collations: those that the dump uses and does not make, ``schema.name``.
        tablespaces: that its tables and indexes are put into.
    """

    extensions: frozenset[str] = frozenset()
    roles: frozenset[str] = frozenset()
    collations: frozenset[str] = frozenset()
    tablespaces: frozenset[str] = frozenset()
