"""The manifest: the sidecar that indexes and proves an archive.

JSON in a file whose name is the archive's plus ``.json``. The last member, `checksum`, is the SHA-256 of all others: it
tells a damaged manifest from a damaged archive.
"""

from __future__ import annotations

import hashlib
import json
import shlex
from typing import Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, field_validator

from app.archive.index import Index, Segment, TableDigest, total_rows
from app.domain.backup import Backup, Codec, Origin, Tier
from app.domain.callers import caller
from app.domain.doubts import MOST, Doubt, bounded
from app.domain.servers import Identity
from app.errors import ManifestError, NewerManifestError

FORMAT = 1
# Session settings that decide how rows are written: those that pg_dump sets, and the two that it does not set.
READ_SETTINGS = frozenset(
    {"DateStyle", "IntervalStyle", "extra_float_digits", "TimeZone", "search_path"}
    | {"client_encoding", "bytea_output"}
)
_REBUILD = "the backup itself stays usable; to rebuild its manifest: residency-backup sync"


class Extension(BaseModel):
    """An installed extension."""

    model_config = ConfigDict(frozen=True)

    name: str
    version: str


class ServerFacts(BaseModel):
    """What a restore needs to know about the server and database of a dump.

    Attributes:
        version, version_num: as the server reports them: ``"18.6"``, 180006.
        size: bytes of the database on the server's disk.
        locale: collation, character type and provider: ``C.UTF-8/C.UTF-8/c``.
        roles: names in the dump's owners and grants.
        alembic_revision: of the application's schema, if it uses Alembic.
        read_settings: session settings under which rows were read; row digests are only comparable under the same.
        system_identifier, database_oid: identify the server and the database; None if unknown.
    """

    model_config = ConfigDict(frozen=True)

    version: str
    version_num: int
    encoding: str
    locale: str
    size: int
    extensions: tuple[Extension, ...] = ()
    roles: tuple[str, ...] = ()
    alembic_revision: str | None = None
    read_settings: dict[str, str] = {}
    system_identifier: str | None = None
    database_oid: int | None = None

    @field_validator("read_settings")
    @classmethod
    def _known(cls, settings: dict[str, str]) -> dict[str, str]:
        """Drop other names: sessions are opened with these settings, and a manifest may be written by anybody."""
        return {name: value for name, value in settings.items() if name in READ_SETTINGS}

    @property
    def identity(self) -> Identity:
        """The server and database."""
        return Identity(self.system_identifier, self.database_oid)

    @property
    def major(self) -> int:
        """Major version: 18."""
        return self.version_num // 10000


class Member(BaseModel):
    """A regular file in the tar of a full backup."""

    model_config = ConfigDict(frozen=True)

    name: str
    bytes: int
    sha256: str


class FullFacts(BaseModel):
    """What a full backup holds.

    Attributes:
        system_identifier: of the server; only a standby or WAL of the same server fits.
        pg_basebackup: version of the program that copied the server.
        wal_start, wal_end: the WAL that recovery must replay; the backup contains it.
        paths: folders and files outside of the server.
        members: every regular file in the tar, in its order.
    """

    model_config = ConfigDict(frozen=True)

    system_identifier: str | None = None
    pg_basebackup: str | None = None
    wal_start: str | None = None
    wal_end: str | None = None
    paths: tuple[str, ...] = ()
    members: tuple[Member, ...]


