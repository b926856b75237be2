"""What the bench makes of figures. Its modules are run by `make bench`, not here."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.lab import Row, Target
from bench.measure import Cost
from bench.modules import all_targets
from bench.report import costs, rows_of, targets
from bench.targets import verdicts

PAGE = Path(__file__).parents[3] / "docs/performance.md"


def row(what: str, wall: float, size: float = 1, **figures: float) -> Row:
    cost = {"client_cpu": 0.0, "server_cpu": 0.0, "memory_mb": 0.0, "backend_mb": 0.0, "read_mb": 0.0} | figures
    return Row(group="dump", size=size, what=what, cost=Cost(wall=wall, said="", **cost), ours=what == "ours")


ROWS = [
    row("ours", 1.0, memory_mb=90), row("ours", 9.0, memory_mb=90), row("ours", 2.0, memory_mb=90), row("peer", 1.0),
    row("ours", 1.0, 10, client_cpu=3, server_cpu=1, memory_mb=250), row("peer", 4.0, 10),
    row("peer", 0.0, 100),
]  # fmt: skip


@pytest.mark.parametrize(
    ("target", "measured", "verdict"),
    [
        (Target("-", "dump", "ours", "peer", least=3, aim=2, size=0, peer_size=0), "2.00 ×", "aim reached"),
        (Target("-", "dump", "ours", "peer", least=2, aim=1, size=0, peer_size=0), "2.00 ×", "reached"),
        (Target("-", "dump", "ours", "peer", how="faster", least=5, peer_size=1), "4.00 × faster", "**not reached**"),
        (
            Target("-", "dump", "ours", "peer", how="more", least=0.5, size=0, peer_size=0),
            "+ 1.00 s",
            "**not reached**",
        ),
        (Target("-", "dump", "ours", how="value", figure="memory_mb", least=200), "250 MB", "**not reached**"),
        (Target("-", "dump", "ours", figure="wall", least=1, peer_size=0), "0.50 ×", "reached"),
    ],
)
def test_a_target_is_judged_by_medians(target: Target, measured: str, verdict: str) -> None:
    line = verdicts([target], ROWS)[0]
    assert line[3:] == [measured, verdict]


def test_a_target_without_rows_is_left_out_and_our_memory_is_judged_over_all() -> None:
    (line,) = verdicts([Target("-", "load", "ours", least=1)], ROWS)
    assert line[3:] == ["250 MB (dump, 10: ours)", "**not reached**"]


def test_targets_say_if_less_was_measured_than_is_meant() -> None:
    def said(scale: float) -> str:
        return targets({"dump": {"about": {"scale": scale}, "rows": [it.to_json() for it in ROWS]}})

    assert "Measured at scale 0.02, which proves nothing" in said(0.02)
    assert "Measured at scale" not in said(1)


def test_rows_are_kept_whole_and_tables_tell_how_they_grew() -> None:
    kept = {"dump": {"about": {}, "rows": [it.to_json() for it in ROWS]}}
    assert [it.to_json() for it in rows_of(kept)] == [it.to_json() for it in ROWS]
    assert costs(ROWS).splitlines()[0].startswith("| size | what | wall s | client CPU s |")


def test_the_page_has_a_place_for_each_table_that_a_target_is_judged_by() -> None:
    page = PAGE.read_text()
    missing = {target.group for target in all_targets() if f"<!-- {target.group} -->" not in page}
    assert not missing
