"""The tar of a full backup: what stock tar reads, what a flipped bit or a cut costs, and names of any bytes."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from app.archive.codecs import frame_format
from app.archive.tar.reader import TarIndex, index_tar, printable, require_equal
from app.archive.tar.writer import TarWriter
from app.domain.backup import Codec
from app.errors import BackupReadError, BackupValidationError
from tests.tiers import times

CODECS = pytest.mark.parametrize("codec", [Codec.GZIP, Codec.ZSTD])


def whole(folder: Path, codec: Codec) -> tuple[bytes, TarIndex]:
    """A tar of everything below a folder."""
    out = io.BytesIO()
    with TarWriter(out, codec, None, lambda _: None) as writer:
        for path in sorted(folder.rglob("*")):
            name = f"paths/{path.relative_to(folder)}"
            if path.is_symlink():
                writer.add_link(name, str(path.readlink()), path.lstat())
            elif path.is_dir():
                writer.add_folder(name, path.stat())
            else:
                writer.add_file(name, path)
        index = writer.finish()
    return out.getvalue(), index


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    top = tmp_path / "top"
    (top / "empty").mkdir(parents=True)
    (top / "deep" / ("n" * 200)).mkdir(parents=True)
    (top / "deep" / ("n" * 200) / "x").write_bytes(os.urandom(3 << 20))
    (top / "none").touch()
    (top / "größer \n name").write_text("odd")
    Path(os.fsdecode(os.fsencode(top) + b"/\xff\xfe")).write_text("not UTF-8")
    (top / "link").symlink_to("none")
    return top


@CODECS
def test_stock_tar_unpacks_what_was_packed(folder: Path, tmp_path: Path, codec: Codec) -> None:
    data, index = whole(folder, codec)
    (tmp_path / "x.tar").write_bytes(data)
    out = tmp_path / "out"
    out.mkdir()
    option = "--gzip" if codec is Codec.GZIP else "--zstd"
    subprocess.run(["tar", option, "-xf", tmp_path / "x.tar", "-C", out], check=True, capture_output=True)
    subprocess.run(["diff", "-r", folder, out / "paths"], check=True, capture_output=True)
    assert (out / "paths/link").readlink() == Path("none")
    assert index.bytes == len(data)
    assert len(index.members) == 4


@CODECS
def test_read_back_it_has_the_same_index(folder: Path, codec: Codec) -> None:
    data, index = whole(folder, codec)
    found = index_tar(io.BytesIO(data), codec)
    assert found == index
    require_equal(found, index)


@CODECS
def test_a_flipped_bit_anywhere_is_found(folder: Path, codec: Codec) -> None:
    data, index = whole(folder, codec)
    for at in range(0, len(data), len(data) // times(13, 40)):
        broken = bytearray(data)
        broken[at] ^= 1
        with pytest.raises((BackupReadError, BackupValidationError)):
            require_equal(index_tar(io.BytesIO(broken), codec), index)


@CODECS
def test_a_cut_anywhere_is_found_without_a_manifest(folder: Path, codec: Codec) -> None:
    data, _ = whole(folder, codec)
    for at in range(0, len(data), len(data) // times(13, 40)):
        with pytest.raises(BackupReadError):
            index_tar(io.BytesIO(data[:at]), codec)


def test_a_cut_between_two_members_at_the_end_of_a_frame_is_found() -> None:
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as tar:
        info = tarfile.TarInfo("settings.env")
        info.size = 512
        tar.addfile(info, io.BytesIO(b"x" * 512))
    cut = frame_format(Codec.GZIP).pack(plain.getvalue()[:1024])
    with pytest.raises(BackupReadError, match="cut off"):
        index_tar(io.BytesIO(cut), Codec.GZIP)


def test_the_first_file_that_differs_is_named(folder: Path) -> None:
    _, index = whole(folder, Codec.GZIP)
    (folder / "none").write_text("some")
    data, _ = whole(folder, Codec.GZIP)
    with pytest.raises(BackupValidationError, match="paths/none"):
        require_equal(index_tar(io.BytesIO(data), Codec.GZIP), index)
    (folder / "none").unlink()
    data, _ = whole(folder, Codec.GZIP)
    with pytest.raises(BackupValidationError, match="paths/none: is missing"):
        require_equal(index_tar(io.BytesIO(data), Codec.GZIP), index)


def test_a_file_that_shrinks_while_it_is_read_is_filled_up_and_told(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"x" * (3 << 20))
    out = io.BytesIO()
    shrunk = []

    def shrink(_: int) -> None:
        if not shrunk:
            shrunk.append(os.truncate(path, 1 << 20))

    with TarWriter(out, Codec.GZIP, None, shrink) as writer:
        assert writer.add_file("paths/log", path) is True
        index = writer.finish()
    assert index_tar(io.BytesIO(out.getvalue()), Codec.GZIP) == index
    assert index.members[0].bytes == 3 << 20


@pytest.mark.parametrize("how", ["longer", "rewritten"])
def test_a_file_that_is_written_to_while_it_is_read_is_told(tmp_path: Path, how: str) -> None:
    path = tmp_path / "busy"
    path.write_bytes(os.urandom(8 << 20))
    written: list[int] = []

    def write(_: int) -> None:
        if not written:
            with path.open("ab" if how == "longer" else "r+b") as file:
                written.append(file.write(b"x"))

    with TarWriter(io.BytesIO(), Codec.GZIP, None, write) as writer:
        assert writer.add_file("paths/busy", path)
        writer.finish()
    assert written


@pytest.mark.parametrize("what", ["pipe", "link", "folder"])
def test_what_is_no_file_any_more_has_gone(tmp_path: Path, what: str) -> None:
    path = tmp_path / "x"
    if what == "pipe":
        os.mkfifo(path)
    elif what == "link":
        path.symlink_to("y")
    else:
        path.mkdir()
    with TarWriter(io.BytesIO(), Codec.GZIP, None, lambda _: None) as writer, pytest.raises(OSError):
        writer.add_file("paths/x", path)


def test_zeros_of_a_file_are_no_end() -> None:
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as tar:
        info = tarfile.TarInfo("settings.env")
        info.size = 1024
        tar.addfile(info, io.BytesIO(bytes(1024)))
    cut = plain.getvalue()[: 512 + 1024]
    with pytest.raises(BackupReadError, match="end mark"):
        index_tar(io.BytesIO(frame_format(Codec.GZIP).pack(cut)), Codec.GZIP)


def test_a_header_of_megabytes_is_refused_before_it_is_read() -> None:
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as tar:
        info = tarfile.TarInfo("settings.env")
        info.pax_headers = {"comment": "x" * (8 << 20)}
        tar.addfile(info)
    with pytest.raises(BackupReadError, match="header of 8"):
        index_tar(io.BytesIO(frame_format(Codec.GZIP).pack(plain.getvalue())), Codec.GZIP)


@pytest.mark.parametrize("damage", ["bit", "zeros"])
def test_a_header_that_is_none_in_the_middle_is_no_end(damage: str) -> None:
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as tar:
        for number in range(3):
            info = tarfile.TarInfo(f"paths/{number}")
            info.size = 512
            tar.addfile(info, io.BytesIO(bytes([number + 1]) * 512))
    data = bytearray(plain.getvalue())
    data[1024:1536] = bytes(512) if damage == "zeros" else bytes([data[1024] ^ 1]) + data[1025:1536]
    with pytest.raises(BackupReadError):
        index_tar(io.BytesIO(frame_format(Codec.GZIP).pack(bytes(data))), Codec.GZIP)


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
def test_headers_on_headers_are_refused(kind: bytes) -> None:
    info = tarfile.TarInfo("x")
    info.type, info.size = kind, 11
    header = info.tobuf() + b"11 path=ab\n".ljust(512, b"\0")
    with pytest.raises(BackupReadError):
        index_tar(io.BytesIO(frame_format(Codec.GZIP).pack(header * 2000 + bytes(1024))), Codec.GZIP)


def test_what_is_not_finished_writes_no_end(tmp_path: Path) -> None:
    out = io.BytesIO()
    with TarWriter(out, Codec.GZIP, None, lambda _: None) as writer, pytest.raises(FileNotFoundError):
        writer.add_file("paths/x", tmp_path / "x")
    assert out.getvalue() == b""


def test_no_two_names_read_alike() -> None:
    names = [os.fsdecode(each) for each in (b"b\xff", b"b\\xff", b"b\\\\xff", b"plain")]
    assert len({printable(each) for each in names}) == len(names)
    assert printable("plain") == "plain"
