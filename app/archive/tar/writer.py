"""Writes the tar of a full backup: compressed in whole frames, in one pass, each file hashed."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, BinaryIO, Self, cast

from app.archive.codecs import frame_format
from app.archive.digest import xxh128
from app.archive.manifest import Member
from app.archive.tar.reader import BLOCK, TarIndex, forget_entries, printable, shown
from app.domain.backup import Codec
from app.errors import BackupError, BackupPermissionError
from app.os_errors import read_error, write_error


class TarWriter:
    """Makes a tar of files, folders and links.

    A context manager: if its block is left before `finish`, nothing more is written.

    Args:
        stream: of the tar file.
        codec, level: how it is compressed.
        progress: called with the number of plain bytes written.
    """

    def __init__(self, stream: BinaryIO, codec: Codec, level: int | None, progress: Callable[[int], None]) -> None:
        self._out = _Packed(stream, codec, level, progress)
        self._tar = tarfile.open(  # noqa: SIM115 -- closed by the block's end
            fileobj=cast("IO[bytes]", self._out), mode="w|", format=tarfile.PAX_FORMAT, bufsize=BLOCK
        )
        self._members: list[Member] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._out.ended = True
        self._tar.close()

    def add_file(self, name: str, path: Path, at: int | None = None) -> bool:
        """Add a regular file, with the length that it had when it was opened.

        If it gets shorter while it is read, zeros take the place of the missing bytes; bytes that are added are not
        read.

        Args:
            name: in the tar.
            path: of the file.
            at: descriptor of the folder in which the last part of `path` is looked up.

        Returns:
            Whether the file was written to while it was read.

        Raises:
            OSError: it cannot be opened, or is no regular file.
            BackupPermissionError, DiskReadError: it cannot be read.
        """
        with _opened(path, at) as source:
            before = os.fstat(source.fileno())
            info = _info(name, before, tarfile.REGTYPE)
            hashed = _Hashed(path, source, info.size)
            self._add(info, hashed)
            after = os.fstat(source.fileno())
        self._members.append(Member(name=printable(name), bytes=info.size, xxh128=hashed.digest.hexdigest()))
        return hashed.short or (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns)

    def add_folder(self, name: str, found: os.stat_result) -> None:
        """Add a folder without its content."""
        self._add(_info(name, found, tarfile.DIRTYPE), None)

    def add_link(self, name: str, target: str, found: os.stat_result) -> None:
        """Add a symbolic link."""
        info = _info(name, found, tarfile.SYMTYPE)
        info.linkname = target
        self._add(info, None)

    def finish(self) -> TarIndex:
        """End the tar and return its index."""
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
        forget_entries(self._tar)


def _info(name: str, found: os.stat_result, kind: bytes) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type = kind
    info.mode = stat.S_IMODE(found.st_mode)
    info.uid, info.gid = found.st_uid, found.st_gid
    info.mtime = int(found.st_mtime)
    info.size = found.st_size if kind == tarfile.REGTYPE else 0
    return info


def _opened(path: Path, at: int | None) -> BinaryIO:
    """Open a regular file. No link is followed, and a pipe is not waited for, if one has taken its place."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(path if at is None else path.name, flags, dir_fd=at)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise FileNotFoundError(errno.ENOENT, "is no file any more", path)
    return os.fdopen(descriptor, "rb")


def unreadable(path: Path, error: OSError) -> BackupError:
    """The error for a file or folder that a full backup cannot read."""
    if isinstance(error, PermissionError):
        hint = "let the user of this service read it, or take it out of BACKUP_FULL_PATHS"
        return BackupPermissionError(f"{shown(str(path))} may not be read: {error.strerror}", hint)
    return read_error(shown(str(path)), error, "look at the disk that holds it")


class _Hashed:
    """A file that yields exactly as many bytes as it had when it was opened, and hashes them."""

    def __init__(self, path: Path, source: BinaryIO, size: int) -> None:
        self._path = path
        self._source = source
        self._left = size
        self.digest = xxh128()
        self.short = False

    def read(self, size: int) -> bytes:
        wanted = min(size, self._left)
        try:
            data = self._source.read(wanted)
        except OSError as error:
            raise unreadable(self._path, error) from error
        if len(data) < wanted:
            self.short = True
            data += b"\0" * (wanted - len(data))
        self._left -= wanted
        self.digest.update(data)
        return data


class _Packed:
    """Packs what is written into frames, and hashes them."""

    def __init__(self, stream: BinaryIO, codec: Codec, level: int | None, progress: Callable[[int], None]) -> None:
        self._stream = stream
        self._frame_format = frame_format(codec, level)
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
        size = self._frame_format.size
        while len(self._waiting) >= size:
            self._pack(bytes(self._waiting[:size]))
            del self._waiting[:size]
        return len(data)

    def close(self) -> None:
        if self._waiting:
            self._pack(bytes(self._waiting))
            self._waiting.clear()

    def _pack(self, data: bytes) -> None:
        frame = self._frame_format.pack(data)
        try:
            self._stream.write(frame)
        except OSError as error:
            raise write_error(error) from error
        self.digest.update(frame)
        self.bytes += len(frame)
        self.raw_bytes += len(data)
        self._progress(len(data))
