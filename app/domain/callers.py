"""Who asked for something: a user of the operating system, or a message to a worker. One line of text."""

from __future__ import annotations

from app.domain.readable import on_one_line

_LONGEST = 200


def user_on(user: str, host: str, sudo_user: str | None = None) -> str:
    """A user at a command line: ``root@db1``, or ``root@db1 (sudo of alice)``.

    Args:
        user: its name, or its number if it has no name.
        host: name of the machine or container.
        sudo_user: who became that user by sudo.
    """
    became = f" (sudo of {sudo_user})" if sudo_user and sudo_user != user else ""
    return caller(f"{user}@{host}{became}")


def task_from(task_id: str | None, origin: str | None, *, scheduled: bool) -> str:
    """Who sent a task: ``task 8c1f… from db1``, or ``schedule, task 8c1f… from db1``.

    Args:
        task_id: Celery's id of it.
        origin: the sender's node name, ``gen123@db1``. Whoever sends the message writes it.
        scheduled: whether the schedule sent it.
    """
    host = (origin or "").rpartition("@")[2]
    sent = f" from {host}" if host else ""
    return caller(f"{'schedule, ' if scheduled else ''}task {task_id or 'without an id'}{sent}")


def caller(text: str) -> str:
    """What is recorded of a caller: one line without control characters, and not too long."""
    return on_one_line(text)[:_LONGEST]
