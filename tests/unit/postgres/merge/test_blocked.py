"""What would let blocked rows pass is said with names that can be pasted."""

from __future__ import annotations

import shlex
from typing import cast

import pytest

from app.archive.index import TableName
from app.domain.adaptation import Adaptation, ColumnRef, TableRef
from app.domain.changes import MergeRequest, SampleKind
from app.postgres.merge.blocked import Hints
from app.postgres.merge.plan import Planner
from app.postgres.merge.reasons import Reason

HINTS = Hints("residency", MergeRequest(), cast("Planner", None), ())


@pytest.mark.parametrize(
    ("table", "column"), [("people", "phone"), ("My people", "Phone"), ("a.b", "c=d"), ('"', "it's"), ("a", "b.c")]
)
def test_a_column_to_leave_out_is_the_one_that_the_option_names(table: str, column: str) -> None:
    hint = HINTS.of(Reason(TableName("public", table), SampleKind.UNFIT, (column,)))
    assert hint is not None
    option, name = shlex.split(hint[hint.index("--skip-column") :])
    assert option == "--skip-column"
    assert Adaptation.parse(skip_columns=[name]).skip_columns == (ColumnRef(TableRef("public", table), column),)


@pytest.mark.parametrize(("table", "shown"), [("logs", "public.logs"), ("Logs", 'public."Logs"')])
def test_a_partition_is_to_be_made_of_the_table_as_sql_and_psql_name_it(table: str, shown: str) -> None:
    hint = HINTS.of(Reason(TableName("public", table), SampleKind.PARTITION, ()))
    assert hint is not None
    assert f"PARTITION OF {shown};" in hint
    assert shlex.split(hint[hint.index("psql") :]) == ["psql", "-d", "residency", "-c", rf"\d+ {shown}"]
