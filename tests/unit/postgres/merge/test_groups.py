"""How the changes of many tables are cut into statements."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from app.archive.index import TableName
from app.postgres.merge.groups import MOST_PARTS, Groups, Part
from app.postgres.merge.match import TableMatch
from app.postgres.merge.schema import ForeignKey, LiveSchema, LiveTable, RowTrigger
from app.postgres.merge.staged import StagedTable

MANY = 1000


def name_of(number: int) -> TableName:
    return TableName("public", f"t{number:04}")


@dataclass
class NoCatalogs:
    """A session on whose database no function is called."""

    queries: list[str] = field(default_factory=list)

    def catalogs(self) -> NoCatalogs:
        return self

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...

    def query(self, query: str, _: str) -> list[tuple[object, ...]]:
        self.queries.append(query)
        return []


def key(child: int, parent: int) -> ForeignKey:
    names = (name_of(child), name_of(parent))
    return ForeignKey("refers", *names, ("parent",), ("id",), ("=",), ("=",), name_of(child))


def groups_of(keys: list[ForeignKey], actions: str, *, triggers: bool = False) -> list[list[Part]]:
    tables = {name_of(n): LiveTable(name_of(n), partitioned=False, owned=not triggers) for n in range(MANY)}
    tables[name_of(0)].triggers += [RowTrigger(name_of(0), "TRIGGER", "fires", always=False)]
    staged = [StagedTable(TableMatch(live, [], (), None, (), []), n) for n, live in enumerate(tables.values())]
    groups = Groups(NoCatalogs(), LiveSchema(tables, {}, keys), staged)  # type: ignore[arg-type]
    parts = [Part(f"{action}{name}", "", name, action, {"v"}) for name in tables for action in actions]
    found = groups.of(parts)
    assert sorted(part.name for group in found for part in group) == sorted(part.name for part in parts)
    return found


def places(groups: list[list[Part]]) -> dict[str, int]:
    return {part.name: number for number, group in enumerate(groups) for part in group}


@pytest.mark.parametrize("actions", ["i", "d", "diu", "iu"])
def test_statements_are_bounded_though_each_table_refers_to_the_next(actions: str) -> None:
    groups = groups_of([key(number, number + 1) for number in range(MANY - 1)], actions)
    assert len(groups) == MANY * len(actions) // MOST_PARTS
    assert max(map(len, groups)) == MOST_PARTS
    place = places(groups)
    for child in range(MANY - 1):
        child_name, parent_name = name_of(child), name_of(child + 1)
        if "i" in actions:
            assert place[f"i{parent_name}"] <= place[f"i{child_name}"]
        if "d" in actions:
            assert place[f"d{child_name}"] <= place[f"d{parent_name}"]


def test_tables_in_a_circle_of_foreign_keys_are_one_statement() -> None:
    groups = groups_of([key(number, (number + 1) % 300) for number in range(300)], "i")
    assert [len(group) for group in groups if len(group) > MOST_PARTS] == [300]


def test_all_is_one_statement_if_a_trigger_fires() -> None:
    assert len(groups_of([], "i", triggers=True)) == 1
    assert len(groups_of([], "i")) == MANY // MOST_PARTS
