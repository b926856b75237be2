"""Who asked for something, in one line."""

from __future__ import annotations

from app.domain.callers import task_from, user_on


def test_a_user_is_named_with_the_machine_and_who_became_it_by_sudo() -> None:
    assert user_on("alice", "db1") == "alice@db1"
    assert user_on("root", "db1", "alice") == "root@db1 (sudo of alice)"
    assert user_on("root", "db1", "root") == user_on("root", "db1", "") == "root@db1"


def test_a_task_is_named_with_the_machine_that_sent_it() -> None:
    assert task_from("8c1f", "gen123@db1", scheduled=False) == "task 8c1f from db1"
    assert task_from("8c1f", "gen7@beat", scheduled=True) == "schedule, task 8c1f from beat"
    assert task_from("8c1f", None, scheduled=False) == "task 8c1f"
    assert task_from(None, None, scheduled=False) == "task without an id"


def test_what_a_sender_writes_stays_one_short_line() -> None:
    assert task_from("8c1f", "gen@a\nb\x1b[31m", scheduled=False) == r"task 8c1f from a\nb\x1b[31m"
    assert len(task_from("x" * 500, None, scheduled=False)) == 200
