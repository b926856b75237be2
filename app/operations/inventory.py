"""What backups there are: the files of the tree, with what the catalog knows of each.

The files come first. A catalog that is lost or cannot be reached hides no backup, and a row whose file is gone
is no backup.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import PurePosixPath

import structlog

from app.archive.manifest import Manifest, parse_manifest
from app.domain.backup import Backup, Codec, Origin, State, Tier
from app.domain.clocks import is_newer, latest_of
from app.domain.ports import StoredFile
from app.errors import BackupNotFoundError, CatalogError, ManifestError
from app.operations.found import found_files, known_bytes, why_found
from app.operations.lineage import ours
from app.operations.same_name import backup_at, by_id, own_files, remark, waiting_manifest
from app.operations.service import Service

MISSING = "the file is missing"
# A safety backup holds what somebody wanted to get away from, and a full one is no plain SQL: only their own aliases
# mean one.
_UNMEANT = (Tier.SAFETY, Tier.FULL)
ALIASES = ("latest", *(f"latest-{tier}" for tier in Tier), "oldest")
log = structlog.get_logger(__name__)


def inventory(service: Service) -> list[Backup]:
    """All backups, newest first. Rows without a file are in it too, as damaged; other files of an id are not."""
    rows = known_rows(service)
    names = by_id(service.tree.files(), rows)
    known = known_bytes(rows)
    found = [_known(named.backup, rows.get(named.backup.file), known, service) for named in names]
    there = {named.backup.id for named in names}
    lacking = {file: row for file, row in rows.items() if row.id not in there}
    # If two trees share a catalog, the other's rows speak of files that never were in this one.
    gone = ours(service, [replace(row, damage=MISSING) for row in _still_known(service, lacking)])
    return sorted([*found, *gone], key=lambda backup: (backup.created_at, backup.id), reverse=True)


def _still_known(service: Service, rows: dict[str, Backup]) -> list[Backup]:
    """Rows without a file that are there still: whoever removes a backup removes its row too, a moment later."""
    now = known_rows(service) if rows else {}
    return [row for file, row in rows.items() if now.get(file) == row]


def other_files(service: Service) -> list[str]:
    """What to say of each file that bears a backup's name and is not it."""
    names = by_id(service.tree.files(), known_rows(service))
    return [remark(other, named.backup) for named in names for other in named.others]


def only_found(service: Service) -> dict[str, str]:
    """The files that count as found, whatever their manifests say, and why."""
    return found_files(service, known_rows(service))


def own_files_of(service: Service, backup_id: str) -> list[str]:
    """The files of an id that this service made: what a run may put another one in the place of."""
    rows = known_rows(service)
    names = (named for named in by_id(service.tree.files(), rows) if named.backup.id == backup_id)
    return [file for named in names for file in own_files(named, rows)]


def newest_good(service: Service) -> Backup | None:
    """The newest sound backup of this database, as plain SQL, that this service made."""
    now = service.clock()
    own = (each for each in ours(service, inventory(service)) if each.origin is Origin.DUMP)
    return next((each for each in own if each.good and each.tier is not Tier.FULL and not is_newer(each, now)), None)


def find(service: Service, name: str) -> Backup:
    """The backup of an id, of a path in the tree, or of an alias.

    Raises:
        BackupNotFoundError: there is none.
    """
    if not isinstance(name, str):  # a task's argument may be anything
        raise BackupNotFoundError(f"no such backup: {name!r}", "name it by its id, or by an alias such as latest")
    backups = [each for each in inventory(service) if each.damage != MISSING and each.state is State.COMPLETE]
    if name in ALIASES:
        return _meant(service, name, ours(service, backups))
    wanted = name.removeprefix(f"{service.tree.root}/")
    for backup in backups:
        if wanted in (backup.id, backup.file):
            return backup
    raise BackupNotFoundError(f"no such backup: {name}", "'residency-backup list' shows what there is")


