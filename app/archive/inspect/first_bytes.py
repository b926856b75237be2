"""Tells a plain dump from what is often taken for one, by the first bytes of the file: its name may say anything.

    read the first bytes
    gzip or zstd?  -> decode a little of it, and look at that
    known and not plain SQL -> an error with the command that makes a plain dump of it

Signatures: the file formats' own documents, as collected in the `file` program's magic(5).
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import zstandard

from app.archive.codecs import decode
from app.archive.index import TableName
from app.domain.backup import Codec
from app.errors import BackupReadError, RestoreValidationError

LOOK_BYTES = 256 << 10  # a block of zstd, which is decoded as a whole, has up to half of it
_CODECS = {b"\x1f\x8b": Codec.GZIP, b"\x28\xb5\x2f\xfd": Codec.ZSTD}
UNPACK = {Codec.GZIP: "gzip -dc", Codec.ZSTD: "zstd -dc"}
# What libzstd decodes unless it is told otherwise (ZSTD_WINDOWLOG_LIMIT_DEFAULT).
_LARGEST_WINDOW = 128 << 20
_TAR_MAGIC = (257, b"ustar")
_FIRST_LINES = 2  # somebody's comment before a dump may end as it likes
_BLANK = b"\0 \t\r\n"
_BOM = b"\xef\xbb\xbf"
_OUT = "dump.sql"


@dataclass(frozen=True, slots=True)
class _Format:
    """A format that is no plain SQL.

    Attributes:
        magic: the bytes that a file of it begins with.
        what: its name in a message.
        command: what makes plain SQL of it, reading `{file}`, or standard input if that is empty.
        seeks: the command cannot read standard input.
    """

    magic: bytes
    what: str
    command: str
    seeks: bool = False


_FORMATS = (
    _Format(b"PGDMP", "a dump in pg_dump's custom format", f"pg_restore --file={_OUT}{{file}}"),
    _Format(b"toc.dat\0", "a dump in pg_dump's tar format", f"pg_restore --file={_OUT}{{file}}"),
    _Format(b"PK\x03\x04", "a zip archive", f"unzip -p{{file}} > {_OUT}", seeks=True),
    _Format(b"\xfd7zXZ\0", "compressed with xz", f"xz -dc{{file}} > {_OUT}"),
    _Format(b"BZh", "compressed with bzip2", f"bzip2 -dc{{file}} > {_OUT}"),
    _Format(b"\x04\x22\x4d\x18", "compressed with lz4", f"lz4 -dc{{file}} > {_OUT}"),
    _Format(b"\x1f\x9d", "compressed with compress", f"gzip -dc{{file}} > {_OUT}"),
    _Format(b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", f"7z x -so{{file}} > {_OUT}", seeks=True),
    _Format(b"age-encryption.org/", "encrypted with age", f"age -d -i IDENTITY{{file}} > {_OUT}"),
    _Format(b"-----BEGIN AGE ENCRYPTED", "encrypted with age", f"age -d -i IDENTITY{{file}} > {_OUT}"),
    _Format(b"-----BEGIN PGP MESSAGE", "encrypted with GnuPG", f"gpg -d{{file}} > {_OUT}"),
    _Format(b"\xff\xfe", "UTF-16 text", f"iconv -f UTF-16 -t UTF-8{{file}} > {_OUT}"),
    _Format(b"\xfe\xff", "UTF-16 text", f"iconv -f UTF-16 -t UTF-8{{file}} > {_OUT}"),
    _Format(b"-\0-\0", "UTF-16 text", f"iconv -f UTF-16LE -t UTF-8{{file}} > {_OUT}"),
    _Format(b"\0-\0-", "UTF-16 text", f"iconv -f UTF-16BE -t UTF-8{{file}} > {_OUT}"),
)
# Between these lines stands one database since PostgreSQL 11.
_CUT = """sed -n '/^-- Database "NAME" dump$/,/^-- PostgreSQL database dump complete$/p'"""
# What no command makes a dump of one database of: what it is, and what to do instead.
_OTHERS = (
    (
        b"--\n-- PostgreSQL database cluster dump",
        "a dump of a whole server by pg_dumpall",
        "take the database NAME out of it: {read}" + _CUT + "{file} > dump.sql",
    ),
    (b"-- MySQL dump", "a dump of MySQL", "name a dump that pg_dump made"),
    (b"-- MariaDB dump", "a dump of MariaDB", "name a dump that pg_dump made"),
    (b"/*M!999999", "a dump of MariaDB", "name a dump that pg_dump made"),
    (b"SQLite format 3\0", "an SQLite database", "name a dump that pg_dump made"),
    (b"<!DOCTYPE", "a web page", "download the file itself: {read}head -c 300{file} shows what came instead"),
    (b"<html", "a web page", "download the file itself: {read}head -c 300{file} shows what came instead"),
    (b"<?xml", "an answer in XML", "download the file itself: {read}head -c 300{file} shows what came instead"),
)


def codec_of_dump(stream: BinaryIO, path: Path) -> Codec:
    """How a file of plain SQL is compressed.

    Args:
        stream: the file, at its start.
        path: its name, for messages.

    Raises:
        RestoreValidationError: it is something else; says what, and the command that makes a plain dump of it.
        BackupReadError: its compressed start cannot be decoded.
    """
    start = stream.read(LOOK_BYTES)
    file = shlex.quote(str(path))
    codec = next((codec for magic, codec in _CODECS.items() if start.startswith(magic)), Codec.NONE)
    if codec is Codec.NONE:
        _require_sql(start, path, f" {file}", "")
        return codec
    if codec is Codec.ZSTD:
        _require_window(start, path, file)
    text = _first_text(start, codec)
    if text is None:
        return codec
    unpack = f"{UNPACK[codec]} {file}"
    if any(text.startswith(magic) for magic in _CODECS):
        inner = path.with_suffix("") if path.suffix in {".gz", ".zst"} else Path(f"{path}.inner")
        raise _misfit(
            path, f"compressed twice: the {codec} file holds another", f"{unpack} > {shlex.quote(inner.name)}"
        )
    _require_sql(text, path, "", f"{unpack} | ")
    return codec


def _require_sql(start: bytes, path: Path, file: str, before: str) -> None:
    """Refuse what begins as plain SQL does not.

    Args:
        start: its first bytes, decoded.
        path: the file.
        file: the argument that names it in a command; empty if the command reads standard input.
        before: the command whose output is read there, and its pipe.
    """
    start = start.removeprefix(_BOM)  # psql skips it too
    if not start.strip(_BLANK):
        empty = "nothing but zero bytes, as a crash leaves a file" if start.strip() else "empty"
        inside = ", once it is decompressed" if before else ""
        raise RestoreValidationError(f"{path} is {empty}{inside}", "name another dump: residency-backup list")
    for form in _FORMATS:
        if start.startswith(form.magic):
            raise _misfit(path, form.what, _command(form, file, before))
    if start[_TAR_MAGIC[0] :].startswith(_TAR_MAGIC[1]):
        raise _misfit(path, "a tar archive", f"{before}tar -xf {file.strip() or '-'}")
    for magic, what, hint in _OTHERS:
        if start.startswith(magic):
            message = f"{path} is {what}, and no plain dump of one database"
            raise RestoreValidationError(message, hint.format(read=before, file=file))
    if all(line.endswith(b"\r") for line in start.split(b"\n", _FIRST_LINES)[:_FIRST_LINES]):
        raise _with_crlf(path, file, before)


def with_crlf(path: Path, codec: Codec) -> RestoreValidationError:
    """The error of a dump whose lines end with CR LF."""
    file = f" {shlex.quote(str(path))}"
    return _with_crlf(path, file, "") if codec is Codec.NONE else _with_crlf(path, "", f"{UNPACK[codec]}{file} | ")


def of_two_dumps(path: Path, codec: Codec, table: TableName) -> RestoreValidationError:
    """The error of a file that was appended to, as by `pg_dump … >> FILE`; `table` is in it twice."""
    file = shlex.quote(str(path))
    read, before = (file, "") if codec is Codec.NONE else ("-", f"{UNPACK[codec]} {file} | ")
    cut = f"{before}csplit -z -b %02d.sql {read} '/^-- PostgreSQL database dump$/-1' '{{*}}'"
    message = f"{path} holds more than one dump, one behind the other: table {table} is in it again"
    return RestoreValidationError(message, f"cut it apart, and restore the last part: {cut}")


def _with_crlf(path: Path, file: str, before: str) -> RestoreValidationError:
    what = "a dump whose lines end with CR LF, as Windows or a terminal leaves them"
    return _misfit(path, what, f"{before}sed 's/\\r$//'{file} > {_OUT}")


def _command(form: _Format, file: str, before: str) -> str:
    if before and form.seeks:
        return f"{before.removesuffix(' | ')} > unpacked; {form.command.format(file=' unpacked')}"
    return before + form.command.format(file=file)


def _require_window(start: bytes, path: Path, file: str) -> None:
    try:
        window = zstandard.get_frame_parameters(start).window_size
    except zstandard.ZstdError:
        return  # the decoder says what is wrong
    if window > _LARGEST_WINDOW:
        what = f"compressed with a window of {window >> 20} MB, more than zstd decodes by itself"
        raise _misfit(path, what, f"zstd --long=31 -dc {file} > {_OUT}")


def _first_text(start: bytes, codec: Codec) -> bytes | None:
    """The first decoded bytes of a file; None if more of it would have to be read."""
    text = b""
    try:
        for block in decode([start], codec):
            text += block.data
            if len(text) >= _TAR_MAGIC[0] + len(_TAR_MAGIC[1]):
                break
    except BackupReadError:  # it ends within a frame: so does what was read of it
        if len(start) < LOOK_BYTES and not text:
            raise
        return text or None
    return text


def _misfit(path: Path, what: str, command: str) -> RestoreValidationError:
    return RestoreValidationError(f"{path} is {what}, and no plain dump", f"make it one: {command}")
