"""The large objects of a dump or a database: for each, a digest of its content, and its owner.

A database may have millions, so a few bytes are kept for each, not an object of Python's. The digest is XXH3-128 of the
content in hexadecimal digits, as a dump has it.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterator

import xxhash

from app.archive.large_objects import owned, written
from app.archive.pg_dump import IDENTIFIER, LO_OPEN, LO_WRITE, plainly_quoted

_OWNER = re.compile(rb"ALTER LARGE OBJECT (\d+) OWNER TO (" + IDENTIFIER + rb");")
_LO_CLOSE = re.compile(rb"SELECT (?:pg_catalog\.)?lo_close\(")
_END_OF_WRITE = b"');"
_DIGEST_BYTES = 16


class LargeObjects:
    """Takes statements about large objects in a dump's order, or contents as they are read from a database."""

    def __init__(self) -> None:
        self._oids = array("Q")
        self._digests = bytearray()
        self._content = xxhash.xxh3_128()
        self._is_open = False
        self._owned = array("Q")
        self._owners = array("L")  # numbers of roles
        self._roles: dict[bytes, int] = {}

    def add(self, oid: int, digits: bytes) -> None:
        """Add an object, by its whole content in hexadecimal digits."""
        self._end()
        self._oids.append(oid)
        self._digests += xxhash.xxh3_128_digest(digits)

    def begin(self, oid: int) -> None:
        """Begin an object whose content follows in parts."""
        self._end()
        self._oids.append(oid)
        self._content, self._is_open = xxhash.xxh3_128(), True

    def write(self, digits: bytes | memoryview) -> None:
        """Add a part of the content, in hexadecimal digits, of the object that was begun."""
        self._content.update(digits)

    def take_run(self, run: bytes) -> None:
        """Take a run of statements; see `app.archive.large_objects`."""
        for oid, digits in written(run):
            self.add(int(oid), digits)
        for oid, role in owned(run):
            self._own(int(oid), role)

    def take(self, statement: bytes) -> bool:
        """Take one statement; return False, unless it says something of the content or owner of a large object."""
        if write := LO_WRITE.match(statement):
            # Whatever else may stand there has another digest than a content, and no server takes it.
            end = len(statement) - len(_END_OF_WRITE) * statement.endswith(_END_OF_WRITE)
            self.write(memoryview(statement)[write.end() : end])
        elif opened := LO_OPEN.match(statement):
            self.begin(int(opened[1]))
        elif owner := _OWNER.match(statement):
            self._own(int(owner[1]), owner[2])
        else:
            return _LO_CLOSE.match(statement) is not None
        return True

    def digests(self) -> Iterator[tuple[int, bytes]]:
        """The oid of each object, and the digest of its content."""
        self._end()
        for number, oid in enumerate(self._oids):
            yield oid, bytes(self._digests[number * _DIGEST_BYTES : (number + 1) * _DIGEST_BYTES])

    def owners(self) -> Iterator[tuple[int, bytes]]:
        """The oid of each object whose owner is known, and that owner as SQL spells it."""
        roles = list(self._roles)
        for oid, role in zip(self._owned, self._owners, strict=True):
            yield oid, roles[role]

    def differences(self, found: LargeObjects) -> tuple[list[str], int]:
        """How the contents of other objects differ from these.

        Returns:
            A sentence for each object of these that is missing or differs; the number of objects more than these.
        """
        self._end()
        found._end()
        if (self._oids, self._digests) == (found._oids, found._digests):
            return [], 0
        unmatched, sentences = dict(found.digests()), []
        for oid, digest in dict(self.digests()).items():
            other = unmatched.pop(oid, None)
            if other != digest:
                sentences.append(f"large object {oid} {'is missing' if other is None else 'differs'}")
        return sentences, len(unmatched)

    def differing_owners(self, found: LargeObjects) -> int:
        """Number of objects on both sides whose owners differ."""
        same = self._owned == found._owned and self._owners == found._owners
        if same and list(self._roles) == list(found._roles):
            return 0
        others = dict(found.owners())
        spelled = {role: plainly_quoted(role) for role in (*self._roles, *found._roles)}
        return sum(spelled[role] != spelled[others.get(oid, role)] for oid, role in dict(self.owners()).items())

    def _own(self, oid: int, role: bytes) -> None:
        self._owned.append(oid)
        self._owners.append(self._roles.setdefault(role, len(self._roles)))

    def _end(self) -> None:
        """End the object that is being written."""
        if self._is_open:
            self._digests += self._content.digest()
            self._is_open = False
