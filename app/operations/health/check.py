"""Is the backup system healthy? Findings on the folder, the server, the schedule and the backups themselves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import cache, partial

from app.domain.backup import Tier
from app.domain.checks import Finding
from app.domain.servers import ANY
from app.domain.slots import Slot, SlotState
from app.errors import ResidencyBackupError, SettingsError
from app.operations.backup.kinds import kind_of
from app.operations.backups.beside_restore import naming_backups
from app.operations.backups.inventory import Inventory, inventory, newest_verified
from app.operations.backups.leftovers import adopt_manifests, await_signs, find_leftovers, remove_leftovers
from app.operations.backups.servers import lineage_of, require_folder
from app.operations.backups.sync import sync
from app.operations.health.asked_once import asked_once
from app.operations.health.clocks import check_clocks
from app.operations.health.doubts import check_doubts
from app.operations.health.logins import check_logins
from app.operations.health.restores import check_restores, repair_restores
from app.operations.health.servers import check_servers
from app.operations.restore.access import check_access
from app.operations.service import Service
from app.ports.runs import Catalog
from app.ports.tree import Tree

LATE = timedelta(hours=1)


def check(service: Service) -> list[Finding]:
    """Look at everything.

    What is missing is made: the folders, the catalog; and runs whose process is gone are recorded as such.
    """
    try:
        require_folder(service)
    except ResidencyBackupError as error:  # looking into it would create it
        return [Finding.failed("folder", error)]
    service = asked_once(service)
    backups = cache(partial(inventory, service))  # looked for once, unless that fails
    looks: dict[str, Callable[[], list[Finding]]] = {
        "folder": lambda: _marker(service.tree),
        "preflight": lambda: _preflight(service, backups()),
        "identity": lambda: check_servers(service, backups()),
        "catalog": lambda: _catalog(service.catalog, service.database, backups()),
        "schedule": lambda: _schedule(service),
        "leftovers": lambda: _leftovers(service),
        "restores": lambda: check_restores(service, backups()),
        "access": lambda: check_access(service, backups()),
        "backups": lambda: _backups(service, backups()),
        "search_path": lambda: check_doubts(service.source),
        "login": lambda: check_logins(service.source),
        "clock": lambda: check_clocks(service, backups()),
    }
    findings = _said_once([finding for name, look in looks.items() for finding in _tried(name, look)])
    return [naming_backups(service, finding) for finding in findings]


def _said_once(findings: Sequence[Finding]) -> list[Finding]:
    """That nothing leads to the server is a warning, and said once: the files were looked at all the same."""
    unasked = [finding for finding in findings if isinstance(finding.error, SettingsError)]
    asked = [finding for finding in findings if finding not in unasked]
    unasked_server = (
        [Finding.warning("server", f"not asked: {' '.join(unasked[0].message.split())}")] if unasked else []
    )
    return unasked_server + asked


def repair(service: Service) -> list[str]:
    """Clean up what crashes left: leftovers, restores, and what differs between the catalog and the files.

    Says what was done.
    """
    require_folder(service)
    await_signs(service)
    done = [f"manifest put in its place: {name}" for name in adopt_manifests(service, service.tree.files())]
    done += [f"leftover removed: {file}" for file in [*service.tree.folder.clear_up(), *remove_leftovers(service)]]
    outcome = sync(service, trusting=False)
    for verb, names in (
        ("added to", outcome.added),
        ("healed in", outcome.healed),
        ("removed from", outcome.forgotten),
    ):
        done += [f"{verb} the catalog: {name}" for name in names]
    return done + repair_restores(service)


def _tried(name: str, look: Callable[[], list[Finding]]) -> list[Finding]:
    try:
        return look()
    except ResidencyBackupError as error:
        return [Finding.failed(name, error)]


def _marker(tree: Tree) -> list[Finding]:
    """A finding only if the marker would stop every run."""
    tree.folder.require_readable()
    return []


def _preflight(service: Service, backups: Inventory) -> list[Finding]:
    first, *others = [Tier.MANUAL, Tier.SAFETY, *service.options.schedules]
    whole = [first, *(tier for tier in service.options.schedules if not tier.is_sql)]  # one of each kind
    found = [finding for tier in whole for finding in kind_of(tier).preflight(service, tier, backups).findings]
    return found + [finding for tier in others for finding in _tried("directory", partial(_probe, service.tree, tier))]


def _probe(tree: Tree, tier: Tier) -> list[Finding]:
    tree.probe(tier)
    return []


def _catalog(catalog: Catalog, database: str, backups: Inventory) -> list[Finding]:
    rows = {row.file for row in catalog.backups(database)}  # raises if it cannot be read
    stored = [named.backup.stored for named in backups.names]
    files = {file.file for file in stored}
    strangers, gone = sorted(files - rows - backups.found.keys()), sorted(rows - files)
    bare = [file for file in stored if file.stamp is None and file.file in rows]
    if not strangers and not gone and not bare:
        return [Finding.ok("catalog", f"{len(rows)} backups, all with their files and manifests")]
    found = [
        Finding.warning("catalog", f"no manifest beside {file.file}; to make it: residency-backup sync")
        for file in bare
    ]
    found += [
        Finding.warning("catalog", f"not in the catalog: {file}; to take it in: residency-backup sync")
        for file in strangers
    ]
    return found + [
        Finding.warning("catalog", f"the file is gone: {file}; to forget it: residency-backup sync") for file in gone
    ]


def _schedule(service: Service) -> list[Finding]:
    now, server = service.clock(), lineage_of(service).current or ANY
    found: list[Finding] = []
    for schedule in service.options.schedules.values():
        slot = schedule.last_due(now)
        record = service.catalog.slot(service.database, slot.tier, slot.period, server)
        upcoming = f"next {schedule.next_due(now).due:%Y-%m-%d %H:%M %Z}"
        if record is not None and record.state is SlotState.FAILED:
            found.append(Finding.warning("schedule", f"the {slot.tier} backup of {slot.period} failed; {upcoming}"))
        elif record is None and now - slot.due > LATE and _was_expected(service.catalog, service.database, slot):
            message = (
                f"the {slot.tier} backup of {slot.period} was due at {slot.due:%Y-%m-%d %H:%M %Z} and was not run: "
            )
            found.append(Finding.warning("schedule", message + "are beat and a worker running?"))
        else:
            found.append(Finding.ok("schedule", f"{slot.tier}: {upcoming}"))
    return found


def _was_expected(catalog: Catalog, database: str, slot: Slot) -> bool:
    """Whether the service was there when a slot came due."""
    first = catalog.first_slot_due(database, slot.tier)
    return first is not None and first <= slot.due


def _leftovers(service: Service) -> list[Finding]:
    left = find_leftovers(service)
    if not left:
        return [Finding.ok("leftovers", "none")]
    return [
        Finding.warning("leftovers", f"{file}: left by a run that died; to remove it: residency-backup check --repair")
        for file in left
    ]


def _backups(service: Service, backups: Inventory) -> list[Finding]:
    found = [Finding.warning("backups", f"{backup.id}: {backup.problem}") for backup in backups if backup.problem]
    found += [Finding.warning("backups", remark) for remark in backups.other_files()]
    newest = newest_verified(service, backups)
    if newest is None:
        return [
            *found,
            Finding.warning(
                "backups",
                "there is no verified backup of the database as plain SQL; to make one: residency-backup create manual",
            ),
        ]
    return [*found, Finding.ok("backups", f"newest verified: {newest.id} of {newest.created_at:%Y-%m-%d %H:%M %Z}")]
