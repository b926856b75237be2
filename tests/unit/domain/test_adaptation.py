"""Options that fit a backup to the live schema: what they take, and how they are written again."""

from __future__ import annotations

import shlex

import pytest

from app.domain.adaptation import Adaptation, ColumnMapping, ColumnRef, Fill, Filled, TableMapping, TableRef
from app.domain.changes import MergeRequest
from app.domain.restore import OnConflict
from app.errors import RestoreValidationError

OURS = TableRef("public", "people")
ODD = TableRef("my.schema", 'a "b" = c')


@pytest.mark.parametrize(
    ("given", "parsed"),
    [
        ({"skip_tables": ["people"]}, Adaptation(skip_tables=(TableRef(None, "people"),))),
        ({"skip_tables": ["public.People"]}, Adaptation(skip_tables=(TableRef("public", "People"),))),
        ({"skip_tables": ['"my.schema"."a ""b"" = c"']}, Adaptation(skip_tables=(ODD,))),
        ({"skip_columns": ["people.phone"]}, Adaptation(skip_columns=(ColumnRef(TableRef(None, "people"), "phone"),))),
        ({"skip_columns": ['public.people."a.b"']}, Adaptation(skip_columns=(ColumnRef(OURS, "a.b"),))),
        (
            {"map_tables": ["public.people=persons"]},
            Adaptation(map_tables=(TableMapping(OURS, TableRef(None, "persons")),)),
        ),
        (
            {"map_columns": ['public.people.phone="Phone = 1"']},
            Adaptation(map_columns=(ColumnMapping(ColumnRef(OURS, "phone"), "Phone = 1"),)),
        ),
        (
            {"fills": ["public.people.phone= coalesce(name, '=') "]},
            Adaptation(fills=(Fill(ColumnRef(OURS, "phone"), "coalesce(name, '=')"),)),
        ),
        ({"fills": ['"my.schema"."a ""b"" = c".d=1']}, Adaptation(fills=(Fill(ColumnRef(ODD, "d"), "1"),))),
        ({"fills": None, "skip_tables": (), "map_tables": ""}, Adaptation()),
    ],
)
def test_options_are_read_and_written_again(given: dict[str, object], parsed: Adaptation) -> None:
    found = Adaptation.parse(**given)
    assert found == parsed
    assert bool(found) == (parsed != Adaptation())
    words = shlex.split(" ".join(found.words))
    again = {
        "--skip-table": "skip_tables",
        "--skip-column": "skip_columns",
        "--map-table": "map_tables",
        "--map-column": "map_columns",
        "--fill": "fills",
    }
    options = [
        Adaptation.parse(**{again[option]: [text]}) for option, text in zip(words[::2], words[1::2], strict=True)
    ]
    assert sum(options, Adaptation()) == found


@pytest.mark.parametrize(
    "given",
    [
        {"skip_tables": [""]},
        {"skip_tables": ["a.b.c"]},
        {"skip_tables": ['"open']},
        {"skip_tables": ["a=b"]},
        {"skip_tables": "people"},
        {"skip_tables": [7]},
        {"skip_columns": ["people"]},
        {"skip_columns": ["a.b.c.d"]},
        {"map_tables": ["people"]},
        {"map_tables": ["people="]},
        {"map_tables": ["people=a.b.c"]},
        {"map_columns": ["people.phone=people.mobile"]},
        {"map_columns": ["phone=mobile"]},
        {"fills": ["people.phone"]},
        {"fills": ["people.phone= "]},
        {"fills": ["phone=''"]},
    ],
)
def test_what_makes_no_sense_is_refused_with_an_example(given: dict[str, object]) -> None:
    with pytest.raises(RestoreValidationError) as refused:
        Adaptation.parse(**given)
    assert refused.value.hint


def test_what_a_migration_filled_is_added_to_what_is_asked_for() -> None:
    one = Adaptation(filled=Filled(columns=frozenset({ColumnRef(OURS, "phone")})))
    other = Adaptation.parse(skip_tables=["log"])
    both = one + other
    assert (both.filled, both.skip_tables) == (one.filled, other.skip_tables)
    assert both.words == ("--skip-table log",)


def test_a_request_is_written_as_the_command_line_that_asks_for_it() -> None:
    asked = MergeRequest(
        backup="/mnt/old dump.sql",
        tables=["people"],
        dependents=True,
        parents=True,
        where="name = 'O''Hara'",
        on_conflict=OnConflict.parse("newest:updated_at"),
        into="staging",
        migrate="alembic upgrade head",
        adaptation=Adaptation.parse(fills=["people.phone=''"]),
    )
    words = ["restore", "/mnt/old dump.sql", "--mode", "merge", "--table", "people", "--dependents", "--parents"]
    words += ["--where", "name = 'O''Hara'", "--on-conflict", "newest:updated_at", "--into", "staging"]
    words += ["--migrate", "alembic upgrade head", "--fill", "people.phone=''", "--confirm", "staging"]
    assert shlex.split(asked.command("staging"))[1:] == words
    assert MergeRequest(exact=True, tables=["t"]).command("live").endswith("--mode replace --table t --confirm live")
