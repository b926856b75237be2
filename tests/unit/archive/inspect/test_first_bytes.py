"""A file that is no plain dump is told apart by its first bytes, and the command in the hint makes one of it."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import re
import shutil
import subprocess
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from app.archive.index import TableName
from app.archive.inspect.first_bytes import LOOK_BYTES, codec_of_dump, of_two_dumps, with_crlf
from app.domain.backup import Codec
from app.errors import BackupReadError, RestoreValidationError

DUMP = b"--\n-- PostgreSQL database dump\n--\n\nSET lock_timeout = 0;\n-- " + b"\xc3\xa4" * 3000 + b"\n"
END = b"--\n-- PostgreSQL database dump complete\n--\n\n"
NOTHING = b"\x1f\x8b\x08\x08\x00\x00\x00\x00\x00\x03null\x00\x03\x00\x00\x00\x00\x00\x00\x00\x00\x00"


def zipped(data: bytes) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("plain.sql", data)
    return made.getvalue()


def in_tar(data: bytes) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        entry = tarfile.TarInfo("dump.sql")
        entry.size = len(data)
        archive.addfile(entry, io.BytesIO(data))
    return made.getvalue()


def with_long_window(data: bytes) -> bytes:
    parameters = zstandard.ZstdCompressionParameters.from_level(1, window_log=30, write_content_size=0)
    streamed = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    return streamed.compress(data) + streamed.flush()


MISFITS: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "zip": (zipped, "a zip archive"),
    "xz": (lzma.compress, "compressed with xz"),
    "bzip2": (bz2.compress, "compressed with bzip2"),
    "tar": (in_tar, "a tar archive"),
    "tar.gz": (lambda data: gzip.compress(in_tar(data)), "a tar archive"),
    "zip in gzip": (lambda data: gzip.compress(zipped(data)), "a zip archive"),
    "xz in zstd": (lambda data: zstandard.compress(lzma.compress(data)), "compressed with xz"),
    "gzip in gzip": (lambda data: gzip.compress(gzip.compress(data)), "compressed twice"),
    "zstd in gzip": (lambda data: gzip.compress(zstandard.compress(data)), "compressed twice"),
    "long window": (with_long_window, "a window of 1024 MB"),
    "UTF-16LE with BOM": (lambda data: b"\xff\xfe" + data.decode().encode("utf-16-le"), "UTF-16 text"),
    "UTF-16BE": (lambda data: data.decode().encode("utf-16-be"), "UTF-16 text"),
    "UTF-16LE": (lambda data: data.decode().encode("utf-16-le"), "UTF-16 text"),
    "CR LF": (lambda data: data.replace(b"\n", b"\r\n"), "lines end with CR LF"),
    "CR LF in gzip": (lambda data: gzip.compress(data.replace(b"\n", b"\r\n")), "lines end with CR LF"),
}


@pytest.mark.parametrize("kind", MISFITS)
def test_the_command_in_the_hint_makes_a_plain_dump(kind: str, tmp_path: Path) -> None:
    make, what = MISFITS[kind]
    file = tmp_path / "it's a dump.gz"
    file.write_bytes(make(DUMP))
    with file.open("rb") as stream, pytest.raises(RestoreValidationError, match=re.escape(what)) as refused:
        codec_of_dump(stream, file)
    command = refused.value.hint.removeprefix("make it one: ")
    programs = {word for word in ("unzip", "xz", "bzip2", "zstd", "iconv", "tar") if re.search(rf"\b{word} ", command)}
    if missing := [program for program in programs if shutil.which(program) is None]:
        pytest.skip(f"not on this machine: {missing}")
    subprocess.run(["bash", "-o", "pipefail", "-c", command], cwd=tmp_path, check=True)
    made = tmp_path / ("it's a dump" if "twice" in what else "dump.sql")
    with made.open("rb") as stream:
        codec = codec_of_dump(stream, made)
    plain = {Codec.NONE: bytes, Codec.GZIP: gzip.decompress, Codec.ZSTD: zstandard.decompress}[codec]
    assert plain(made.read_bytes()) == DUMP


@pytest.mark.parametrize(
    ("content", "codec"),
    [
        (DUMP, Codec.NONE),
        (gzip.compress(DUMP, mtime=0), Codec.GZIP),
        (zstandard.compress(DUMP), Codec.ZSTD),
        (b"\xef\xbb\xbf" + DUMP, Codec.NONE),
        (b"COPY t FROM stdin;\n1\r\n\\.\n", Codec.NONE),
        (b"-- from a colleague\r\n--\n-- PostgreSQL database dump\n", Codec.NONE),
        (b"\n\n-- by hand\nCREATE TABLE t ();\n", Codec.NONE),
    ],
)
def test_plain_sql_is_known_by_its_codec(content: bytes, codec: Codec) -> None:
    assert codec_of_dump(io.BytesIO(content), Path("dump.sql")) is codec


def test_a_first_frame_that_is_longer_than_what_is_looked_at_is_no_misfit() -> None:
    frame = zstandard.compress(b"-- " + os.urandom(LOOK_BYTES))[:LOOK_BYTES]
    assert codec_of_dump(io.BytesIO(frame), Path("dump.sql.gz")) is Codec.ZSTD


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (NOTHING, "is empty, once it is decompressed"),
        (b"\0" * 5000, "nothing but zero bytes"),
        (b"--\n-- PostgreSQL database cluster dump\n--\n", "a dump of a whole server by pg_dumpall"),
        (gzip.compress(b"-- MySQL dump 10.13  Distrib 8.0\n", mtime=0), "a dump of MySQL"),
        (b"<!DOCTYPE html>\n<html>", "a web page"),
        (b'<?xml version="1.0"?>\n<Error/>', "an answer in XML"),
        (b"\n \n", "is empty"),
        (b"PGDMP\x01\x0e", "custom format"),
    ],
)
def test_what_no_command_mends_is_named_too(content: bytes, said: str) -> None:
    with pytest.raises(RestoreValidationError, match=re.escape(said)) as refused:
        codec_of_dump(io.BytesIO(content), Path("a dump.sql"))
    assert refused.value.hint


def test_one_database_is_taken_out_of_a_dump_of_all(tmp_path: Path) -> None:
    parts = [b'-- Database "%s" dump\n--\n\n' % name + DUMP + b"-- %s\n" % name + END for name in (b"other", b"NAME")]
    file = tmp_path / "all.sql.gz"
    file.write_bytes(gzip.compress(b"--\n-- PostgreSQL database cluster dump\n--\n\n" + b"--\n".join(parts)))
    with file.open("rb") as stream, pytest.raises(RestoreValidationError) as refused:
        codec_of_dump(stream, file)
    command = refused.value.hint.partition(": ")[2]
    subprocess.run(["bash", "-c", command], cwd=tmp_path, check=True)
    taken = (tmp_path / "dump.sql").read_bytes()
    assert taken.startswith(b'-- Database "NAME" dump\n')
    assert b"other" not in taken
    assert taken.endswith(b"-- PostgreSQL database dump complete\n")


def test_the_commands_of_what_all_of_it_was_read_for_can_be_pasted(tmp_path: Path) -> None:
    file = tmp_path / "it's twice.sql.gz"
    file.write_bytes(gzip.compress(2 * (DUMP + END)))
    command = of_two_dumps(file, Codec.GZIP, TableName("public", "t")).hint.rpartition(": ")[2]
    subprocess.run(["bash", "-c", command], cwd=tmp_path, check=True, capture_output=True)
    assert [part.read_bytes() for part in sorted(tmp_path.glob("xx*"))] == [DUMP + END, DUMP + END]
    file.write_bytes(gzip.compress((DUMP + END).replace(b"\n", b"\r\n")))
    command = with_crlf(file, Codec.GZIP).hint.partition(": ")[2]
    subprocess.run(["bash", "-c", command], cwd=tmp_path, check=True)
    assert (tmp_path / "dump.sql").read_bytes() == DUMP + END


def test_a_compressed_file_that_ends_in_its_first_frame_cannot_be_read() -> None:
    with pytest.raises(BackupReadError):
        codec_of_dump(io.BytesIO(gzip.compress(DUMP)[:11]), Path("dump.sql.gz"))
