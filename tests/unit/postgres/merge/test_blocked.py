"""Hints about blocked rows: their commands can be pasted."""

from __future__ import annotations

import shlex
from typing import cast

import pytest

from app.archive.index import TableName
from app.domain.adaptation import ColumnRef, TableRef
from app.domain.changes import MergeRequest, SampleKind
from app.postgres.merge.blocked import Hints
from app.postgres.merge.plan import Planner
from app.postgres.merge.reasons import Reason


def hint_of(reason: Reason) -> str:
    hints = Hints(database="live", request=MergeRequest(), planner=cast("Planner", None), in_backup=())
    return hints.of(reason) or ""


@pytest.mark.parametrize(
    ("table", "column"), [("people", "phone"), ("people", "mobile phone"), ("On.Call", 'a"b=c'), ("it's", "Phone ")]
)
def test_the_hint_about_a_value_that_does_not_fit_names_the_column_as_the_option_reads_it(
    table: str, column: str
) -> None:
    hint = hint_of(Reason(TableName("public", table), SampleKind.UNFIT, (column,)))
    option, text = shlex.split(hint[hint.index("--skip-column") :])
    assert option == "--skip-column"
    assert ColumnRef.parse(text, option) == ColumnRef(TableRef("public", table), column)


@pytest.mark.parametrize(
    ("table", "named"), [("people", "public.people"), ("People", '"public"."People"'), ("a*b", '"public"."a*b"')]
)
def test_the_hint_about_a_missing_partition_names_the_table_as_psql_reads_it(table: str, named: str) -> None:
    hint = hint_of(Reason(TableName("public", table), SampleKind.PARTITION, ("day",)))
    assert f"PARTITION OF {named};" in hint
    assert shlex.split(hint.partition("existing ones: ")[2]) == ["psql", "-d", "live", "-c", rf"\d+ {named}"]
