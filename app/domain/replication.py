"""What logical replication keeps in a database: subscriptions, and slots that others read through.

Both belong to the database itself, and so go with it wherever it is renamed to. No dump carries a slot.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from app.domain.psql import quoted


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """A subscription of a database.

    Attributes:
        enabled: whether its worker applies what the publisher sends.
        slot: name of its slot at the publisher; None where it has none.
        may_alter: whether the role may disable it, and drop it.
    """

    name: str
    owner: str
    enabled: bool
    slot: str | None
    may_alter: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LogicalSlot:
    """A logical replication slot of a database.

    Attributes:
        plugin: what decodes for it.
        pid: the process that reads through it; None where nobody does.
        held: bytes of WAL that the server keeps for it; None where nobody knows.
    """

    name: str
    plugin: str
    pid: int | None
    held: int | None

    def __str__(self) -> str:
        used = "not in use" if self.pid is None else f"in use by pid {self.pid}"
        held = "" if self.held is None else f", holds {self.held / (1 << 20):.1f} MB of WAL"
        return f"{self.name} ({self.plugin}, {used}{held})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Replication:
    """Both, of one database."""

    subscriptions: Sequence[Subscription] = ()
    slots: Sequence[LogicalSlot] = ()


def disabling(subscription: str) -> str:
    """The statement that lets a subscription rest."""
    return f"ALTER SUBSCRIPTION {quoted(subscription)} DISABLE"


def enabling(subscription: str) -> str:
    """The statement that lets it work."""
    return f"ALTER SUBSCRIPTION {quoted(subscription)} ENABLE"


def freeing(subscription: str) -> tuple[str, str, str]:
    """The statements that drop a subscription and leave the publisher's slot alone."""
    name = quoted(subscription)
    rests, forgets = disabling(subscription), f"ALTER SUBSCRIPTION {name} SET (slot_name = NONE)"
    return rests, forgets, f"DROP SUBSCRIPTION {name}"
