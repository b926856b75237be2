"""The digests of an archive: of a piece's plain bytes, and of a table's rows.

The *row digest* is the number of rows, and the sum modulo 2^64 of XXH3-64 over each row's COPY text line. The sum does
not depend on the order of rows, so ranges, parallel loads and the order in which a server returns rows do not matter.
The digests of two parts add up to the digest of the whole.

A *piece* is a segment of a dump, or a file in the tar of a full backup. Its digest is the XXH3-128 of its plain bytes;
in manifests of format 1 it is their SHA-256.

Source: XXH3, https://github.com/Cyan4973/xxHash.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import xxhash

_MODULUS = 1 << 64


class Hash(Protocol):
    """A digest that is being computed."""

    def update(self, data: bytes, /) -> None:
        """Take more data."""

    def hexdigest(self) -> str:
        """The digest."""


class Piece(Protocol):
    """What a manifest lists with the digest of its plain bytes: one of the two, the other is None."""

    @property
    def xxh128(self) -> str | None:
        """XXH3-128, as 32 hexadecimal digits."""

    @property
    def sha256(self) -> str | None:
        """SHA-256, as 64 hexadecimal digits: in manifests of format 1."""


@dataclass(frozen=True, slots=True)
class Stored:
    """The bytes that were written to a file, to be compared with what the disk gives back."""

    bytes: int
    xxh128: str


PieceHash = Callable[[], Hash]
xxh128: PieceHash = xxhash.xxh3_128


def hash_of(piece: Piece) -> Hash:
    """A new hash of the kind that the piece is listed with."""
    return hashlib.sha256() if piece.xxh128 is None else xxh128()


def is_proven(piece: Piece, computed: Hash) -> bool:
    """Whether the hash, which `hash_of` made for the piece, is the listed one."""
    return computed.hexdigest() == (piece.sha256 if piece.xxh128 is None else piece.xxh128)


class RowDigest:
    """Counts and digests COPY text lines, given in blocks that may end anywhere in a line."""

    def __init__(self) -> None:
        self.rows = 0
        self._sum = 0
        self._tail = b""
        self._long: xxhash.xxh3_64 | None = None

    def feed(self, block: bytes) -> None:
        """Take the next block."""
        if self._long is not None or b"\n" not in block:
            block = self._feed_long_line(block)
        lines = block.split(b"\n")
        lines[0] = self._tail + lines[0]
        self._tail = lines.pop()
        self.rows += len(lines)
        self._sum = (self._sum + sum(map(xxhash.xxh3_64_intdigest, lines))) % _MODULUS

    def add(self, other: RowDigest) -> None:
        """Add the rows of another digest. Both must be at the end of a line."""
        self.rows += other.rows
        self._sum = (self._sum + other._sum) % _MODULUS

    def hexdigest(self) -> str:
        """The sum as 16 hexadecimal digits."""
        return f"{self._sum:016x}"

    def _feed_long_line(self, block: bytes) -> bytes:
        """Hash a line that is longer than a block, in bounded memory; return the bytes after it."""
        if self._long is None:
            self._long = xxhash.xxh3_64(self._tail)
            self._tail = b""
        line, newline, rest = block.partition(b"\n")
        self._long.update(line)
        if newline:
            self.rows += 1
            self._sum = (self._sum + self._long.intdigest()) % _MODULUS
            self._long = None
        return rest
