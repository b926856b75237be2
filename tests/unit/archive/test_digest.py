"""The row digest equals its definition, however the rows are cut and ordered."""

from __future__ import annotations

import random
import tracemalloc

import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from app.archive.digest import RowDigest

LINES = st.lists(st.binary(max_size=12).map(lambda line: line.replace(b"\n", b"")), max_size=12)


def by_definition(lines: list[bytes]) -> tuple[int, str]:
    total = sum(xxhash.xxh3_64_intdigest(line) for line in lines) % (1 << 64)
    return len(lines), f"{total:016x}"


def of_blocks(blocks: list[bytes]) -> tuple[int, str]:
    digest = RowDigest()
    for block in blocks:
        digest.feed(block)
    return digest.rows, digest.hexdigest()


def cut(text: bytes, places: list[int]) -> list[bytes]:
    ends = sorted(place % (len(text) + 1) for place in places)
    return [text[start:end] for start, end in zip([0, *ends], [*ends, len(text)], strict=True)]


@given(LINES, st.lists(st.integers(0, 200), max_size=30))
def test_a_row_digest_equals_its_definition_for_any_cutting(lines: list[bytes], places: list[int]) -> None:
    text = b"".join(line + b"\n" for line in lines)
    assert of_blocks(cut(text, places)) == by_definition(lines)


@pytest.mark.parametrize("size", range(1, 20))
def test_a_row_digest_equals_its_definition_for_any_block_size(size: int) -> None:
    lines = [b"", b"a\tb", b"", b"", b"a line that is longer than some of the blocks", b"\\N", b"\r"]
    text = b"".join(line + b"\n" for line in lines)
    assert of_blocks([text[at : at + size] for at in range(0, len(text), size)]) == by_definition(lines)


def test_a_row_digest_does_not_depend_on_the_order_of_rows() -> None:
    lines = [f"{number}\trow {number % 7}".encode() for number in range(1000)]
    shuffled = random.Random(1).sample(lines, len(lines))
    assert of_blocks([b"\n".join(lines) + b"\n"]) == of_blocks([b"\n".join(shuffled) + b"\n"])


def test_digests_of_two_parts_add_up() -> None:
    one, two = [b"a", b"b"], [b"c"]
    rows, digest = by_definition(one + two)
    sums = int(by_definition(one)[1], 16) + int(by_definition(two)[1], 16)
    assert (rows, digest) == (3, f"{sums % (1 << 64):016x}")


@pytest.mark.parametrize("other", [[b"a"], [b"a", b"b", b"b"], [b"a", b"c"], [b"a\tb"], [b"ab", b""], []])
def test_other_rows_give_another_digest(other: list[bytes]) -> None:
    assert by_definition(other) != by_definition([b"a", b"b"])
    assert of_blocks([b"".join(line + b"\n" for line in other)]) == by_definition(other)


def test_no_rows_have_a_digest_too() -> None:
    assert of_blocks([]) == (0, "0" * 16)
    assert of_blocks([b""]) == (0, "0" * 16)


def test_a_line_of_any_length_takes_no_memory() -> None:
    block = b"x" * 65536
    digest = RowDigest()
    tracemalloc.start()
    try:
        for _ in range(400):
            digest.feed(block)
        digest.feed(b"\n")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1 << 20
    assert (digest.rows, digest.hexdigest()) == by_definition([block * 400])
