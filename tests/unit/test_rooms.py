"""Which room of `operations` and `postgres` may import from which: docs/design.md says why."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

HOME = Path(__file__).parents[2]
BASE = ""  # what stands in no room
# Lower ones first; a room imports from lower ones only, and none from another of its own height.
ORDER = {
    "app.operations": [{BASE}, {"backups"}, {"backup"}, {"restore", "full_restore"}, {"health"}],
    "app.postgres": [{BASE}, {"dump", "load"}, {"merge", "replace"}],
}
EVERYWHERE = {"app.postgres.target"}  # the port, which puts the rooms together


def imported(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{name.name}" for name in node.names)


def room_of(module: str, package: str) -> str:
    """The folder below a package that a module stands in."""
    parts = module.removeprefix(f"{package}.").split(".")
    return parts[0] if (HOME / package.replace(".", "/") / parts[0]).is_dir() else BASE


def height(room: str, package: str) -> int:
    return next(at for at, rooms in enumerate(ORDER[package]) if room in rooms)


@pytest.mark.parametrize("package", ORDER)
def test_a_room_imports_from_lower_ones_alone(package: str) -> None:
    wrong, looked_at = [], 0
    for file in (HOME / package.replace(".", "/")).rglob("*.py"):
        module = ".".join(file.relative_to(HOME).with_suffix("").parts)
        room = room_of(module, package)
        if module in EVERYWHERE or file.name == "__init__.py":
            continue
        for other in imported(file):
            if other.startswith(f"{package}."):
                looked_at += 1
                there = room_of(other, package)
                if there != room and height(there, package) >= height(room, package):
                    wrong.append(f"{module} -> {other}")
    assert looked_at > 100
    assert wrong == []
