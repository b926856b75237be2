"""The commands with which an administrator adds what a server lacks for a backup."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from app.domain.psql import in_psql, quoted

_IMPORT = "SELECT pg_import_system_collations('pg_catalog')"
_CATALOG = "pg_catalog."


def remedy(lacking: Sequence[str]) -> str:
    """The hint for what `Target.missing` named: ``extension postgis``, ``role planner``."""
    names_by_kind: dict[str, list[str]] = {}
    for line in lacking:
        kind, _, name = line.partition(" ")
        names_by_kind.setdefault(kind, []).append(name)
    steps = [_STEPS[kind](names) for kind, names in names_by_kind.items()]
    return "; ".join(steps) + "; then restore again"


def _extensions(names: Sequence[str]) -> str:
    noun = "extension" if len(names) == 1 else "extensions"
    return f"install the package of the {noun} {', '.join(names)} on the server's machine"


def _roles(names: Sequence[str]) -> str:
    create = in_psql("postgres", *(f"CREATE ROLE {quoted(name)} NOLOGIN" for name in names))
    return f"{create}, or all roles of the old server, with their passwords: psql -d postgres -f globals.sql"


def _tablespaces(names: Sequence[str]) -> str:
    folders = {name: f"/srv/{name}" for name in names}
    make_folders = f"install -d -o postgres -m 700 {shlex.join(folders.values())}"
    literals = {name: folder.replace("'", "''") for name, folder in folders.items()}
    statements = (f"CREATE TABLESPACE {quoted(name)} LOCATION '{literals[name]}'" for name in names)
    return f"in folders of your choice on the server's machine: {make_folders}; {in_psql('postgres', *statements)}"


def _collations(names: Sequence[str]) -> str:
    own = {name: shlex.quote(rf"\dO {name}") for name in names if not name.startswith(_CATALOG)}
    steps = [f"CREATE COLLATION {name} as the old server shows it: psql -c {query}" for name, query in own.items()]
    if of_system := [name.removeprefix(_CATALOG) for name in names if name.startswith(_CATALOG)]:
        steps.append(
            f"install the locales of collations {', '.join(of_system)} on the server's machine, and import them into "
            f"template0, postgres and the database that is restored: {_IMPORT}"
        )
    return "; ".join(steps)


_STEPS = {"extension": _extensions, "role": _roles, "tablespace": _tablespaces, "collation": _collations}
