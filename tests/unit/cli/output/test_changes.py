"""What is printed of a plan: the blocked rows first, by reason, then others with both values."""

from __future__ import annotations

import pytest

from app.cli.output.changes import show_changes
from app.domain.changes import BlockedRows, Changes, Obstacle, Sample, SampleKind, TableChanges, Values

PEOPLE, SHIFTS, LOG = "public.people", "public.shifts", "public.log"
WORDS = ("to insert", "to update", "to delete")


def sample(table: str, kind: SampleKind, key: dict[str, str | None], **facts: object) -> Sample:
    return Sample(table=table, kind=kind, key=key, **facts)  # type: ignore[arg-type]


def group(table: str, kind: SampleKind, columns: tuple[str, ...], rows: int, **facts: str) -> BlockedRows:
    return BlockedRows(table=table, kind=kind, columns=columns, rows=rows, **facts)


PLAN = Changes(
    tables=(
        TableChanges(table=LOG, inserted=1),
        TableChanges(table=PEOPLE, updated=2, conflicting=3, blocked=1203),
        TableChanges(table=SHIFTS, blocked=2),
        TableChanges(table="public.same", unchanged=5),
    ),
    schema=("column public.people.phone is not in the backup",),
    blocked=(
        group(PEOPLE, SampleKind.UNIQUE, ("email",), 1, constraint="people_email_key"),
        group(PEOPLE, SampleKind.UNFIT, ("mood",), 1, hint="--skip-column public.people.mood"),
        group(PEOPLE, SampleKind.CHECK, ("age",), 1200, constraint="adult"),
        group(SHIFTS, SampleKind.PARENT, ("person",), 2, constraint="fk", other=PEOPLE, hint="take it along"),
        group(PEOPLE, SampleKind.REFERENCED, ("id",), 1, constraint="fk", other=SHIFTS),
    ),
    samples=(
        sample(
            PEOPLE,
            SampleKind.UNIQUE,
            {"id": "7"},
            columns=("email",),
            constraint="people_email_key",
            values={"email": Values(backup="p\n7", live=None)},
            in_the_way=Obstacle(table=PEOPLE, key={"id": "77"}, side="live"),
        ),
        sample(
            SHIFTS,
            SampleKind.PARENT,
            {"day": "2025-01-01", "slot": "1"},
            columns=("person",),
            constraint="fk",
            values={"person": Values(backup="4", live=None)},
            in_the_way=Obstacle(table=PEOPLE, key={"id": "4"}, side=None),
        ),
        sample(
            SHIFTS,
            SampleKind.PARENT,
            {"day": "2025-01-01", "slot": "2"},
            columns=("person",),
            constraint="fk",
            values={"person": Values(backup="7", live=None)},
            in_the_way=Obstacle(table=PEOPLE, key={"id": "7"}, side="backup"),
        ),
        sample(
            PEOPLE,
            SampleKind.UNFIT,
            {"id": "9"},
            columns=("mood", "age"),
            values={"mood": Values(backup="on leave", live="good"), "age": Values(backup="x", live="5")},
        ),
        sample(
            PEOPLE,
            SampleKind.REFERENCED,
            {"id": "99"},
            columns=("id",),
            constraint="fk",
            values={"id": Values(backup=None, live="99")},
            in_the_way=Obstacle(table=SHIFTS, key={"day": "2030-01-01"}, side="live"),
        ),
        sample(
            PEOPLE,
            SampleKind.UPDATED,
            {"id": "3"},
            columns=("name", "note"),
            values={
                "name": Values(backup="Ann", live=None),
                "note": Values(backup="x" * 90 + "a", live="x" * 90 + "b"),
            },
        ),
        sample(LOG, SampleKind.INSERTED, {"at": "2025-01-01", "said": "y" * 200, "by": None, "more": "z" * 99}),
    ),
)


def test_what_is_blocked_comes_first_by_reason(capsys: pytest.CaptureFixture[str]) -> None:
    show_changes(PLAN, WORDS)
    lines = capsys.readouterr().out.splitlines()
    note = f"note backup '…{'x' * 10}a', live '…{'x' * 10}b'"
    assert lines[4:] == [
        "schema: column public.people.phone is not in the backup",
        "blocked: unique key taken: 1 row of public.people (email, people_email_key)",
        "  id=7: email 'p\\n7'; public.people id=77 has it",
        "blocked: value does not fit: 1 row of public.people (mood)",
        "  id=9: mood 'on leave', age 'x'",
        "  what helps: --skip-column public.people.mood",
        "blocked: not allowed: 1,200 rows of public.people (age, adult)",
        "blocked: missing parent: 2 rows of public.shifts (person, fk)",
        "  day=2025-01-01, slot=1: person '4'; there is no public.people id=4",
        "  day=2025-01-01, slot=2: person '7'; public.people id=7 is blocked too",
        "  what helps: take it along",
        "blocked: still referenced: 1 row of public.people (id, fk)",
        "  id=99; public.shifts day=2030-01-01 refers to it",
        f"  to update: public.people id=3: name backup 'Ann', live NULL; {note}",
        f"  to insert: public.log at=2025-01-01, said={'y' * 40}…, by=NULL, more={'z' * 40}…",
    ]


def test_twenty_blocked_rows_and_twenty_others_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    blocked = [sample(PEOPLE, SampleKind.CHECK, {"id": str(at)}, columns=("age",)) for at in range(30)]
    others = [sample(PEOPLE, SampleKind.INSERTED, {"id": str(at)}) for at in range(100, 125)]
    groups = (group(PEOPLE, SampleKind.CHECK, ("age",), 500),)
    show_changes(Changes(samples=(*blocked, *others), blocked=groups), WORDS)
    printed = capsys.readouterr().out
    assert (printed.count("\n  id="), printed.count("to insert: public.people id=")) == (20, 20)
    assert "… and 15 more samples" in printed


def test_two_backups_are_the_first_and_the_second(capsys: pytest.CaptureFixture[str]) -> None:
    values = {"name": Values(backup="a", live="b")}
    differing = sample(PEOPLE, SampleKind.UPDATED, {"id": "3"}, columns=("name",), values=values)
    show_changes(Changes(samples=(differing,)), ("only in A", "differs", "only in B"), ("first", "second"))
    assert "  differs: public.people id=3: name first 'a', second 'b'" in capsys.readouterr().out
