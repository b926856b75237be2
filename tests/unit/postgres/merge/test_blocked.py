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


@pytest.mark.parametrize(
    ("table", "column"), [("people", "phone"), ("people", "mobile phone"), ("On.Call", 'a"b=c'), ("it's", "Phone ")]
)
def test_the_hint_about_a_value_that_does_not_fit_names_the_column_as_the_option_reads_it(
    table: str, column: str
) -> None:
    hints = Hints(database="live", request=MergeRequest(), planner=cast("Planner", None), in_backup=())
    hint = hints.of(Reason(TableName("public", table), SampleKind.UNFIT, (column,), None)) or ""
    option, text = shlex.split(hint[hint.index("--skip-column") :])
    assert option == "--skip-column"
    assert ColumnRef.parse(text, option) == ColumnRef(TableRef("public", table), column)