class Manifest(BaseModel):
    """The content of a manifest.

    Attributes:
        snapshot_time: the instant that the backup shows.
        wal_position: LSN. Transactions that the snapshot does not see wrote nothing before it. None if unknown.
        verified_at: when the file was read back, before it got its final name.
        server, pg_dump: None if the file was found and not made; a full backup has no `pg_dump` either.
        pinned_reason: why the backup is pinned; ``kept`` in the file. It must outlive the catalog.
        made_by, pinned_by: who asked for the backup, and for the pin; versions before did not write it.
        full: content of a full backup, which has neither tables nor segments.
        doubts: objects that a restore could not make, because their functions rely on search_path.
        lacking: objects of users that no dump contains, one sentence each.
        only_tables: the tables whose rows it holds, besides the schema; empty if it holds the whole database.
    """

    model_config = ConfigDict(frozen=True, populate_by_name=True)

    format: int = FORMAT
    tool: str
    origin: Origin
    database: str
    tier: Tier
    period: str
    label: str | None = None
    pinned_reason: str | None = Field(default=None, alias="kept")
    made_by: str | None = None
    pinned_by: str | None = None
    snapshot_time: AwareDatetime
    wal_position: str | None = None
    verified_at: AwareDatetime
    seconds: float | None = None
    server: ServerFacts | None = None
    pg_dump: str | None = None
    codec: Codec
    bytes: int
    raw_bytes: int
    sha256: str
    tables: tuple[TableDigest, ...]
    segments: tuple[Segment, ...]
    full: FullFacts | None = None
    doubts: tuple[Doubt, ...] = ()
    lacking: tuple[str, ...] = ()
    only_tables: tuple[str, ...] = ()

    @field_validator("made_by", "pinned_by")
    @classmethod
    def _on_one_line(cls, text: str | None) -> str | None:
        return None if text is None else caller(text)

    @field_validator("doubts")
    @classmethod
    def _few(cls, doubts: tuple[Doubt, ...]) -> tuple[Doubt, ...]:
        return tuple(doubt.bounded for doubt in doubts[:MOST])

    @field_validator("lacking")
    @classmethod
    def _short(cls, lacking: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(map(bounded, lacking[:MOST]))

    @property
    def index(self) -> Index:
        """The archive's index."""
        return Index(
            segments=self.segments,
            tables=self.tables,
            bytes=self.bytes,
            raw_bytes=self.raw_bytes,
            sha256=self.sha256,
            complete=True,
        )

    def to_json(self) -> str:
        """The content of the file."""
        content = self.model_dump(mode="json", by_alias=True)
        content["checksum"] = _checksum(content)
        return json.dumps(content, indent=1) + "\n"

    def to_backup(self, backup_id: str, file: str) -> Backup:
        """The backup that this manifest describes, under its id and file name in the tree."""
        return Backup(
            id=backup_id,
            database=self.database,
            tier=self.tier,
            period=self.period,
            file=file,
            created_at=self.snapshot_time,
            bytes=self.bytes,
            raw_bytes=self.raw_bytes,
            rows=None if self.full else total_rows(self.tables),
            tables=None if self.full else len(self.tables),
            database_size=self.server.size if self.server else None,
            sha256=self.sha256,
            codec=self.codec,
            origin=self.origin,
            seconds=self.seconds,
            label=self.label,
            verified_at=self.verified_at,
            pinned_reason=self.pinned_reason,
            made_by=self.made_by,
            pinned_by=self.pinned_by,
            system_identifier=self.server.system_identifier if self.server else None,
            database_oid=self.server.database_oid if self.server else None,
            revision=self.server.alembic_revision if self.server else None,
            doubts=tuple(doubt.name for doubt in self.doubts),
            lacking=self.lacking,
            only_tables=shlex.join(self.only_tables) or None,
        )


def parse_manifest(data: bytes, name: str) -> Manifest:
    """Read a manifest.

    Args:
        data: the file's content.
        name: of the manifest, for errors.

    Raises:
        ManifestError: it is no JSON, no manifest, damaged, or of a newer version of this program.
    """
    try:
        content: Any = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ManifestError(f"the manifest {name} is corrupt: {error}", _REBUILD) from error
    if not isinstance(content, dict):
        raise ManifestError(f"the manifest {name} is corrupt: not a JSON object", _REBUILD)
    version = content.get("format")
    if not isinstance(version, int):
        raise ManifestError(f"the manifest {name} is corrupt: it names no format", _REBUILD)
    if version > FORMAT:
        message = f"the manifest {name} is of format {version}; this program reads up to {FORMAT}"
        raise NewerManifestError(
            message,
            "upgrade residency-backup; the backup itself needs none: psql restores plain SQL, and a full one is a tar",
        )
    checksum = content.pop("checksum", None)
    if checksum != _checksum(content):
        raise ManifestError(f"the manifest {name} is corrupt: its checksum does not match", _REBUILD)
    try:
        manifest = Manifest.model_validate_json(data)
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(str(part) for part in problem["loc"])
        raise ManifestError(f"the manifest {name} is corrupt: {place}: {problem['msg']}", _REBUILD) from error
    if not all(_lies_within(segment, manifest.bytes) for segment in manifest.segments):
        raise ManifestError(f"the manifest {name} is corrupt: a segment lies outside of its file", _REBUILD)
    return manifest


def _lies_within(segment: Segment, length: int) -> bool:
    if segment.raw_bytes < 0 or (segment.offset is None) != (segment.bytes is None):
        return False
    return segment.offset is None or 0 <= segment.offset <= segment.offset + (segment.bytes or 0) <= length


def _checksum(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
