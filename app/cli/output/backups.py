"""What the verbs of backups print."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING

from rich.filesize import decimal

from app import documents
from app.cli.output.messages import document, warn
from app.cli.output.table import Table, print_table
from app.cli.output.text import say
from app.domain.backup import Backup, Origin
from app.domain.clocks import from_future
from app.domain.listed import listed
from app.operations.backups.lineage import ours
from app.ports.tree import Tree

if TYPE_CHECKING:  # `list` is spared the rest of the program
    from app.archive.manifest import Manifest
    from app.operations.backup.publish import BackupResult
    from app.operations.backups.delete import DeleteResult
    from app.operations.backups.inventory import Inventory
    from app.operations.backups.prune import PruneResult
    from app.operations.backups.verify import VerifyResult
    from app.operations.service import Service

_TABLES_SHOWN = 3


def created(tree: Tree, taken: BackupResult, *, as_json: bool) -> None:
    """A new backup."""
    backup = taken.backup
    path = tree.location(backup.file)
    if as_json:
        document(documents.backup_made(tree, taken))
        return
    content = "" if backup.rows is None else f"{backup.rows:,} rows of {backup.tables} tables, "
    say(f"{backup.id}: {decimal(backup.bytes)}, {content}{backup.seconds:.1f} s, read back and verified")
    say(path)
    warn(taken.warnings)


def listing(service: Service, inventory: Inventory, tier: str | None, *, as_json: bool) -> None:
    """All backups, or those of a tier."""
    backups = [backup for backup in inventory if tier is None or backup.tier == tier]
    own = {backup.id for backup in ours(service, inventory)}
    why = inventory.found
    others = {backup.id for backup in backups if backup.database == service.database and backup.id not in own}
    if as_json:
        document(documents.backups(service.tree, backups, inventory, others))
        return
    if not backups:
        say("there are no backups yet; to make one: residency-backup create")
        return
    now = service.clock()
    zone = now.tzinfo
    table = Table(heads=("backup", f"taken ({zone})", "state", "size", "rows", "notes"), numbers=(3, 4))
    for backup in backups:
        rows = "" if backup.rows is None else f"{backup.rows:,}"
        taken = backup.created_at.astimezone(zone)
        table.add(
            backup.id,
            taken.replace(tzinfo=None).isoformat(" ", "seconds"),
            _state(backup),
            decimal(backup.bytes),
            rows,
            ", ".join(filter(None, ["of another server" if backup.id in others else "", _notes(backup, now, why)])),
        )
    print_table(table)


def details(tree: Tree, backup: Backup, manifest: Manifest, *, as_json: bool) -> None:
    """One backup and its manifest."""
    path = tree.location(backup.file)
    if as_json:
        document(documents.backup_with_manifest(tree, backup, manifest))
        return
    facts = Table(heads=("", ""))
    for name, value in _facts(backup, manifest, path):
        facts.add(name, value)
    if manifest.full is not None:
        print_table(facts)
        return
    tables = Table(heads=("table", "rows", "digest"), numbers=(1,))
    for table in sorted(manifest.tables, key=lambda table: table.table):
        tables.add(str(table.table), f"{table.rows:,}", table.digest)
    print_table(facts)
    say()
    print_table(tables)


def verified(outcome: VerifyResult, *, as_json: bool) -> None:
    """What verification found."""
    if as_json:
        document(documents.verification(outcome))
        return
    for backup in outcome.verified:
        if backup.origin is Origin.SCAN:
            say(f"unproven {backup.id}: unchanged since it was found; what was dumped is not known")
        else:
            say(f"ok       {backup.id}")
    for backup, error in outcome.failed:
        say(f"damaged  {backup.id}: {error.message}", colour="red")
    if not outcome.verified and not outcome.failed:
        say("there are no backups to verify")
    warn(outcome.warnings)


def pruned(outcome: PruneResult, *, dry_run: bool, as_json: bool) -> None:
    """What retention keeps and removes."""
    plan = outcome.plan
    gone = plan.pruned if dry_run else outcome.removed
    if as_json:
        document(documents.pruning(outcome, dry_run=dry_run) | {"dry_run": dry_run})
        return
    for backup in plan.kept:
        say(f"kept    {backup.id}: {', '.join(plan.reasons[backup.id])}")
    for backup in gone:
        say(f"{'would be pruned' if dry_run else 'pruned'}  {backup.id} ({decimal(backup.bytes)})")
    if not gone:
        say("nothing to remove")
    warn(outcome.problems)


def deleted(outcome: DeleteResult, *, as_json: bool) -> None:
    """A backup that is gone."""
    if as_json:
        document(documents.deletion(outcome))
        return
    say(f"deleted {outcome.backup.id} ({decimal(outcome.backup.bytes)})")
    warn(outcome.warnings)


def kept(backup: Backup, *, as_json: bool) -> None:
    """A pinned or released backup."""
    if as_json:
        document(documents.backup(backup))
    else:
        say(f"{backup.id}: {'released' if backup.pinned_reason is None else 'pinned, retention will not remove it'}")


def _facts(backup: Backup, manifest: Manifest, path: str) -> Iterator[tuple[str, str]]:
    yield "backup", backup.id
    yield "file", path
    yield "database", backup.database
    yield "taken", _time(backup.created_at) + (f" by {backup.made_by}" if backup.made_by else "")
    yield "state", f"{_state(backup)} {_time(backup.verified_at) if backup.verified_at else ''}"
    what = "plain SQL" if manifest.full is None else "tar"
    yield "size", f"{backup.bytes:,} bytes ({backup.raw_bytes:,} of {what}, compression {backup.codec})"
    yield "sha256", backup.sha256
    if not backup.is_whole:
        yield "holds", f"the schema, and the rows of these tables only: {', '.join(backup.tables_held)}"
    if full := manifest.full:
        yield "holds", ", ".join([f"the server, {len(full.members):,} files", *full.paths])
        yield "WAL", f"{full.wal_start} to {full.wal_end}, system identifier {full.system_identifier}"
    if server := manifest.server:
        dumped = f"; pg_dump {manifest.pg_dump}" if manifest.pg_dump else ""
        yield "server", f"PostgreSQL {server.version}, {server.encoding}, {server.locale}{dumped}"
        yield "of", str(server.identity)
        yield "extensions", ", ".join(f"{extension.name} {extension.version}" for extension in server.extensions)
        yield "roles named", ", ".join(server.roles)
        yield "alembic revision", server.alembic_revision or "none"
    if notes := _notes(backup):
        yield "notes", notes
    for doubt in manifest.doubts:
        yield "does not restore", str(doubt)
    for lacking in manifest.lacking:
        yield "not in it", lacking


def _time(instant: datetime) -> str:
    return instant.isoformat(sep=" ", timespec="seconds")


def _state(backup: Backup) -> str:
    if backup.problem:
        return "damaged"
    if backup.origin is Origin.SCAN:
        return "unproven"
    return "verified" if backup.is_verified else "not verified"


def _pin(backup: Backup) -> str:
    if backup.pinned_reason is None:
        return ""
    by = f" ({backup.pinned_by})" if backup.pinned_by else ""
    return "pinned" + (f": {backup.pinned_reason}" if backup.pinned_reason else "") + by


def _notes(backup: Backup, now: datetime | None = None, why: Mapping[str, str] = MappingProxyType({})) -> str:
    found_so = f"found: {why[backup.file]}" if backup.file in why else "no manifest of this service"
    notes = [
        "" if backup.is_whole else f"only {listed(backup.tables_held, _TABLES_SHOWN)}",
        "from the future" if now is not None and from_future(backup, now) else "",
        _pin(backup),
        found_so if backup.origin is Origin.SCAN else "",
        backup.problem or "",
        backup.label or "",
        "does not restore by itself" if backup.doubts else "",
        "lacks what no dump carries" if backup.lacking else "",
    ]
    return ", ".join(note for note in notes if note)
