"""The demo's rows, table by table, as streams.

Every value is in PostgreSQL's own text form. Parents are found by arithmetic, never by keeping rows:
a half-day and a person make the number of an assignment, and `identifier` makes its UUID.
"""

# Figures of made-up rows are clear from their place, and the unusual dashes are intended.
# ruff: noqa: PLR2004, RUF001

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from random import Random

from demo.residency_text import (
    FIRST_NAMES,
    LAST_NAMES,
    NULL,
    PROCEDURES,
    ROTATIONS,
    SPECIALTIES,
    array,
    hard_text,
    identifier,
    note,
)

Row = tuple[str, ...]

USERS, PEOPLE, BLOCKS, TEMPLATES, RUNS, ASSIGNMENTS, ABSENCES, SWAPS, ALERTS, FILES = range(10)
WEEK = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
HALVES = ("AM", "PM")
OFFICE_USERS = 6
ACTIVITIES = 12
LAST_DAY = date(2025, 6, 30)
AUDIT_STARTS = datetime(2024, 12, 1, tzinfo=UTC)
AUDIT_SECONDS = 212 * 86_400


@dataclass(frozen=True, slots=True)
class Residency:
    """How large the residency is.

    Its staff and its calendar grow with the square root of the scale, so what happens to a person on a day
    (most of the rows) grows with the scale itself.
    """

    scale: float

    @property
    def people(self) -> int:
        """Everyone who can be scheduled."""
        return max(20, round(120 * math.sqrt(self.scale)))

    @property
    def days(self) -> int:
        """Length of the calendar."""
        return max(60, round(365 * math.sqrt(self.scale)))

    @property
    def templates(self) -> int:
        """Rotations on offer."""
        return max(12, round(40 * math.sqrt(math.sqrt(self.scale))))

    @property
    def runs(self) -> int:
        """Times the solver ran."""
        return max(8, round(120 * math.sqrt(self.scale)))

    @property
    def pairs(self) -> int:
        """Half-days times people: the numbers assignments are taken from."""
        return self.days * 2 * self.people

    def count(self, at_scale_one: int) -> int:
        """Rows of a table that grows with the scale."""
        return max(20, round(at_scale_one * self.scale))

    def day(self, number: int) -> date:
        """The calendar's day of that number, from 0."""
        return LAST_DAY - timedelta(days=self.days - 1 - number)


Rows = Callable[[Residency, Random], Iterator[Row]]


def is_assigned(half_day: int, person: int) -> bool:
    """Whether the person works then: eleven half-days of twelve."""
    return (half_day * 31 + person * 17) % 12 != 0


def procedures_of(person: int) -> range:
    """Numbers of the procedures the person is credentialed for."""
    return range(1 + person % 3, len(PROCEDURES) + 1, 3)


def is_resident(person: int) -> bool:
    """Whether the person is in training."""
    return person % 10 < 6


def alembic_version(_size: Residency, _random: Random) -> Iterator[Row]:
    """The one revision."""
    yield ("7c1d4e9a52bf",)


def users(size: Residency, random: Random) -> Iterator[Row]:
    """One login a person, then the office."""
    for number in range(size.people + OFFICE_USERS):
        office = number >= size.people
        role = ("admin", "coordinator", "clinical staff")[number % 3] if office else "resident"
        settings = {
            "theme": ("dark", "light")[number % 2],
            "name": FIRST_NAMES[number % 30],
            "quiet": [22, 6.5, None],
        }
        yield (
            identifier(USERS, number),
            f"user{number:05d}",
            f"User{number}@Hospital.example",
            f"$2b$12${random.getrandbits(318):053x}"[:60],
            role if office or is_resident(number) else "faculty",
            "f" if number % 37 == 36 else "t",
            json.dumps(settings, ensure_ascii=number % 2 == 0),
            ("infinity", "-infinity", NULL)[number % 3]
            if number % 11 == 0
            else f"2025-06-{1 + number % 30:02d} 08:15+02",
            f"10.{number % 200}.3.0/24" if number % 2 else f"2001:db8::{number:x}",
            "2019-03-31 02:30:00.000001+00",
            "2025-05-01 00:00:00+00",
        )


