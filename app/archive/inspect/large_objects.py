"""The large objects of a dump or a database: for each, the SHA-256 of its content, and its owner.

A database may have millions, so a few bytes are kept for each, not an object of Python's.
"""

from __future__ import annotations

import hashlib
import re
from array import array
from binascii import unhexlify
from collections.abc import Iterator

from app.archive.large_objects import owned, written
from app.archive.pg_dump import IDENTIFIER, LO_OPEN, LO_WRITE, plainly_quoted

_OWNER = re.compile(rb"ALTER LARGE OBJECT (\d+) OWNER TO (" + IDENTIFIER + rb");")
_LO_CLOSE = re.compile(rb"SELECT (?:pg_catalog\.)?lo_close\(")
_DIGEST_BYTES = 32


class LargeObjects:
    """Takes statements about large objects in a dump's order, or contents as they are read from a database."""

    def __init__(self) -> None:
        self._oids = array("Q")
        self._digests = bytearray()
        self._content = hashlib.sha256()
        self._is_open = False
        self._owned = array("Q")
        self._owners = array("L")  # numbers of roles
        self._roles: dict[bytes, int] = {}

    def add(self, oid: int, digest: bytes) -> None:
        """Add an object, by the SHA-256 of its content."""
        self._end()
        self._oids.append(oid)
        self._digests += digest

    def take_run(self, run: bytes) -> None:
        """Take a run of statements; see `app.archive.large_objects`."""
        for oid, digits in written(run):
            self.add(int(oid), hashlib.sha256(_bytes(digits)).digest())
        for oid, role in owned(run):
            self._own(int(oid), role)

    def take(self, statement: bytes) -> bool:
        """Take one statement; return False, unless it says something of the content or owner of a large object."""
        if write := LO_WRITE.match(statement):
            self._content.update(_bytes(write[1]))
        elif opened := LO_OPEN.match(statement):
            self._end()
            self._oids.append(int(opened[1]))
            self._content, self._is_open = hashlib.sha256(), True
        elif owner := _OWNER.match(statement):
            self._own(int(owner[1]), owner[2])
        else:
            return _LO_CLOSE.match(statement) is not None
        return True

    def digests(self) -> Iterator[tuple[int, bytes]]:
        """The oid of each object, and the SHA-256 of its content."""
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


def _bytes(digits: bytes) -> bytes:
    """The bytes that hexadecimal digits stand for. No server takes an odd number of digits."""
    return unhexlify(digits) if len(digits) % 2 == 0 else digits
