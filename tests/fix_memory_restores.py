"""A service on fakes whose rows were damaged since its backup, and the ways to bring them back."""

from __future__ import annotations

from typing import Any

import pytest

from app.errors import (
    TargetUnavailableError,
)
from app.operations.backups.inventory import inventory
from tests.fakes.server import Rows, some_rows
from tests.fix_memory_site import MemorySite

DAMAGED: Rows = {"people": ["1\tEve", "9\tMallory"], "shifts": ["2025-01-16\t2"]}
METHODS: dict[str, dict[str, Any]] = {
    "replace": {"mode": "replace"},
    "in place": {"mode": "replace"},
    "merge": {"mode": "merge"},
    "one table": {"mode": "replace", "tables": ["people"]},
}
AWAY = TargetUnavailableError("the server went away", "start it")


@pytest.fixture
def damaged_memory_site(memory_site: MemorySite) -> MemorySite:
    """A backup of yesterday, and rows that were damaged since."""
    memory_site.take()
    memory_site.later(days=1)
    damage(memory_site)
    return memory_site


def damage(site: MemorySite) -> None:
    site.server.databases["residency"].rows = {name: list(rows) for name, rows in DAMAGED.items()}


def methods(site: MemorySite, name: str) -> dict[str, Any]:
    """What to ask for; without the right to create databases a replace goes in place."""
    site.server.may_create = name != "in place"
    return METHODS[name]


def after(name: str) -> Rows:
    """The rows that a restore leaves."""
    if name == "merge":
        return {"people": ["1\tAda", "2\tGrace", "9\tMallory"], "shifts": ["2025-01-15\t1", "2025-01-16\t2"]}
    return some_rows() if name != "one table" else {**DAMAGED, "people": some_rows()["people"]}


def require_nothing_left(site: MemorySite) -> None:
    """No database beside the live one, no script, no pin, no temporary file."""
    assert list(site.server.databases) == ["residency"]
    assert list(site.service.tree.scripts.ids()) == []
    assert [backup.id for backup in inventory(site.service) if backup.pinned_reason] == []
    assert site.tree.leftovers() == []


def flip(site: MemorySite) -> None:
    """One bit in the rows of the backup."""
    file = site.tree.files_of_disk["daily/backup-2025-01-15.sql"]
    file.overwrite(file.content.replace(b"Ada", b"Eda"))
