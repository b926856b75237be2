"""The file of a full backup: a tar of whole frames or members, written and read in one pass, however large.

Every file in it is hashed on the way, so that the manifest can name each; what the tar says of folders and links is
proven by the digest of the whole.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, BinaryIO, Self, cast

from app.archive.codecs import decode, framing
from app.archive.manifest import Manifest, Member
from app.archive.reader import HashedFile
from app.archive.writer import write_error
from app.domain.backup import Codec
from app.errors import BackupError, BackupPermissionError, BackupReadError, BackupValidationError, DiskReadError

_BLOCK = 1 << 20
_EXTENSIONS = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)
_END = b"\0" * 1024  # two empty blocks end a tar
_USE_ANOTHER = "use another backup: 'residency-backup list' shows what there is"


@dataclass(frozen=True, slots=True, kw_only=True)
class TarIndex:
    """A whole tar: its files in their order, and what proves the file that it is."""

    members: tuple[Member, ...]
    bytes: int
    raw_bytes: int
    sha256: str


def tar_index_of(manifest: Manifest) -> TarIndex:
    """What the manifest of a full backup says of its file."""
    members = manifest.full.members if manifest.full else ()
    return TarIndex(members=members, bytes=manifest.bytes, raw_bytes=manifest.raw_bytes, sha256=manifest.sha256)


def printable(name: str) -> str:
    """A file's name as a manifest, which is JSON, can hold it: names need not be UTF-8."""
    data = os.fsencode(name)
    # A backslash is written twice, so that no other name reads alike.
    return data.replace(b"\\", b"\\\\").decode(errors="backslashreplace")


class TarWriter:
    """Makes a tar out of files, folders and links, in a block; one that is left before `finish` writes nothing more.

    Args:
        stream: where it goes.
        codec, level: how it is compressed.
        progress: called with the number of plain bytes written.
    """

    def __init__(self, stream: BinaryIO, codec: Codec, level: int | None, progress: Callable[[int], None]) -> None:
        self._out = _Packed(stream, codec, level, progress)
        self._tar = tarfile.open(  # noqa: SIM115 -- closed by the block's end
            fileobj=cast("IO[bytes]", self._out), mode="w|", format=tarfile.PAX_FORMAT, bufsize=_BLOCK
        )
        self._members: list[Member] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._out.ended = True
        self._tar.close()

    def add_file(self, name: str, path: Path) -> bool:
        """Add a regular file as it is now; True where it was written to while it was read.

        It is as long as it was when it was opened: what was cut off meanwhile are zeros, what was added is not there.

        Raises:
            FileNotFoundError: it has gone.
            BackupPermissionError, DiskReadError: it cannot be read.
        """
        with _opened(path) as source:
            before = os.fstat(source.fileno())
            info = _info(name, before, tarfile.REGTYPE)
            hashed = _Hashed(path, source, info.size)
            self._add(info, hashed)
            after = os.fstat(source.fileno())
        self._members.append(Member(name=printable(name), bytes=info.size, sha256=hashed.digest.hexdigest()))
        return hashed.short or (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns)

    def add_folder(self, name: str, path: Path) -> None:
        """Add a folder, without what is in it."""
        self._add(_info(name, path.stat(), tarfile.DIRTYPE), None)

    def add_link(self, name: str, path: Path) -> None:
        """Add a symbolic link."""
        info = _info(name, path.lstat(), tarfile.SYMTYPE)
        info.linkname = str(path.readlink())
        self._add(info, None)

    def finish(self) -> TarIndex:
        """End the tar."""
        self._tar.close()
        self._out.close()
        return TarIndex(
            members=tuple(self._members),
            bytes=self._out.bytes,
            raw_bytes=self._out.raw_bytes,
            sha256=self._out.digest.hexdigest(),
        )

    def _add(self, info: tarfile.TarInfo, source: _Hashed | None) -> None:
        self._tar.addfile(info, cast("IO[bytes] | None", source))
        _forget_entries(self._tar)


