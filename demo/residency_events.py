"""The demo's rows of the tables that grow with the scale: what happens to people on days.

These loops make nearly all rows, so where they can they make several choices by one random number.
"""

# Figures of made-up rows are clear from their place, and the unusual dashes are intended.
# ruff: noqa: PLR2004, RUF001

import math
from collections.abc import Iterator
from datetime import timedelta
from random import Random

from demo.residency_rows import (
    ALERTS,
    ASSIGNMENTS,
    AUDIT_SECONDS,
    AUDIT_STARTS,
    BLOCKS,
    FILES,
    OFFICE_USERS,
    PEOPLE,
    RUNS,
    SWAPS,
    TEMPLATES,
    USERS,
    Residency,
    Row,
    Table,
    is_assigned,
    is_resident,
    procedures_of,
)
from demo.residency_text import NULL, PROCEDURES, array, hard_text, identifier, note

NOTE_EVERY = 40


def assignments(size: Residency, random: Random) -> Iterator[Row]:
    """A rotation for nearly every half-day and person; a person stays on it for 28 days."""
    staff = [identifier(PEOPLE, number) for number in range(size.people)]
    templates = [identifier(TEMPLATES, number) for number in range(size.templates)]
    planner = identifier(USERS, size.people)
    for half_day in range(size.days * 2):
        block = identifier(BLOCKS, half_day)
        run = identifier(RUNS, half_day // 2 * size.runs // size.days)
        day = size.day(half_day // 2)
        planned = f"{day - timedelta(days=30)} 04:00:"
        changed = f"{day} 05:06:07.89+00"
        for person, person_id in enumerate(staff):
            if not is_assigned(half_day, person):
                continue
            draw = random.random()
            created = f"{planned}{draw * 59:09.6f}+00"
            pair = half_day * size.people + person
            replaces = draw < 0.02 and half_day > 0 and is_assigned(half_day - 1, person)
            yield (
                identifier(ASSIGNMENTS, pair),
                block,
                person_id,
                templates[(person + half_day // 56) % len(templates)] if draw < 0.97 else NULL,
                run if draw > 0.05 else NULL,
                identifier(ASSIGNMENTS, pair - size.people) if replaces else NULL,
                ("primary" if draw < 0.9 else "backup") if is_resident(person) else "supervising",
                f"{draw:.4f}" if draw > 0.001 else ("-0", "NaN")[pair % 2],
                note(random),
                planner,
                created,
                changed if draw < 0.1 else created,
            )


def call_assignments(size: Residency, random: Random) -> Iterator[Row]:
    """Every day half of the people are on some call; nobody twice."""
    kinds = ("overnight", "weekend", "backup", "home call")
    staff = [identifier(PEOPLE, number) for number in range(size.people)]
    duties = size.people // 2
    for number in range(_calls(size)):
        day_number, duty = divmod(number, duties)
        day = size.day(day_number)
        draw = random.random()
        yield (
            str(number + 1),
            str(day),
            staff[(day_number * 7 + duty) % size.people],
            kinds[duty % 4],
            f"{day} {17 + duty % 4}:00:00+00",
            "24:00:00" if draw < 0.1 else "12:00:00",
            f"0{6 + duty % 2}:{int(draw * 6000) % 60:02d}",
            "NaN" if draw < 0.002 else NULL if draw < 0.2 else f"{draw * 900:.2f}",
            str(int(draw * 1e6) % 40),
            note(random),
        )


def on_call_notes(size: Residency, _random: Random) -> Iterator[Row]:
    """A note to every fortieth call."""
    for number in range(_calls(size) // NOTE_EVERY):
        yield (
            str(number + 1),
            str(number * NOTE_EVERY + 1),
            identifier(USERS, number % size.people) if number % 6 else NULL,
            "" if number % 19 == 18 else hard_text(number),
            (NULL, "{}", array([hard_text(number), None, "", 'a "b"', "{c,d}"]))[number % 3],
        )


def _calls(size: Residency) -> int:
    return size.days * (size.people // 2)


def swap_requests(size: Residency, random: Random) -> Iterator[Row]:
    """Requests to give an assignment away, spread over the calendar."""
    statuses = ("pending", "approved", "rejected", "executed", "rolled back")
    for number, (half_day, person) in enumerate(_some_assignments(size, random, size.count(700))):
        status = statuses[number % 5]
        day = size.day(half_day // 2)
        target = (person + 1 + number % (size.people - 1)) % size.people
        yield (
            identifier(SWAPS, number),
            identifier(BLOCKS, half_day),
            identifier(PEOPLE, person),
            NULL if number % 8 == 0 else identifier(PEOPLE, target),
            status,
            note(random),
            f"{day - timedelta(days=20)} 18:30:00-05",
            NULL if status == "pending" else f"{day - timedelta(days=3)} 07:45:12.5+05:30",
            f"{day - timedelta(days=3)} 08:00:00+00",
        )


def conflict_alerts(size: Residency, random: Random) -> Iterator[Row]:
    """What the checks of working hours and supervision found."""
    rules = ("80-hour week", "1 day in 7 free", "supervision ratio", 'call "frequency"')
    for number, (half_day, person) in enumerate(_some_assignments(size, random, size.count(900))):
        hours = random.random() * 40
        day = size.day(half_day // 2)
        pair = half_day * size.people + person
        yield (
            identifier(ALERTS, number),
            identifier(PEOPLE, person),
            NULL if number % 5 == 0 else identifier(ASSIGNMENTS, pair),
            ("info", "warning", "critical")[number % 3],
            rules[number % 4],
            f'{{"hours": {60 + hours:.3f}, "days": [{number % 28}, null], "at": "\\\\b\\n{number}\\u00e9"}}',
            NULL if number % 3 else f"{day} 10:00:00+00",
            f"{day} 09:00:00+00",
        )


def _some_assignments(size: Residency, random: Random, wanted: int) -> Iterator[tuple[int, int]]:
    """Half-day and person of different assignments: one of each stretch of them, or none if it hits a gap."""
    stretch = max(1, size.pairs // wanted)
    for start in range(0, size.pairs - stretch + 1, stretch):
        half_day, person = divmod(start + random.randrange(stretch), size.people)
        if is_assigned(half_day, person):
            yield half_day, person


def procedures(_size: Residency, _random: Random) -> Iterator[Row]:
    """The catalogue of procedures."""
    for number, name in enumerate(PROCEDURES, start=1):
        codes = array([f"{10_000 + number * 317}", None] if number % 4 else [])
        yield (str(number), name, ("office", "inpatient", "obstetrics")[number % 3], str(number % 12), codes)


def credentials(size: Residency, _random: Random) -> Iterator[Row]:
    """A third of the procedures for everyone."""
    for person in range(size.people):
        for procedure in procedures_of(person):
            sort = (person + procedure) % 4
            yield (
                identifier(PEOPLE, person),
                str(procedure),
                ("trainee", "qualified", "expert", "master")[sort],
                "infinity" if sort == 3 else f"20{25 + sort}-06-30",
                NULL if sort == 0 else identifier(PEOPLE, (person * 7 + 6) % size.people),
            )


def procedure_logs(size: Residency, random: Random) -> Iterator[Row]:
    """Procedures done, each by someone with the credential."""
    for number in range(size.count(3_000)):
        person = int(random.random() * size.people)
        mine = procedures_of(person)
        draw = random.random()
        yield (
            str(number + 1),
            identifier(PEOPLE, person),
            str(mine[int(draw * len(mine))]),
            f"{size.day(number % size.days)} {8 + number % 9:02d}:{int(draw * 60):02d}:00",
            NULL if draw < 0.1 else f"{int(draw * 90)} minutes",
            ("-0", "NaN", "0.1", "2.2250738585072014e-308")[number % 4] if draw < 0.05 else repr(draw),
            note(random),
        )


def attachments(size: Residency, random: Random) -> Iterator[Row]:
    """Files of up to 48 kB; every ninth is empty."""
    for number in range(max(12, round(60 * math.sqrt(size.scale)))):
        content = b"" if number % 9 == 0 else random.randbytes(random.randrange(1, 48_000))
        yield (
            identifier(FILES, number),
            identifier(PEOPLE, number % size.people),
            f"Zeugnis {number} – 'final' (2).pdf",
            ("application/pdf", "image/jpeg")[number % 2],
            f"\\x{content.hex()}",
        )


def notifications(size: Residency, random: Random) -> Iterator[Row]:
    """Messages to users, the newer half mostly unread."""
    kinds = ("schedule_published", "swap_requested", "absence_approved", "acgme_warning")
    logins = [identifier(USERS, number) for number in range(size.people + OFFICE_USERS)]
    total = size.count(36_000)
    for number in range(total):
        draw = random.random()
        day = f"2025-{1 + number * 6 // total:02d}-{1 + int(draw * 28):02d}"
        yield (
            str(number + 1),
            logins[int(draw * 1e7) % len(logins)],
            kinds[number % 4],
            f"Block {number % 13} – {kinds[number % 4].replace('_', ' ')} #{number}",
            note(random),
            ("{in_app}", "{in_app,email}", '{"e-mail, \\"urgent\\"",NULL,""}')[int(draw * 1e5) % 3],
            NULL if draw < 0.3 else f'{{"id": {number}, "score": {draw:.6f}, "tags": ["\\"", "ü", "\\t"]}}',
            f"{day} 20:15:00+00" if draw * total > number else NULL,
            f"{day} 12:{int(draw * 1e6) % 60:02d}:00.25+00",
        )


def audit_log(size: Residency, random: Random) -> Iterator[Row]:
    """Seven months of changes in order of time; the first month has no partition of its own."""
    tables = ("assignments", "swap_requests", "absences", "people")
    logins = [identifier(USERS, number) for number in range(size.people + OFFICE_USERS)]
    total = size.count(56_000)
    for number in range(total):
        draw = random.random()
        action = "LOGIN" if draw < 0.1 else ("INSERT", "UPDATE", "UPDATE", "DELETE")[number % 4]
        login = action == "LOGIN"
        change = f'{{"old": {{"role": "backup", "v": {draw:.3f}}}, "new": {{"role": null, "note": "\\u0041\\n"}}}}'
        yield (
            str(number + 1),
            str(AUDIT_STARTS + timedelta(seconds=(number + draw) * AUDIT_SECONDS / total)),
            NULL if draw > 0.95 else logins[int(draw * 1e7) % len(logins)],
            "users" if login else tables[number // 4 % 4],
            action,
            NULL if login else identifier(ASSIGNMENTS, int(draw * size.pairs)),
            NULL if login else change,
            NULL if number % 10 == 0 else f"10.{number % 7}.{number % 251}.{int(draw * 250)}",
        )


GROWING_TABLES = (
    Table(
        "assignments",
        "id, block_id, person_id, template_id, run_id, supersedes_id, role, confidence, notes, created_by,"
        " created_at, updated_at",
        assignments,
    ),
    Table(
        "call_assignments",
        "id, call_date, person_id, kind, starts_at, length, handover, stipend, pages_answered, remark",
        call_assignments,
    ),
    Table('"On-Call Note"', '"Note ID", "callId", "Author", "Text", "Tags"', on_call_notes),
    Table(
        "swap_requests",
        "id, block_id, source_person_id, target_person_id, status, reason, requested_at, decided_at, updated_at",
        swap_requests,
    ),
    Table("procedures", "id, name, category, minimum_supervised, cpt_codes", procedures),
    Table("credentials", "person_id, procedure_id, competency, valid_until, verified_by", credentials),
    Table(
        "procedure_logs",
        "id, person_id, procedure_id, performed_at, took, complication_rate, comment",
        procedure_logs,
    ),
    Table(
        "conflict_alerts",
        "id, person_id, assignment_id, severity, rule, details, acknowledged_at, created_at",
        conflict_alerts,
    ),
    Table("attachments", "id, person_id, file_name, media_type, content", attachments),
    Table(
        "notifications",
        "id, user_id, kind, subject, body, channels, data, read_at, created_at",
        notifications,
    ),
    Table("audit_log", "id, occurred_at, user_id, table_name, action, row_id, changes, client", audit_log),
)