def people(size: Residency, random: Random) -> Iterator[Row]:
    """Six residents, three faculty and a guest in every ten."""
    for number in range(size.people):
        resident = is_resident(number)
        mentor = number - number % 10 + 6
        yield (
            identifier(PEOPLE, number),
            str(number + 1),
            identifier(USERS, number),
            identifier(PEOPLE, mentor) if resident and mentor < size.people else NULL,
            FIRST_NAMES[number % len(FIRST_NAMES)],
            LAST_NAMES[number % len(LAST_NAMES)],
            f"p{number}+rota@hospital.example",
            "resident" if resident else ("faculty", "faculty", "fellow", "adjunct")[number % 4],
            str(1 + number % 3) if resident else NULL,
            array([*random.sample(SPECIALTIES, number % 4), None][: number % 5]),
            NULL if number % 5 == 4 else "{" + ",".join(WEEK[: number % 6]) + "}",
            ('("+1 (555) 0100",42)', "(,)", '("",7)', NULL)[number % 4],
            str(100 + number % 900),
            ("1", "0.5", "0.875", "1.000")[number % 4],
            ("NaN", "-0", "Infinity", NULL)[number % 4] if number % 9 == 0 else repr(random.random()),
            "0044-03-15 BC" if number == 7 else f"{1960 + number % 38}-02-{1 + number % 28:02d}",
            "[2010-07-01,)" if number % 4 == 2 else "[2022-07-01,2025-07-01)",
            "2022-06-15 12:00:00+00",
            "2025-01-02 03:04:05.678901+00",
        )


def academic_years(size: Residency, _random: Random) -> Iterator[Row]:
    """July to June, and one open-ended year before the calendar."""
    first = size.day(0).year - 1
    yield ("1", "before\tthe records", f"[-infinity,{first}-07-01)")
    for year in range(first, LAST_DAY.year + 1):
        yield (str(year - first + 2), f"AY {year}–{year + 1}", f"[{year}-07-01,{year + 1}-07-01)")