class TarReader:
    """Reads a tar once, from its first byte to its last.

    Args:
        stream: the file, at its start.
        codec: how it is compressed.
        progress: called with the number of bytes of the file read.
    """

    def __init__(self, stream: BinaryIO, codec: Codec, progress: Callable[[int], None] = lambda _: None) -> None:
        self._file = HashedFile(stream, progress)
        self._text = _Unpacked(piece.data for piece in decode(self._file, codec) if piece.data)
        self._members: list[Member] = []
        self._end = 0  # where the last entry ends; zeros before that are a file's

    def entries(self) -> Iterator[tuple[tarfile.TarInfo, Iterator[bytes]]]:
        """Each entry with its content, which is read before the next one is asked for.

        Raises:
            BackupReadError: it cannot be read or decompressed, or is no tar.
        """
        with (
            _translated(),
            tarfile.open(fileobj=cast("IO[bytes]", self._text), mode="r|", bufsize=_BLOCK, tarinfo=_Entry) as tar,
        ):
            while (info := tar.next()) is not None:
                content = self._content(info, tar.extractfile(info)) if info.isreg() else iter(())
                yield info, content
                for _ in content:
                    pass  # what nobody wanted is hashed all the same
                _forget_entries(tar)
            self._end = tar.offset

    def finish(self) -> TarIndex:
        """What was read, all of it.

        Raises:
            BackupReadError: the tar has no end: it was cut off.
        """
        self._text.drain()
        if self._text.tail != _END or self._text.bytes - self._end < len(_END):
            raise BackupReadError("the tar has no end mark: it was cut off, or is no tar", _USE_ANOTHER)
        return TarIndex(
            members=tuple(self._members),
            bytes=self._file.bytes,
            raw_bytes=self._text.bytes,
            sha256=self._file.hash.hexdigest(),
        )

    def _content(self, info: tarfile.TarInfo, source: IO[bytes] | None) -> Iterator[bytes]:
        digest = hashlib.sha256()
        with _translated():  # it is read by whoever was given it
            while source is not None and (block := source.read(_BLOCK)):
                digest.update(block)
                yield block
        self._members.append(Member(name=printable(info.name), bytes=info.size, sha256=digest.hexdigest()))


class _Entry(tarfile.TarInfo):
    """An entry whose name and times, which tarfile holds in memory, are of a size that names and times have."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        """The entry of a block."""
        entry = super().frombuf(buf, encoding, errors)
        if entry.type in _EXTENSIONS and entry.size > _BLOCK:
            raise tarfile.ReadError(f"a header of {entry.size} bytes")
        return entry


@contextmanager
def _translated() -> Iterator[None]:
    """Turn what Python's tarfile says of a bad tar into ours; of numbers that are none it says ValueError."""
    try:
        yield
    except (tarfile.TarError, EOFError, ValueError, OverflowError) as error:
        raise BackupReadError(f"the tar cannot be read: {error}", _USE_ANOTHER) from error


def index_tar(stream: BinaryIO, codec: Codec, progress: Callable[[int], None] = lambda _: None) -> TarIndex:
    """The index of a tar, by reading all of it.

    Raises:
        BackupReadError: it cannot be read or decompressed, or is no whole tar.
    """
    reader = TarReader(stream, codec, progress)
    for _ in reader.entries():
        pass
    return reader.finish()


def require_equal(found: TarIndex, wanted: TarIndex) -> None:
    """Compare what was read with what it should be.

    Raises:
        BackupValidationError: it differs; names the first file that does.
    """
    theirs = {each.name: each for each in wanted.members}
    for each in found.members:
        if theirs.pop(each.name, None) != each:
            raise BackupValidationError(f"{each.name}: the content is not what was backed up", _USE_ANOTHER)
    if theirs:
        raise BackupValidationError(f"{next(iter(theirs))}: is missing from the tar", _USE_ANOTHER)
    if (found.bytes, found.sha256) != (wanted.bytes, wanted.sha256):
        raise BackupValidationError("the file's length or SHA-256 is not what its manifest says", _USE_ANOTHER)