def _meant(service: Service, alias: str, own: list[Backup]) -> Backup:
    """The backup of this database that an alias means."""
    found: dict[str, str] = {}
    made = [each for each in own if each.origin is Origin.DUMP]
    if not made:  # then those are meant that have lost their manifests, but nothing that somebody else put there
        found = only_found(service)
        made = [each for each in own if each.file not in found]
    tier = alias.removeprefix("latest-") if alias.startswith("latest-") else None
    candidates = [each for each in made if (each.tier == tier if tier else each.tier not in _UNMEANT)]
    now = service.clock()
    come = [each for each in candidates if not is_newer(each, now)]
    if come:
        return come[-1 if alias == "oldest" else 0]
    if candidates:
        raise BackupNotFoundError(
            f"no such backup: {alias}: {candidates[0].id} is from the future, as this machine's clock says",
            f"the clock says {now:%Y-%m-%d %H:%M %Z}: if that is right, name the backup by its id",
        )
    for file, reason in found.items():
        message = f"no such backup: {alias}: {file} is there, but was found, and not made here: {reason}"
        hint = "'residency-backup check' says what to do if it is yours; or name it by its id"
        raise BackupNotFoundError(message, hint)
    raise BackupNotFoundError(f"no such backup: {alias}", "'residency-backup list' shows what there is")


def codec_of(file: str) -> Codec:
    """How a file is compressed, by its suffix."""
    return next(codec for codec in (Codec.GZIP, Codec.ZSTD, Codec.NONE) if file.endswith(codec.suffix))


def unindexed(stored: StoredFile, database: str) -> Backup:
    """What its name and size alone say of a file."""
    path = PurePosixPath(stored.id)
    tier = Tier(path.parent.name)
    return Backup(
        id=stored.id,
        database=database,
        tier=tier,
        period=stored.period,
        file=stored.file,
        created_at=min(stored.written_at, latest_of(tier, stored.period)),
        bytes=stored.size,
        raw_bytes=0,
        rows=None,
        tables=None,
        database_size=None,
        sha256="",
        codec=codec_of(stored.file),
        origin=Origin.SCAN,
    )


def _known(stored: StoredFile, row: Backup | None, known: Collection[str], service: Service) -> Backup:
    """What is known of a file: its manifest's word, and what the catalog remembers of these very bytes."""
    manifest = manifest_of(stored)
    if why_found(service, stored, manifest, known):
        return replace(_by_word(stored, row, manifest, service), origin=Origin.SCAN)
    return _by_word(stored, row, manifest, service)


def _by_word(stored: StoredFile, row: Backup | None, manifest: Manifest | None, service: Service) -> Backup:
    if manifest is None:
        return _unproven(stored, row, service.database)
    backup = backup_at(manifest, stored)
    if row is not None and row.sha256 == backup.sha256:
        backup = replace(row, tier=backup.tier, period=backup.period, kept=backup.kept)
    return replace(backup, damage=backup.damage or _wrong_size(stored, backup.bytes))


def _unproven(stored: StoredFile, row: Backup | None, database: str) -> Backup:
    """What is known of a file that lost its manifest: until it has one again, nothing proves it to be ours.

    A row of a file of another length is of other bytes, so only the pin that it remembers counts.
    """
    if waiting := waiting_manifest(stored):
        found = backup_at(waiting, stored)
        return replace(found, origin=Origin.SCAN, verified_at=None)
    if row is None:
        return unindexed(stored, database)
    if damage := _wrong_size(stored, row.bytes):
        return replace(unindexed(stored, database), kept=row.kept, state=row.state, damage=damage)
    return replace(row, origin=Origin.SCAN)


def _wrong_size(stored: StoredFile, wanted: int) -> str | None:
    return None if stored.size == wanted else f"the file has {stored.size} bytes instead of {wanted}"


def manifest_of(stored: StoredFile) -> Manifest | None:
    """The manifest beside a file, or None, with a warning, where it cannot be used."""
    if stored.manifest is None:
        return None
    try:
        return parse_manifest(stored.manifest, f"{stored.file}.json")
    except ManifestError as error:
        log.warning("backup manifest not usable", backup=stored.id, error=type(error).__name__, reason=error.message)
        return None


def known_rows(service: Service) -> dict[str, Backup]:
    """What the catalog knows, by file; nothing, with a warning, where it cannot be read."""
    try:
        return {row.file: row for row in service.catalog.backups(service.database)}
    except CatalogError as error:
        log.warning("backup catalog not readable, going by the files", error="CatalogError", reason=error.message)
        return {}