def blocks(size: Residency, _random: Random) -> Iterator[Row]:
    """Two half-days a day."""
    for number in range(size.days * 2):
        day = size.day(number // 2)
        start = date(day.year if day.month >= 7 else day.year - 1, 7, 1)
        holiday = {(1, 1): "New Year's Day", (7, 4): "Independence Day", (12, 25): "Christmas 🎄"}
        yield (
            identifier(BLOCKS, number),
            str(day),
            HALVES[number % 2],
            str((day - start).days // 28),
            "t" if day.isoweekday() >= 6 else "f",
            holiday.get((day.month, day.day), NULL),
        )


def activities(_size: Residency, _random: Random) -> Iterator[Row]:
    """What can fill a half-day."""
    for number in range(ACTIVITIES):
        name = ROTATIONS[number % len(ROTATIONS)]
        yield (str(number + 1), f"A-{number:02d}", name, "ft"[number % 2], f"#{number * 997:06x}")


def rotation_templates(size: Residency, _random: Random) -> Iterator[Row]:
    """Rotations; every sixth begins a family of its own."""
    for number in range(size.templates):
        name = ROTATIONS[number % len(ROTATIONS)]
        settings = {
            "colors": ["#fff", None],
            "limits": {"pgy": [1, 2], "ratio": 0.25},
            "quote": '"\\',
            "név": name,
        }
        yield (
            identifier(TEMPLATES, number),
            identifier(TEMPLATES, number - number % 6) if number % 6 else NULL,
            f"{name} {number // len(ROTATIONS) + 1}",
            f"R{number:03d}",
            NULL if number % 7 == 0 else str(1 + number % 9),
            ("4", "-0", "2.5", "1e-20")[number % 4],
            ("07:30", "00:00", "23:59:59.999999", "24:00")[number % 4],
            ("28 days", "1 mon -3 days +04:05:06.7", "-00:00:01", "2 weeks")[number % 4],
            ("1111100", "0000011", "1111111")[number % 3],
            ("{}", NULL, "{[2023-07-01,2024-07-01),[2025-01-01,)}")[number % 3],
            json.dumps(settings, ensure_ascii=False),
            hard_text(number) if number % 2 else NULL,
            "2025-02-28 23:59:59+00",
        )


def template_half_days(size: Residency, _random: Random) -> Iterator[Row]:
    """Every template's week."""
    for number in range(size.templates):
        template = identifier(TEMPLATES, number)
        for slot in range(14):
            activity = str((number + slot) % ACTIVITIES + 1)
            yield (template, WEEK[slot // 2], HALVES[slot % 2], activity, "t" if slot == 5 else "f")


def activity_requirements(size: Residency, random: Random) -> Iterator[Row]:
    """How many residents some half-days of a template want."""
    for number in range(size.templates * 5):
        slot = number % 5 * 2
        yield (
            str(number + 1),
            identifier(TEMPLATES, number // 5),
            WEEK[slot // 2],
            HALVES[slot % 2],
            str(number % 3),
            NULL if number % 4 == 0 else str(3 + number % 3),
            ("{}", "{-0,NaN,NULL,Infinity}", f"{{{random.random()!r},1e-300}}")[number % 3],
        )


def schedule_runs(size: Residency, random: Random) -> Iterator[Row]:
    """Runs of the solver, one every few days."""
    for number in range(size.runs):
        day = size.day(number * size.days // size.runs)
        config = {"solver": "cp-sat", "timeout": 60 * (number % 9), "weights": [random.random(), -0.0, 1e21]}
        yield (
            identifier(RUNS, number),
            str(1000 + 10 * number),
            ("greedy", "cp_sat", "pulp", "hybrid")[number % 4],
            ("success", "success", "partial", "failed")[number % 4],
            ("NaN", "-Infinity", "-0", "5e-324", NULL)[number % 5] if number % 3 == 0 else repr(random.gauss(0, 1e6)),
            f"00:{number % 60:02d}:{random.random() * 59:09.6f}",
            ("{}", "{1,NULL,-2147483648}", "{{1,2},{3,4}}", "[0:1]={5,6}")[number % 4],
            json.dumps(config),
            "\n".join(f"{step}\t{hard_text(step + number)}" for step in range(number % 40)),
            identifier(USERS, size.people + number % OFFICE_USERS),
            f"{day} 03:00:00+00",
        )


def absences(size: Residency, random: Random) -> Iterator[Row]:
    """At most one absence a person in 45 days; trips on duty may overlap it."""
    kinds = ("vacation", "sick", "conference", "parental", "tdy")
    slots = size.days // 45
    for number in range(size.people * slots):
        person, slot = divmod(number, slots)
        first = size.day(slot * 45 + random.randrange(25))
        after = first + timedelta(days=random.randrange(1, 15))
        gone = slot == slots - 1 and person % 23 == 0
        yield (
            identifier(ABSENCES, number),
            str(person + 1),
            "deployment" if gone else kinds[number % 5],
            f"[{first},{'infinity' if person % 2 else ''})" if gone else f"[{first},{after})",
            "infinity" if gone else str(after),
            ("t", "f", NULL)[number % 3],
            note(random),
            f"{first - timedelta(days=40)} 09:30:00+00",
        )


def leave_balances(size: Residency, random: Random) -> Iterator[Row]:
    """Days of leave by person and year."""
    years = sum(1 for _ in academic_years(size, random))
    for number in range(size.people * years):
        person, year = divmod(number, years)
        carried = ("NaN", "0.00", "-0.500", "12345678901234567890.000000001", NULL)[number % 5]
        yield (identifier(PEOPLE, person), str(year + 1), "28.00", f"{random.random() * 28:.2f}", carried)


@dataclass(frozen=True, slots=True)
class Table:
    """Where rows go: a table, the columns they fill, and what makes them."""

    name: str
    columns: str
    rows: Rows


SMALL_TABLES = (
    Table("alembic_version", "version_num", alembic_version),
    Table(
        "users",
        "id, username, email, hashed_password, role, is_active, preferences, last_login, last_address,"
        " created_at, updated_at",
        users,
    ),
    Table(
        "people",
        "id, staff_number, user_id, mentor_id, first_name, last_name, email, type, pgy_level, specialties,"
        " clinic_days, contact, pager_code, fte, burnout_score, birthday, contract, created_at, updated_at",
        people,
    ),
    Table("academic_years", "id, label, during", academic_years),
    Table("blocks", "id, date, time_of_day, block_number, is_weekend, holiday_name", blocks),
    Table("activities", "id, code, name, is_clinical, display_color", activities),
    Table(
        "rotation_templates",
        "id, parent_id, name, abbreviation, max_residents, supervision_ratio, clinic_starts, duration,"
        " works_on, offered, settings, description, updated_at",
        rotation_templates,
    ),
    Table("template_half_days", "template_id, day, time_of_day, activity_id, is_protected", template_half_days),
    Table(
        "activity_requirements",
        "id, template_id, day, time_of_day, minimum, maximum, weights",
        activity_requirements,
    ),
    Table(
        "schedule_runs",
        "id, run_number, algorithm, status, objective, runtime, violations, config, log, started_by, started_at",
        schedule_runs,
    ),
    Table("absences", "id, staff_number, kind, away, returns_on, is_blocking, reason, created_at", absences),
    Table("leave_balances", "person_id, academic_year_id, days_earned, days_taken, carried_over", leave_balances),
)
