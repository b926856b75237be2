"""Where a function that relies on search_path may find what it names."""

from __future__ import annotations

import pytest

from app.postgres.search_path_hints import load_hint, merge_hint


@pytest.mark.parametrize(
    ("function", "path"),
    [
        ("public.short(text)", "public"),
        ('"f"', "public"),
        ("app.short(public.kind)", "'app, public'"),
        ('"My.App".short()', "'\"My.App\", public'"),
    ],
)
def test_a_load_is_to_look_in_the_functions_own_schema_too(function: str, path: str) -> None:
    assert f"--search-path {path};" in load_hint(function)


def test_a_merge_is_to_look_there_beside_where_it_looked() -> None:
    hint = merge_hint("app.short(text)", '"$user", other', "live")
    assert """--search-path 'app, "$user", other, public';""" in hint
    assert "ALTER FUNCTION app.short(text) SET search_path = app, " in hint


def test_nothing_is_named_that_did_not_help() -> None:
    hint = merge_hint('"f"', '"$user", public', "live")
    assert "what it names is not there" in hint
    assert "ALTER FUNCTION" not in hint
