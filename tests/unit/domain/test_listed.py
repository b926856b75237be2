"""Long lists are cut in sentences, and the rest is counted."""

import pytest

from app.domain.listed import listed


@pytest.mark.parametrize(
    ("names", "text"),
    [([], ""), (["a"], "a"), (["a", "b"], "a, b"), (["a", "b", "c"], "a, b and 1 more"), (range(9), "0, 1 and 7 more")],
)
def test_the_first_are_named_and_the_rest_is_counted(names: list[object], text: str) -> None:
    assert listed(names, 2) == text


def test_the_separator_can_be_chosen() -> None:
    assert listed(["a", "b", "c"], 2, "; ") == "a; b and 1 more"
