"""What does not fit is refused, all at once, with the command that passes; so are options that hit nothing."""

from __future__ import annotations

import re
import shlex

import pytest

from app.domain.adaptation import Adaptation
from app.domain.changes import MergeRequest
from app.errors import RestoreValidationError
from tests.fix_merge import archive_of, beside, merge, request
from tests.fix_postgres import TestDatabase, copy_of_all_tables

OPTIONS = {
    "--skip-table": "skip_tables",
    "--skip-column": "skip_columns",
    "--map-table": "map_tables",
    "--map-column": "map_columns",
    "--fill": "fills",
}


def commands(hint: str | None) -> list[list[str]]:
    """The restores in a hint, as a shell reads them."""
    return [shlex.split(text)[1:] for text in re.findall("residency-backup restore .*? --confirm [^ ;]+", hint or "")]


def requested(words: list[str]) -> MergeRequest:
    """The request of a command line."""
    pairs = list(zip(words[2::2], words[3::2], strict=True))
    adaptation = {name: [text for word, text in pairs if word == option] for option, name in OPTIONS.items()}
    tables = [text for word, text in pairs if word == "--table"]
    return request(backup=words[1], tables=tables, adaptation=Adaptation.parse(**adaptation))


BEFORE = """
    CREATE TYPE mood AS ENUM ('so so', 'good');
    CREATE TABLE people (id int PRIMARY KEY, phone text, room text);
    CREATE TABLE "Old log" (id int, what text); CREATE TABLE letters (id int PRIMARY KEY, text text);
    CREATE TABLE slots (id int PRIMARY KEY, day int);
    CREATE TABLE parted (id int, at int) PARTITION BY LIST (at);
    CREATE TABLE parted_1 PARTITION OF parted FOR VALUES IN (1);
    CREATE TABLE parted_2 PARTITION OF parted FOR VALUES IN (2);
    INSERT INTO people SELECT i, 'p' || i, 'r' || i FROM generate_series(1, 5) i;
    INSERT INTO "Old log" VALUES (1, 'x'); INSERT INTO letters VALUES (1, 'dear');
    INSERT INTO parted VALUES (1, 1), (1, 2);
    INSERT INTO slots VALUES (1, 1), (2, 1); CREATE TABLE kept AS SELECT 1 AS id; CREATE TABLE more AS SELECT 1 AS id"""
AFTER = """
    DROP TABLE "Old log", parted; ALTER TABLE letters RENAME TO mails; DELETE FROM people; DELETE FROM slots;
    ALTER TABLE people RENAME phone TO phone_number; ALTER TABLE people DROP COLUMN room;
    ALTER TABLE people ALTER phone_number SET NOT NULL, ADD COLUMN mood mood NOT NULL,
        ADD COLUMN "At" timestamptz NOT NULL, ADD COLUMN mail int NOT NULL REFERENCES mails,
        ADD COLUMN paid boolean NOT NULL, ADD COLUMN tags text[] NOT NULL,
        ADD COLUMN uid uuid NOT NULL, ADD COLUMN worth numeric NOT NULL, ADD COLUMN said varchar(9) NOT NULL;
    ALTER TABLE slots DROP CONSTRAINT slots_pkey, ADD PRIMARY KEY (day)"""


def test_all_that_does_not_fit_is_said_at_once_with_commands_that_pass(empty_database: TestDatabase) -> None:
    empty_database.execute(BEFORE)
    archive = archive_of(empty_database)
    empty_database.execute(AFTER)
    before = copy_of_all_tables(empty_database.url)
    for run in (merge, lambda *asked: beside(*asked).__enter__()):
        with pytest.raises(RestoreValidationError) as refused:
            run(empty_database, archive, request(backup="daily/a"))
    assert copy_of_all_tables(empty_database.url) == before
    assert refused.value.message == (
        "these tables of the backup are not in the live database: public.Old log, public.letters, public.parted; "
        "column public.people.phone is not in the live database, and the backup has values in it; "
        "column public.people.room is not in the live database, and the backup has values in it; "
        'the live key ("day") of public.slots is not unique in the backup\'s rows; '
        "public.people has NOT NULL columns without a default that the backup does not have: "
        "phone_number, mood, At, mail, paid, tags, uid, worth, said"
    )
    leave_out, renamed, create = commands(refused.value.hint)
    assert "if public.letters is called public.mails now and public.people.phone is called phone_number" in (
        refused.value.hint or ""
    )
    assert create[:4] == ["restore", "daily/a", "--mode", "replace"]
    with beside(empty_database, archive, requested(leave_out)) as found:
        (people,) = [table for table in found.preview().tables if table.table == "public.people"]
    assert people.inserted == 5
    done, _ = merge(empty_database, archive, requested(renamed))
    counts = {table.table: (table.inserted, table.unchanged) for table in done.tables}
    assert (counts["public.people"], counts["public.mails"]) == ((5, 0), (0, 1))
    assert empty_database.query("SELECT phone_number, mood::text, mail, said FROM people WHERE id = 2") == [
        ("p2", "so so", 1, "")
    ]


