"""Reads the tar of a full backup: compressed in whole frames, read in one pass, in bounded memory.

Each file in it is hashed, and the manifest has its digest (see `app.archive.digest`). Folders and links are proven by
the digest of the whole tar.
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any, BinaryIO, Self, cast

from app.archive.codecs import decode
from app.archive.digest import Hash, hash_of, xxh128
from app.archive.manifest import Manifest, Member
from app.archive.reader import HashedFile
from app.domain.backup import Codec
from app.errors import BackupReadError, BackupValidationError

BLOCK = 1 << 20
_EXTENSIONS = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)
_LONGEST_HEADER = 1 << 16
_END = 1024  # bytes: a tar ends with two empty blocks
_USE_ANOTHER = "use another backup: residency-backup list"


@dataclass(frozen=True, slots=True, kw_only=True)
class TarIndex:
    """The index of a whole tar: its files in order, and the figures that prove it."""

    members: tuple[Member, ...]
    bytes: int
    raw_bytes: int
    sha256: str


def tar_index_of(manifest: Manifest) -> TarIndex:
    """The index of a tar, from the manifest of the full backup."""
    members = manifest.full.members if manifest.full else ()
    return TarIndex(members=members, bytes=manifest.bytes, raw_bytes=manifest.raw_bytes, sha256=manifest.sha256)


def printable(name: str) -> str:
    """A file's name as text for a manifest, which is JSON, because a name need not be UTF-8."""
    data = os.fsencode(name)
    # A backslash is doubled, so that two names never give the same text.
    return data.replace(b"\\", b"\\\\").decode(errors="backslashreplace")


def shown(name: str) -> str:
    """A file's name for a message, with unprintable characters escaped."""
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in printable(name))


class TarReader:
    """Reads a tar once, from its first byte to its last.

    Args:
        stream: the file, at its start.
        codec: how it is compressed.
        progress: called with the number of bytes of the file read.
        like: the index that the one of the tar will be compared with; files get digests of the same kind.
    """

    def __init__(
        self,
        stream: BinaryIO,
        codec: Codec,
        progress: Callable[[int], None] = lambda _: None,
        like: TarIndex | None = None,
    ) -> None:
        self._like = like.members[0] if like is not None and like.members else None
        self._file = HashedFile(stream, progress)
        self._text = _Unpacked(chunk.data for chunk in decode(self._file, codec) if chunk.data)
        self._members: list[Member] = []
        self._end = 0  # offset after the last entry; zeros before it belong to files

    def entries(self) -> Iterator[tuple[tarfile.TarInfo, Iterator[bytes]]]:
        """Each entry with its content, which must be read before the next entry.

        Raises:
            BackupReadError: it cannot be read or decompressed, or is no tar.
        """
        with (
            _translated(),
            tarfile.open(fileobj=cast("IO[bytes]", self._text), mode="r|", bufsize=BLOCK, tarinfo=_Entry) as tar,
        ):
            while (info := tar.next()) is not None:
                content = self._content(info, tar.extractfile(info)) if info.isreg() else iter(())
                yield info, content
                for _ in content:
                    pass  # hash what the caller did not read
                forget_entries(tar)
            self._end = tar.offset

    def finish(self) -> TarIndex:
        """Read the rest and return the index.

        Raises:
            BackupReadError: the tar has no end mark: it was cut off.
        """
        self._text.drain()
        if not _END <= self._text.bytes - self._end <= self._text.zeros:
            raise BackupReadError("the tar has no end mark: it was cut off, or is no tar", _USE_ANOTHER)
        return TarIndex(
            members=tuple(self._members),
            bytes=self._file.bytes,
            raw_bytes=self._text.bytes,
            sha256=self._file.hash.hexdigest(),
        )

    def _content(self, info: tarfile.TarInfo, source: IO[bytes] | None) -> Iterator[bytes]:
        digest: Hash = xxh128() if self._like is None else hash_of(self._like)
        with _translated():  # the caller reads it, outside of the block in `entries`
            while source is not None and (block := source.read(BLOCK)):
                digest.update(block)
                yield block
        kind = "sha256" if self._like is not None and self._like.xxh128 is None else "xxh128"
        figures = {"name": printable(info.name), "bytes": info.size, kind: digest.hexdigest()}
        self._members.append(Member.model_validate(figures))


class _Entry(tarfile.TarInfo):
    """A tar entry with a limit on extended headers, because tarfile reads them into memory."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        """The entry of a header block."""
        entry = super().frombuf(buf, encoding, errors)
        if entry.type in _EXTENSIONS and entry.size > _LONGEST_HEADER:
            raise tarfile.ReadError(f"a header of {entry.size} bytes")
        return entry


@contextmanager
def _translated() -> Iterator[None]:
    """Turn the errors of tarfile for a bad tar into ours; for a bad number it raises ValueError."""
    try:
        yield
    except (tarfile.TarError, EOFError, ValueError, OverflowError, RecursionError) as error:  # headers of headers
        raise BackupReadError(f"the tar cannot be read: {error}", _USE_ANOTHER) from error


def index_tar(
    stream: BinaryIO,
    codec: Codec,
    progress: Callable[[int], None] = lambda _: None,
    like: TarIndex | None = None,
) -> TarIndex:
    """Make the index of a tar, by reading all of it: see `TarReader`.

    Raises:
        BackupReadError: it cannot be read or decompressed, or is no whole tar.
    """
    reader = TarReader(stream, codec, progress, like)
    for _ in reader.entries():
        pass
    return reader.finish()


def require_equal(found: TarIndex, wanted: TarIndex) -> None:
    """Compare the tar that was read with the expected one.

    Raises:
        BackupValidationError: they differ; names the first file that does.
    """
    expected = {member.name: member for member in wanted.members}
    for member in found.members:
        if expected.pop(member.name, None) != member:
            raise BackupValidationError(f"{member.name}: the content is not what was backed up", _USE_ANOTHER)
    if expected:
        raise BackupValidationError(f"{next(iter(expected))}: is missing from the tar", _USE_ANOTHER)
    if (found.bytes, found.sha256) != (wanted.bytes, wanted.sha256):
        raise BackupValidationError("the file's length or SHA-256 is not what its manifest says", _USE_ANOTHER)


def forget_entries(tar: Any) -> None:
    """Empty the list of past entries that tarfile keeps, which a stream does not need and which takes memory."""
    tar.members.clear()


class _Unpacked:
    """The decompressed tar as a file for tarfile."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._waiting = b""
        self.zeros = 0  # number of zero bytes at the end of what was read
        self.bytes = 0

    def read(self, size: int) -> bytes:
        while len(self._waiting) < size and (chunk := next(self._chunks, b"")):
            self.bytes += len(chunk)
            content = len(chunk.rstrip(b"\0"))
            self.zeros = len(chunk) - content + (0 if content else self.zeros)
            self._waiting += chunk
        data, self._waiting = self._waiting[:size], self._waiting[size:]
        return data

    def drain(self) -> None:
        while self.read(BLOCK):
            pass
