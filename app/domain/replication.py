"""Logical replication of a database: its subscriptions, and the slots through which others read it.

Both belong to the database and stay with it if it is renamed. No dump contains a slot.
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
        slot: name of its slot on the publisher; None if it has none.
        may_alter: whether our role may disable and drop it.
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
        plugin: its output plugin.
        pid: the server process that reads it; None if it is not in use.
        held: bytes of WAL that the server keeps for it; None if unknown.
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
    """Subscriptions and slots of one database."""

    subscriptions: Sequence[Subscription] = ()
    slots: Sequence[LogicalSlot] = ()


def disabling(subscription: str) -> str:
    """The statement that disables a subscription."""
    return f"ALTER SUBSCRIPTION {quoted(subscription)} DISABLE"


def enabling(subscription: str) -> str:
    """The statement that enables a subscription."""
    return f"ALTER SUBSCRIPTION {quoted(subscription)} ENABLE"


def freeing(subscription: str) -> tuple[str, str, str]:
    """The statements that drop a subscription and leave its slot on the publisher."""
    name = quoted(subscription)
    detach = f"ALTER SUBSCRIPTION {name} SET (slot_name = NONE)"
    return disabling(subscription), detach, f"DROP SUBSCRIPTION {name}"
