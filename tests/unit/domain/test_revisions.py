"""Which of two revisions comes first is told from the application's scripts, and only from them."""

from __future__ import annotations

import pytest

from app.domain.revisions import Heads, History, Order, Revisions, heads_of, named

#  a - b - c - d       two branches from b, joined by m
#       \- x - m
LINE = History({"a": (), "b": ("a",), "c": ("b",), "d": ("c",), "x": ("b",), "m": ("x", "c")})


def heads(text: str) -> Heads | None:
    return heads_of(text)


@pytest.mark.parametrize(
    ("backup", "live", "order"),
    [
        ("b", "b", Order.SAME),
        ("", "", Order.SAME),
        ("a", "d", Order.BEFORE),
        ("d", "a", Order.AFTER),
        ("d", "x", Order.APART),
        ("c,x", "m", Order.BEFORE),
        ("m", "c,x", Order.AFTER),
        ("b", "c,x", Order.BEFORE),
        ("", "c", Order.UNKNOWN),
        ("c", "", Order.UNKNOWN),
        ("nobody's", "c", Order.UNKNOWN),
    ],
)
def test_how_two_revisions_stand_to_each_other(backup: str, live: str, order: Order) -> None:
    assert Revisions(heads(backup), heads(live), LINE).order is order


@pytest.mark.parametrize(
    ("backup", "live", "told"),
    [
        ("a", "d", "the backup is of revision a, the live database of d (a comes before d, by 3 migrations)"),
        ("d", "c", "the backup is of revision d, the live database of c (d comes after c, by 1 migration)"),
        ("d", "x", "the backup is of revision d, the live database of x (neither of d and x leads to the other)"),
        ("d", "z", "the backup is of revision d, the live database of z (z unknown to the application's scripts)"),
        (
            "c,x",
            "b",
            "the backup is of revision c and x, the live database of b (c and x come after b, by 2 migrations)",
        ),
        ("", "c", "the backup names no revision, the live database is of c"),
        ("a", "", "the backup is of revision a, the live database names none"),
    ],
)
def test_what_revisions_say_is_told_in_a_sentence(backup: str, live: str, told: str) -> None:
    assert str(Revisions(heads(backup), heads(live), LINE)) == told


def test_without_scripts_nothing_is_said_of_them() -> None:
    assert str(Revisions(heads("a"), heads("b"))) == "the backup is of revision a, the live database of b"


def test_a_circle_in_somebody_s_scripts_comes_to_an_end() -> None:
    assert History({"a": ("b",), "b": ("a",)}).below(["a"]) == {"a", "b"}


def test_heads_are_read_as_manifests_write_them() -> None:
    assert heads_of("b, a,") == {"a", "b"}
    assert named(heads_of("b,a")) == "a and b"
    assert heads_of("") is heads_of(None) is None