def _forget_entries(tar: Any) -> None:
    """A tar that is written or read as a stream needs no list of what has passed, and so takes no memory for it."""
    tar.members.clear()


def _info(name: str, found: os.stat_result, kind: bytes) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type = kind
    info.mode = stat.S_IMODE(found.st_mode)
    info.uid, info.gid = found.st_uid, found.st_gid
    info.mtime = int(found.st_mtime)
    info.size = found.st_size if kind == tarfile.REGTYPE else 0
    return info


def _opened(path: Path) -> BinaryIO:
    """A regular file, and nothing that took its place meanwhile: no link is followed, no pipe waited for."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise read_error(path, error) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise FileNotFoundError(errno.ENOENT, "is no file any more", path)
    return os.fdopen(descriptor, "rb")


def read_error(path: Path | str, error: OSError) -> BackupError | OSError:
    """The typed error for what cannot be read; FileNotFoundError for what has gone, or is something else by now."""
    if isinstance(error, FileNotFoundError) or error.errno in {errno.ELOOP, errno.ENXIO}:
        return FileNotFoundError(errno.ENOENT, "is no file any more", path)
    path = printable(str(path))
    if isinstance(error, PermissionError):
        hint = "let the user of this service read it, or take it out of BACKUP_FULL_PATHS"
        return BackupPermissionError(f"{path} may not be read: {error.strerror}", hint)
    return DiskReadError(f"{path} cannot be read: {error.strerror or error}", "look at the disk that holds it")


class _Hashed:
    """A file that gives exactly as many bytes as it had when it was opened, and hashes them."""

    def __init__(self, path: Path, source: BinaryIO, size: int) -> None:
        self._path = path
        self._source = source
        self._left = size
        self.digest = hashlib.sha256()
        self.short = False

    def read(self, size: int) -> bytes:
        wanted = min(size, self._left)
        try:
            data = self._source.read(wanted)
        except OSError as error:
            raise read_error(self._path, error) from error
        if len(data) < wanted:
            self.short = True
            data += b"\0" * (wanted - len(data))
        self._left -= wanted
        self.digest.update(data)
        return data


class _Packed:
    """Packs what is written into frames, and hashes the file that they make."""

    def __init__(self, stream: BinaryIO, codec: Codec, level: int | None, progress: Callable[[int], None]) -> None:
        self._stream = stream
        self._framing = framing(codec, level)
        self._progress = progress
        self._waiting = bytearray()
        self.ended = False
        self.bytes = 0
        self.raw_bytes = 0
        self.digest = hashlib.sha256()

    def write(self, data: bytes) -> int:
        if self.ended:
            return len(data)
        self._waiting += data
        size = self._framing.size
        while len(self._waiting) >= size:
            self._pack(bytes(self._waiting[:size]))
            del self._waiting[:size]
        return len(data)

    def close(self) -> None:
        if self._waiting:
            self._pack(bytes(self._waiting))
            self._waiting.clear()

    def _pack(self, data: bytes) -> None:
        frame = self._framing.pack(data)
        try:
            self._stream.write(frame)
        except OSError as error:
            raise write_error(error) from error
        self.digest.update(frame)
        self.bytes += len(frame)
        self.raw_bytes += len(data)
        self._progress(len(data))


class _Unpacked:
    """The plain tar as a file to be read."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._waiting = b""
        self.tail = b""
        self.bytes = 0

    def read(self, size: int) -> bytes:
        while len(self._waiting) < size and (piece := next(self._pieces, b"")):
            self.bytes += len(piece)
            self.tail = (self.tail + piece)[-len(_END) :]
            self._waiting += piece
        data, self._waiting = self._waiting[:size], self._waiting[size:]
        return data

    def drain(self) -> None:
        while self.read(_BLOCK):
            pass
