"""The plain SQL of what is restored: of a file as it stands, compressed, or in one of pg_dump's own formats."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from app.archive.inspect.first_bytes import codec_of_dump
from app.archive.inspect.packed import TOC, PackedDump, packed_file, packed_folder
from app.archive.open_file import OpenFile
from app.domain.backup import Codec
from app.errors import RestoreValidationError
from app.operations.given_file import is_packed_folder, open_plain, require_plain_files
from app.operations.service import Service, Tools


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainText:
    """Where the plain SQL is read from.

    Attributes:
        open: opens it at its start, any number of times.
        codec: how that is compressed.
        size: of what `open` gives, in bytes; None if it is not known.
        seekable: whether what is opened can seek.
    """

    open: Callable[[], BinaryIO]
    codec: Codec
    size: int | None
    seekable: bool = True

    @classmethod
    def of_file(cls, held: OpenFile, codec: Codec) -> PlainText:
        """A file of plain SQL, compressed or not."""
        return cls(open=held.open, codec=codec, size=held.size)


def plain_text_of(service: Service, path: Path) -> PlainText:
    """The plain SQL of what a path leads to: a file, or a folder in pg_dump's directory format.

    Raises:
        RestoreValidationError: it is something else, or nothing here makes plain SQL of it; says what helps.
        BackupError: it cannot be read.
    """
    if is_packed_folder(path):
        with open_plain(path / TOC) as toc:
            packed = packed_folder(path, toc)
        if packed is None:
            message = f"{path} is a folder, and its {TOC} is not the table of contents of a dump"
            raise RestoreValidationError(message, f"name a file in it: ls {shlex.quote(str(path))}")
        require_plain_files(path)
        return _unpacked(service.tools, packed)
    with open_plain(path) as stream:
        held = OpenFile(stream)
    if packed := packed_file(held, path):
        return _unpacked(service.tools, packed)
    with held.open() as start:
        return PlainText.of_file(held, codec_of_dump(start, path))


def _unpacked(tools: Tools, packed: PackedDump) -> PlainText:
    return PlainText(open=tools.unpacker.opener(packed), codec=Codec.NONE, size=None, seekable=False)