WRONG = [
    (
        {"skip_tables": ["lettrs"]},
        "--skip-table lettrs: the backup has no table",
        "did you mean public.letters?",
    ),
    ({"map_tables": ["people=persons"]}, "the live database has no table persons", "lists"),
    (
        {"map_tables": ["letters=slots"]},
        "public.letters and public.slots of the backup would both go into",
        "--skip-table",
    ),
    (
        {"map_tables": ['letters="Old log"']},
        "public.Old log and public.letters of the backup would both go into",
        "--skip-table 'public.Old log'",
    ),
    ({"map_tables": ["letters=parted_1"]}, "parted_1 is a partition", "--map-table public.letters=public.parted"),
    ({"map_tables": ["alembic_version=kept"], "skip_tables": ["kept"]}, "says which migrations", "stamp"),
    ({"fills": ['"Old log".who=1'], "tables": ["people"]}, "Old log takes no part", "--table 'public.Old log'"),
    ({"skip_columns": ["people.phon"]}, "public.people has no column phon in the backup", "did you mean phone?"),
    ({"skip_columns": ["nobody.phone"]}, "--skip-column nobody.phone: no table nobody takes part", "lists"),
    ({"map_columns": ["people.phone=mobile"]}, "public.people has no column mobile in the live", "its columns are id"),
    (
        {"map_columns": ["people.phone=room"]},
        "columns phone and room of the backup would both go into",
        "--skip-column",
    ),
    ({"map_columns": ["people.phone=twice"]}, "the server computes public.people.twice", "generated"),
    ({"map_columns": ["people.phone=room", "people.phone=id"]}, "another new name", "once"),
    ({"skip_columns": ["people.phone"], "map_columns": ["people.phone=room"]}, "both left out and renamed", "leave"),
    ({"fills": ["people.room=''"]}, "the backup has the column public.people.room", "--skip-column public.people.room"),
    ({"fills": ["people.rooom=''"]}, "public.people has no column rooom in the live database", "did you mean room?"),
    ({"fills": ["people.new=1", "people.new=2"]}, "the column has another value too", "one"),
    ({"fills": ["alembic_version.extra=1"]}, "public.alembic_version takes no part", "leave"),
    (
        {"fills": ["people.new=nosuch"]},
        'of public.people.new: column "nosuch" does not exist',
        "--fill takes",
    ),
    ({"fills": ["people.new=1) FROM slots t; --"]}, "the value of public.people.new: ", "--fill takes"),
    ({"fills": ["people.new=1, 2"]}, "the value of public.people.new: ", "--fill takes"),
    ({"fills": ["people.short=1, 2"]}, 'value of public.people.short: syntax error at or near ","', "--fill takes"),
    ({"fills": ["people.new=1 /*"]}, 'people.new: unterminated /* comment at or near "/*"', "--fill takes"),
    ({"fills": ["people.new=id / (id - id)"]}, "fails on a row: DivisionByZero", "-v"),
    ({"fills": ["people.short='far too long'"]}, "the value of public.people.short: value too long", "--fill takes"),
    ({"fills": ["people.new=writes()"]}, "the value of public.people.new", "--fill takes"),
    ({"fills": ["people.new=pg_switch_wal()::text::int"]}, "permission denied", "a value is evaluated as a role"),
    ({"skip_tables": ["letters"], "tables": ["people"]}, "takes no part anyway", "leave --skip-table out"),
    (
        {"skip_tables": ["people"], "tables": ["people"]},
        "people is both chosen and left out",
        "--skip-table people out",
    ),
    (
        {"skip_columns": ["letters.text"], "tables": ["people"]},
        "public.letters takes no part",
        "--table public.letters",
    ),
]
CHANGED = """
    DELETE FROM people; ALTER TABLE people ADD COLUMN new int, ADD COLUMN short varchar(3), ADD COLUMN twice int
        GENERATED ALWAYS AS (id * 2) STORED;
    CREATE FUNCTION writes() RETURNS int LANGUAGE sql AS 'INSERT INTO public.kept VALUES (9) RETURNING 9'"""


def test_options_that_are_wrong_or_hit_nothing_are_refused_with_what_was_meant(empty_database: TestDatabase) -> None:
    empty_database.execute(BEFORE)
    empty_database.execute("CREATE TABLE alembic_version (version_num text); INSERT INTO alembic_version VALUES ('a')")
    archive = archive_of(empty_database)
    empty_database.execute(CHANGED)
    before = copy_of_all_tables(empty_database.url)
    for given, message, hint in WRONG:
        options = {name: texts for name, texts in given.items() if name in OPTIONS.values()}
        wanted = request(tables=given.get("tables", ()), adaptation=Adaptation.parse(**options), backup="daily/a")
        with pytest.raises(RestoreValidationError, match=re.escape(message)) as refused:
            merge(empty_database, archive, wanted)
        assert hint in (refused.value.hint or ""), given
        assert "CAST(" not in refused.value.message
        assert "restore_" not in refused.value.message
    assert copy_of_all_tables(empty_database.url) == before
