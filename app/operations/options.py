"""The settings that operations work by."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from app.domain.backup import Codec, Tier
from app.domain.retention import Retention
from app.operations.schedule import Schedule


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the settings say of backups and restores.

    Attributes:
        keep: how many backups are kept.
        schedules: when each tier comes due; a tier that is off has none.
        codec, level: how archives are compressed; a level of None is the codec's fast one.
        min_free_bytes: what must remain free on the disk of the tree after a backup.
        undo_for: how long a restore can be rolled back.
        post_command: program and arguments to run on a restored database; empty for none.
        migrate_command: likewise, to bring an older backup to the live schema in a database of its own.
        before_command, after_command: likewise, to run around a restore.
        hook_seconds: how long each of these two may take.
        command_dir: working directory of all such commands; None for this process's own.
        version_tables: tables of migration tools, beside those that are known, that no merge touches.
        foreign_role: that loads dumps which this service did not make; None for the one that everything is done as.
        tool: name and version of this program, for manifests.
        by: who asks for what is done (`domain.callers`), for manifests, catalog and log.
        full_paths: folders and files that a full backup takes in beside the server.
        environment: this service's settings, without secrets, as an environment file.
    """

    keep: Retention
    schedules: dict[Tier, Schedule]
    codec: Codec
    level: int | None
    min_free_bytes: int
    undo_for: timedelta
    post_command: tuple[str, ...] = field(repr=False)  # its arguments may hold a password
    migrate_command: tuple[str, ...] = field(repr=False)
    before_command: tuple[str, ...] = field(repr=False)
    after_command: tuple[str, ...] = field(repr=False)
    hook_seconds: float
    command_dir: Path | None
    version_tables: tuple[str, ...]
    foreign_role: str | None
    tool: str
    by: str
    full_paths: tuple[Path, ...]
    environment: str
