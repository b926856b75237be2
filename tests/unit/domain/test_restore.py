"""What a restore is called, and what can be asked of it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from app.domain.restore import Mode, OnConflict, Policy, shadow_name, undo_name
from app.errors import RestoreValidationError

ID = "0123456789ab"


@pytest.mark.parametrize("make", [shadow_name, undo_name])
@pytest.mark.parametrize("database", ["residency", "x" * 63, "é" * 31, "x" + "é" * 31, "€" * 21, "𝄞" * 15])
def test_a_name_is_cut_between_two_characters_and_keeps_its_id(make: Callable[[str, str], str], database: str) -> None:
    name = make(database, ID)
    assert len(name.encode()) <= 63
    assert name.endswith(f"_{ID}")
    assert database.startswith(name[: name.rindex("_", 0, -len(ID) - 1)])


def test_the_names_of_a_restore_differ() -> None:
    assert len({shadow_name("x" * 63, ID), undo_name("x" * 63, ID), shadow_name("x" * 63, ID[::-1])}) == 3


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("take-backup", OnConflict()),
        ("keep-live", OnConflict(Policy.KEEP_LIVE)),
        ("fail", OnConflict(Policy.FAIL)),
        ("newest:updated_at", OnConflict(Policy.NEWEST, "updated_at")),
        ("newest:a:b\nc", OnConflict(Policy.NEWEST, "a:b\nc")),
    ],
)
def test_a_policy_is_read_as_it_is_written(text: str, policy: OnConflict) -> None:
    assert OnConflict.parse(text) == policy
    assert str(policy) == text


@pytest.mark.parametrize("text", ["", "newest", "newest:", "Fail", "take_backup", " fail", None, 3])
def test_another_policy_is_refused(text: object) -> None:
    with pytest.raises(RestoreValidationError, match="unknown conflict policy"):
        OnConflict.parse(text)


@pytest.mark.parametrize("text", ["", "mirror", "Replace", None])
def test_another_mode_is_refused(text: object) -> None:
    with pytest.raises(RestoreValidationError, match="unknown restore mode"):
        Mode.parse(text)
