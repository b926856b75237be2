"""Tables in which migration tools record the migrations of a database's schema.

Their rows describe the schema of the live database. A merge restores rows but no schema, so it must leave these tables
alone: with the backup's revision beside the live one there are two heads, and the application does not start.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

OTHER = "RESTORE_VERSION_TABLES"  # the setting that names the tables of other tools


@dataclass(frozen=True, slots=True)
class VersionTable:
    """A table of a tool. Names are compared without case, because some tools quote names with capitals.

    Attributes:
        tool: its name.
        names: possible names of the table; ``*`` stands for any characters.
        columns: that it has at least, because an application may have a table ``migrations`` of its own.
        tells: the column with the revision; None if there is none.
        schema: the only schema that the table may be in; None means any.
    """

    tool: str
    names: tuple[str, ...]
    columns: frozenset[str] = frozenset()
    tells: str | None = None
    schema: str | None = None

    def is_it(self, schema: str, name: str, columns: Collection[str]) -> bool:
        """Whether a table matches."""
        if self.schema is not None and self.schema != schema:
            return False
        named = any(fnmatchcase(name.casefold(), wanted) for wanted in self.names)
        return named and self.columns <= {column.casefold() for column in columns}


def _table(tool: str, names: str, columns: str = "", *, schema: str | None = None) -> VersionTable:
    """An entry of the list below; the first column has the revision."""
    listed = columns.split()
    return VersionTable(tool, tuple(names.split()), frozenset(listed), listed[0] if listed else None, schema)


# docs/restore.md lists the tools, and a test compares. A name that several tools use has an entry for each.
KNOWN = (
    _table("Alembic", "*alembic_version*", "version_num"),
    _table("Django", "django_migrations", "name app applied"),
    _table("South", "south_migrationhistory", "migration app_name"),
    _table("Flyway", "flyway_schema_history schema_version", "version installed_rank script"),
    _table("Liquibase", "databasechangelog", "id author filename"),
    _table("Liquibase", "databasechangeloglock", "id locked"),
    _table("Knex", "knex_migrations", "name batch"),
    _table("Knex", "knex_migrations_lock", "is_locked"),
    _table("Prisma", "_prisma_migrations", "migration_name checksum"),
    _table("Rails", "ar_internal_metadata", "key value"),
    # Rails, golang-migrate, Ecto, dbmate, Supabase: one name, and one column that all of them have.
    _table("Rails, Ecto, golang-migrate, dbmate", "schema_migrations", "version"),
    _table("Sequelize", "sequelizemeta", "name"),
    _table("TypeORM", "migrations", "name timestamp"),
    _table("TypeORM", "typeorm_metadata", "type table value"),
    _table("Laravel", "migrations", "migration batch"),
    _table("Goose", "goose_db_version", "version_id is_applied"),
    _table("Doctrine", "doctrine_migration_versions migration_versions", "version"),
    _table("Phinx", "phinxlog", "version migration_name"),
    _table("Yii", "migration", "version apply_time"),
    _table("yoyo", "_yoyo_* yoyo_lock"),
    _table("Sqitch", "projects releases changes tags dependencies events", schema="sqitch"),
    _table("Entity Framework", "__efmigrationshistory __ef_migrations_history", "migrationid productversion"),
    _table("Entity Framework", "__efmigrationshistory __ef_migrations_history", "migration_id product_version"),
    _table("FluentMigrator", "versioninfo", "version appliedon"),
    _table("DbUp", "schemaversions", "scriptname applied"),
    _table("Aerich", "aerich", "version app"),
    _table("Drizzle", "__drizzle_migrations", "hash"),
    _table("node-pg-migrate", "pgmigrations", "name run_on"),
    _table("Kysely", "kysely_migration", "name"),
    _table("Kysely", "kysely_migration_lock", "is_locked"),
    _table("MikroORM", "mikro_orm_migrations", "name"),
    _table("SQLx", "_sqlx_migrations", "version checksum"),
    _table("Diesel", "__diesel_schema_migrations", "version run_on"),
    _table("SeaORM", "seaql_migrations", "version applied_at"),
    _table("Refinery", "refinery_schema_history", "version checksum"),
    _table("Bun", "bun_migrations", "name group_id"),
    _table("Bun", "bun_migration_locks", "table_name"),
    _table("tern", "schema_version", "version"),
    _table("Atlas", "atlas_schema_revisions", "version"),
    _table("MyBatis", "changelog", "id applied_at description"),
)
# Nearly all tables of a database are none of these: one look says so.
_NAMES = {name for known in KNOWN for name in known.names if "*" not in name}
_PATTERNS = [name for known in KNOWN for name in known.names if "*" in name]


def version_table(schema: str, name: str, columns: Collection[str], more: Iterable[str] = ()) -> VersionTable | None:
    """The version table that a table is; None if it is none.

    Args:
        schema: of the table.
        name: of the table.
        columns: of the table.
        more: names from the setting: ``table`` or ``schema.table``.
    """
    found = None
    if (lowered := name.casefold()) in _NAMES or any(fnmatchcase(lowered, pattern) for pattern in _PATTERNS):
        found = next((known for known in KNOWN if known.is_it(schema, name, columns)), None)
    if found is None and {name, f"{schema}.{name}"} & set(more):
        return VersionTable(OTHER, (name,))
    return found
