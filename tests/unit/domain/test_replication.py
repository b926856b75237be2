"""What is said of a logical replication slot."""

from __future__ import annotations

from app.domain.replication import LogicalSlot


def test_a_slot_is_said_with_who_reads_it_and_what_it_holds() -> None:
    assert str(LogicalSlot(name="a", plugin="pgoutput", pid=None, held=3 << 20)) == (
        "a (pgoutput, not in use, holds 3.0 MB of WAL)"
    )
    assert str(LogicalSlot(name="a", plugin="pgoutput", pid=7, held=None)) == "a (pgoutput, in use by pid 7)"
