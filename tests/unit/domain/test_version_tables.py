"""Which tables are those of a migration tool, and which an application's own."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from app.domain.version_tables import KNOWN, version_table

HOME = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("name", "columns", "tool"),
    [
        ("alembic_version", "version_num", "Alembic"),
        ("backup_alembic_version", "version_num", "Alembic"),
        ("django_migrations", "id app name applied", "Django"),
        ("schema_version", "installed_rank version description type script checksum", "Flyway"),
        ("schema_version", "version", "tern"),
        ("DATABASECHANGELOG", "ID AUTHOR FILENAME DATEEXECUTED", "Liquibase"),
        ("migrations", "id migration batch", "Laravel"),
        ("migrations", "id timestamp name", "TypeORM"),
        ("schema_migrations", "version dirty", "Rails, Ecto, golang-migrate, dbmate"),
        ("SequelizeMeta", "name", "Sequelize"),
        ("__EFMigrationsHistory", "MigrationId ProductVersion", "Entity Framework"),
        ("_yoyo_log", "id migration_hash", "yoyo"),
    ],
)
def test_tools_are_known_by_the_name_and_columns_of_their_tables(name: str, columns: str, tool: str) -> None:
    found = version_table("app", name, columns.split())
    assert found is not None
    assert found.tool == tool


@pytest.mark.parametrize(
    ("schema", "name", "columns"),
    [
        ("public", "migrations", "id bird from_place to_place"),
        ("public", "changes", "change_id note"),
        ("public", "changelog", "id said_at words"),
        ("public", "versions", "version_num"),
        ("public", "alembic_version", "id"),
        ("public", "ar_internal_metadata_of_ours", "key value"),
    ],
)
def test_an_application_s_own_tables_are_not_taken_for_such(schema: str, name: str, columns: str) -> None:
    assert version_table(schema, name, columns.split()) is None


def test_sqitch_has_a_schema_of_its_own() -> None:
    assert version_table("sqitch", "changes", ["change_id"]) is not None


@pytest.mark.parametrize("more", ["app.revisions", "revisions"])
def test_more_are_known_by_the_setting(more: str) -> None:
    found = version_table("app", "revisions", ["n"], ["x", more])
    assert found is not None
    assert found.tool == "RESTORE_VERSION_TABLES"
    assert version_table("app", "revision", ["n"], [more]) is None


def test_the_documentation_names_each_tool_and_table() -> None:
    text = (HOME / "docs" / "restore.md").read_text()
    names = {name.strip("*").casefold() for known in KNOWN for name in known.names}
    told = {name.strip("*").casefold() for name in re.findall(r"`([^`\s]+)`", text)}
    assert names - told == set()
    assert [known.tool for known in KNOWN if known.tool not in text] == []
