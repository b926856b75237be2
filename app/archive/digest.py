"""The row digest: the number of rows, and the sum modulo 2^64 of XXH3-64 over each row's COPY text line.

The sum does not depend on the order of rows, so ranges, parallel loads and the order in which a server returns rows do
not matter. The digests of two parts add up to the digest of the whole.

Source: XXH3, https://github.com/Cyan4973/xxHash.
"""

from __future__ import annotations

import xxhash

_MODULUS = 1 << 64


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
