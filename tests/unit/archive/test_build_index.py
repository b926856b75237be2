"""A file without an index gets one: ours the one that was written, a stranger's as much as it proves."""

from __future__ import annotations

import gzip
import io

import pytest
import zstandard

from app.archive.reader import build_index
from app.archive.verify import verify
from app.domain.backup import Codec
from app.errors import BackupReadError
from tests.fix_small_dump import DUMP, PACKED, write


@pytest.mark.parametrize("codec", Codec)
def test_the_index_built_from_our_file_is_the_one_that_was_written(codec: Codec) -> None:
    data, index = write(codec)
    assert build_index(io.BytesIO(data), codec) == index


@pytest.mark.parametrize("codec", PACKED)
def test_a_foreign_file_of_one_frame_has_no_places_but_proves_itself(codec: Codec) -> None:
    whole = gzip.compress(DUMP) if codec is Codec.GZIP else zstandard.ZstdCompressor().compress(DUMP)
    built = build_index(io.BytesIO(whole), codec)
    ours = write(codec)[1]
    assert {(each.offset, each.bytes) for each in built.segments} == {(None, None)}
    assert [each.xxh128 for each in built.segments] == [each.xxh128 for each in ours.segments]
    assert built.tables == ours.tables
    assert (built.bytes, built.complete) == (len(whole), True)
    verify(io.BytesIO(whole), built, codec)


@pytest.mark.parametrize("codec", PACKED)
def test_a_file_whose_frames_end_elsewhere_has_places_only_where_they_agree(codec: Codec) -> None:
    index = write(Codec.NONE)[1]
    second = index.segments[1].offset
    assert second is not None
    pack = gzip.compress if codec is Codec.GZIP else zstandard.ZstdCompressor().compress
    first = pack(DUMP[:second])
    built = build_index(io.BytesIO(first + pack(DUMP[second:])), codec)
    assert (built.segments[0].offset, built.segments[0].bytes) == (0, len(first))
    assert {each.offset for each in built.segments[1:]} == {None}


@pytest.mark.parametrize("codec", Codec)
def test_a_cut_file_gets_no_index_or_one_that_is_not_complete(codec: Codec) -> None:
    data, _ = write(codec)
    marker = DUMP.index(b"dump complete") + len(b"dump complete")
    for end in range(len(data)):
        try:
            index = build_index(io.BytesIO(data[:end]), codec)
        except BackupReadError:
            continue
        assert not index.complete or index.raw_bytes >= marker
