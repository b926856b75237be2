"""Questions to a server that share their round trips.

A question is a generator: it yields queries without parameters, gets the rows of each, and in the end returns its
answer. Questions that are asked together send their queries in one message, so that however many there are, they take
as many round trips as the longest of them.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import ExitStack
from typing import Any, TypeVar

import psycopg
from psycopg.pq import TransactionStatus

Rows = list[tuple[Any, ...]]
Answer = TypeVar("Answer")
Question = Generator[Sequence[str], list[Rows], Answer]


def ask(connection: psycopg.Connection, question: Question[Answer]) -> Answer:
    """The answer to one question.

    Raises:
        psycopg.Error: of the first query that failed.
    """
    try:
        queries = next(question)
        while True:
            queries = question.send(_rows_of_each(connection, queries))
    except StopIteration as ended:
        answer: Answer = ended.value
        return answer


def combined(*questions: Question[Any]) -> Question[tuple[Any, ...]]:
    """Several questions as one, whose answers are theirs in order."""
    answers: list[Any] = [None] * len(questions)
    waiting: dict[int, Sequence[str]] = {}
    for number, question in enumerate(questions):
        _go_on(number, question, None, waiting, answers)
    while waiting:
        asked = dict(waiting)
        waiting.clear()
        rows = iter((yield [query for queries in asked.values() for query in queries]))
        for number, queries in asked.items():
            _go_on(number, questions[number], [next(rows) for _ in queries], waiting, answers)
    return tuple(answers)


def _go_on(
    number: int,
    question: Question[Any],
    rows: list[Rows] | None,
    waiting: dict[int, Sequence[str]],
    answers: list[Any],
) -> None:
    """Give a question its rows; it waits for those of its next queries, or has its answer."""
    try:
        waiting[number] = next(question) if rows is None else question.send(rows)
    except StopIteration as ended:
        answers[number] = ended.value


def _rows_of_each(connection: psycopg.Connection, queries: Sequence[str]) -> list[Rows]:
    """The rows of each of some queries, run in one round trip and one transaction; what they set locally is undone."""
    if not queries:
        return []
    with ExitStack() as stack:
        if connection.info.transaction_status != TransactionStatus.IDLE:
            stack.enter_context(connection.transaction(force_rollback=True))
        cursor = stack.enter_context(connection.cursor())
        cursor.execute(";".join(queries).encode())
        rows = [cursor.fetchall()]
        while cursor.nextset():
            rows.append(cursor.fetchall())
        return rows
