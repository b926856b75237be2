"""The manifest: the sidecar that indexes and proves an archive.

JSON in a file whose name is the archive's plus ``.json``. Its *facts* come first, and are all that a list of backups
needs; its *index* follows, as long as the database has tables. `app.archive.manifest_text` says how both are laid out.

In format 2 the pieces of the file are listed with their XXH3-128, in format 1 with their SHA-256. A manifest that is
changed (a pin) stays of its format.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from contextlib import contextmanager

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, field_validator

from app.archive.digest import Piece
from app.archive.index import Index, Segment, TableDigest, total_rows
from app.archive.manifest_text import FIRST_FORMAT, FORMAT, REBUILD, facts_in, to_text, whole_in
from app.domain.backup import Backup, Codec, Origin, Tier
from app.domain.callers import caller
from app.domain.doubts import MOST, Doubt, bounded
from app.domain.servers import Identity
from app.errors import ManifestError

# Session settings that decide how rows are written: those that pg_dump sets, and the two that it does not set.
READ_SETTINGS = frozenset(
    {"DateStyle", "IntervalStyle", "extra_float_digits", "TimeZone", "search_path"}
    | {"client_encoding", "bytea_output"}
)


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
    """A regular file in the tar of a full backup.

    Attributes:
        xxh128, sha256: digest of its content; one of the two (see `app.archive.digest`).
    """

    model_config = ConfigDict(frozen=True)

    name: str
    bytes: int
    xxh128: str | None = None
    sha256: str | None = None


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


class _CommonFacts(BaseModel):
    """What a manifest says without its index.

    Attributes:
        snapshot_time: the instant that the backup shows.
        wal_position: LSN. Transactions that the snapshot does not see wrote nothing before it. None if unknown.
        verified_at: when the file was read back, before it got its final name.
        server, pg_dump: None if the file was found and not made; a full backup has no `pg_dump` either.
        pinned_reason: why the backup is pinned; ``kept`` in the file. It must outlive the catalog.
        made_by, pinned_by: who asked for the backup, and for the pin; versions before did not write it.
        sha256: of the file.
        doubts: objects that a restore could not make, because their functions rely on search_path.
        lacking: objects of users that no dump contains, one sentence each.
        only_tables: the tables whose rows it holds, besides the schema; empty if it holds the whole database.
    """

    model_config = ConfigDict(frozen=True, populate_by_name=True)

    format: int = Field(default=FORMAT, ge=FIRST_FORMAT)
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

    def _backup(self, backup_id: str, file: str, rows: int | None, tables: int | None) -> Backup:
        return Backup(
            id=backup_id,
            database=self.database,
            tier=self.tier,
            period=self.period,
            file=file,
            created_at=self.snapshot_time,
            bytes=self.bytes,
            raw_bytes=self.raw_bytes,
            rows=rows,
            tables=tables,
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


class Facts(_CommonFacts):
    """The facts of a manifest, read without its index.

    Attributes:
        row_count, table_count: how much a dump holds; None for a full backup.
    """

    row_count: int | None
    table_count: int | None

    def to_backup(self, backup_id: str, file: str) -> Backup:
        """The backup that the manifest describes, under its id and file name in the tree."""
        return self._backup(backup_id, file, self.row_count, self.table_count)


class Manifest(_CommonFacts):
    """The content of a manifest.

    Attributes:
        full: content of a full backup, which has neither tables nor segments.
    """

    tables: tuple[TableDigest, ...]
    segments: tuple[Segment, ...]
    full: FullFacts | None = None

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

    @property
    def row_count(self) -> int | None:
        """Number of rows; None for a full backup."""
        return None if self.full else total_rows(self.tables)

    @property
    def table_count(self) -> int | None:
        """Number of tables; None for a full backup."""
        return None if self.full else len(self.tables)

    def to_json(self) -> str:
        """The content of the file."""
        content = self.model_dump(mode="json", by_alias=True)
        for piece in (*content["segments"], *(content["full"] or {"members": ()})["members"]):
            del piece["xxh128" if piece["xxh128"] is None else "sha256"]
        if self.format != FIRST_FORMAT:
            content |= {"row_count": self.row_count, "table_count": self.table_count}
        return to_text(content)

    def to_backup(self, backup_id: str, file: str) -> Backup:
        """The backup that this manifest describes, under its id and file name in the tree."""
        return self._backup(backup_id, file, self.row_count, self.table_count)


def parse_facts(beginning: bytes, name: str) -> Facts | None:
    """Read the facts of a manifest, without its index.

    Args:
        beginning: of the file, or all of it.
        name: of the manifest, for errors.

    Returns:
        None if it takes the whole manifest to know: of format 1, or the facts are longer.

    Raises:
        ManifestError: as `parse_manifest`. The index may be damaged all the same.
    """
    content = facts_in(beginning, name)
    if content is None:
        return None
    with _naming(name):
        return Facts.model_validate_json(json.dumps(content))


def parse_manifest(data: bytes, name: str) -> Manifest:
    """Read a manifest.

    Args:
        data: the file's content.
        name: of the manifest, for errors.

    Raises:
        ManifestError: it is no JSON, no manifest, damaged, or of a newer version of this program.
    """
    content = whole_in(data, name)
    with _naming(name):
        manifest = Manifest.model_validate_json(data)
    pieces: tuple[Piece, ...] = (*manifest.segments, *(manifest.full.members if manifest.full else ()))
    if not all(_has_digest(piece, manifest.format) for piece in pieces):
        raise ManifestError(f"the manifest {name} is corrupt: a part of the file has no digest", REBUILD)
    if not all(_lies_within(segment, manifest.bytes) for segment in manifest.segments):
        raise ManifestError(f"the manifest {name} is corrupt: a segment lies outside of its file", REBUILD)
    counts = (content.get("row_count"), content.get("table_count"))
    if manifest.format != FIRST_FORMAT and counts != (manifest.row_count, manifest.table_count):
        raise ManifestError(f"the manifest {name} is corrupt: its facts and its index differ", REBUILD)
    return manifest


@contextmanager
def _naming(name: str) -> Iterator[None]:
    """Raise ManifestError for what pydantic refuses."""
    try:
        yield
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(str(part) for part in problem["loc"])
        raise ManifestError(f"the manifest {name} is corrupt: {place}: {problem['msg']}", REBUILD) from error


def _has_digest(piece: Piece, version: int) -> bool:
    """Whether a piece has the digest of this format, and no other."""
    digest, other = (piece.sha256, piece.xxh128) if version == FIRST_FORMAT else (piece.xxh128, piece.sha256)
    return digest is not None and other is None


def _lies_within(segment: Segment, length: int) -> bool:
    if segment.raw_bytes < 0 or (segment.offset is None) != (segment.bytes is None):
        return False
    return segment.offset is None or 0 <= segment.offset <= segment.offset + (segment.bytes or 0) <= length
