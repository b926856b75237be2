"""Trees of 20, 200 and 2,000 backups: what a command costs that does not depend on how many there are."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psycopg

from app.domain.backup import Tier, id_of, period_of
from app.storage.disk import discard
from bench.commands import DATABASE, LAST, SERVER, make_tree
from bench.lab import Lab, Row, Target

GROUP, HEALED = "trees", "sync of files without manifests"
_VERBS = {
    "list": ("list",),
    "show latest": ("show", "latest"),
    "show ID": ("show", id_of(Tier.DAILY, period_of(Tier.DAILY, LAST))),
    "prune --dry-run": ("prune", "--dry-run"),
    "check": ("check",),
    "create": ("create", "manual"),
}
_SYNC = "sync"
TARGETS = (
    *(
        Target(f"CPU of `{name}` at 2,000 backups vs at 20", GROUP, name, figure="cpu", least=1.5, aim=1.1, peer_size=0)
        for name in ("list", "show latest", "check", "create")
    ),
    Target("`sync` of 2,000 files without manifests", HEALED, _SYNC, how="value", least=30, aim=15),
)
_KEEP = {f"BACKUP_KEEP_{what}": "10000" for what in ("DAYS", "MANUAL")}


def rows(lab: Lab) -> Iterator[Row]:
    """All of them. The database is empty, so what `create` costs is its own part."""
    url = lab.database(DATABASE)
    with psycopg.connect(url) as connection:
        (system, oid) = connection.execute(
            "SELECT system_identifier::text, d.oid FROM pg_control_system(), pg_database d"
            " WHERE datname = current_database()"
        ).fetchone() or ("", 0)
        connection.execute("CREATE TABLE people (id int PRIMARY KEY, name text)")
    server = SERVER.model_copy(update={"system_identifier": system, "database_oid": int(oid)})
    sites = {}
    for count in lab.sizes(20, 200, 2000):
        sites[count] = lab.site(DATABASE, f"trees-{count}", **_KEEP)
        make_tree(sites[count].tree, count, server)
    for _ in range(lab.runs):  # the sizes take turns too
        for count, site in sites.items():
            verbs = [site.ours(name, *arguments) for name, arguments in _VERBS.items()]
            yield from lab.compare(GROUP, count, verbs, runs=1)
    for count in lab.sizes(200, 2000):
        site = lab.site(DATABASE, "healed", **_KEEP)
        make_tree(site.tree, count, server)
        yield from lab.compare(HEALED, count, [site.ours(_SYNC, "sync", before=partial(_strip, site.tree))], runs=1)


def _strip(tree: Path) -> None:
    """Remove the catalog and all manifests."""
    for path in [*tree.glob("*/*.json"), *tree.glob("catalog.db*")]:
        discard(path)
