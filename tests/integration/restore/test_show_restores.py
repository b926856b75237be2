"""What the command line says of restores, in words."""

from __future__ import annotations

from tests.fix_damaged import Damaged


def samples_in(printed: str) -> list[tuple[str, str]]:
    """Word and table of each sample."""
    lines = (line.strip().partition(": ") for line in printed.splitlines() if line.startswith("  ") and ": " in line)
    return [(word, rest.split()[0]) for word, _, rest in lines if not word.startswith("…")]


def test_a_plan_says_what_is_to_come_and_a_diff_where_a_row_is(damaged: Damaged) -> None:
    damaged.site.database.execute(
        "INSERT INTO notifications SELECT (jsonb_populate_record(n, '{\"id\": 90001}')).* FROM notifications n LIMIT 1"
    )
    exact = ("--mode", "replace", "--table", "people", "--table", "notifications")
    plan = samples_in(damaged.site.cli("restore", damaged.backup, *exact, "--dry-run").stdout)
    assert {*plan} == {
        ("to update", "public.people"), ("to insert", "public.notifications"), ("to delete", "public.notifications")
    }  # fmt: skip
    between = samples_in(damaged.site.cli("diff", damaged.backup).stdout)
    assert {word for word, _ in between} == {"differs", f"only in {damaged.backup}", "only in the live database"}
    assert len({table for _, table in between}) > 4
    done = damaged.site.cli("restore", damaged.backup, *exact, "--confirm", damaged.name)
    assert {*samples_in(done.stdout)} == {
        ("updated", "public.people"), ("inserted", "public.notifications"), ("deleted", "public.notifications")
    }  # fmt: skip
