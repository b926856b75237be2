"""A few words with a Redis, each within what is left of a deadline."""

from __future__ import annotations

import math
import socket
import ssl
import time
from collections.abc import Callable
from typing import Self

from app.broker.place import Place

_HANDSHAKE = 1.2  # a Redis without TLS may take its first words for the beginning of a line, and wait for the rest
_MOMENT = 0.7  # to find out what is spoken there instead
_LONGEST = 1000
_STARTS = (b"+", b"-", b":", b"$", b"*", b"_", b"%")  # of a reply


class Strange(Exception):  # noqa: N818 -- it is no fault of this program's
    """What answered is no Redis; holds its first words, which may be none."""

    def __init__(self, said: bytes = b"") -> None:
        super().__init__(said)
        self.said = said


class Wire:
    """A connection, closed at the end of its block.

    Args:
        place: where to.
        end: the deadline, by the monotonic clock.
        tell: is told what is being done, for whoever may have to give up waiting.
    """

    def __init__(self, place: Place, end: float, tell: Callable[[str], None] = lambda _: None) -> None:
        self._place = place
        self._end = end
        self._tell = tell
        self._socket: socket.socket | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._socket is not None:
            self._socket.close()

    def open(self, *, tls: bool, context: ssl.SSLContext | None = None) -> None:
        """Connect.

        Raises:
            OSError: that failed, in whatever way.
        """
        place = self._place
        self._socket = self._to_path(place.path) if place.path else self._to_host()
        if tls:
            self._tell(f"{place.name} was asked to speak TLS")
            self._wait(_HANDSHAKE)
            wanted = context or place.context()
            self._socket = wanted.wrap_socket(self._socket, server_hostname=None if place.path else place.host)

    def say(self, *words: str) -> str:
        """Give a command; returns the first line of the reply.

        Raises:
            OSError: there is none.
            Strange: it is none of a Redis.
        """
        self._tell(f"{self._place.name} was asked a question ({words[0]})")
        encoded = [word.encode() for word in words]
        parts = [b"*%d\r\n" % len(encoded), *(b"$%d\r\n%b\r\n" % (len(word), word) for word in encoded)]
        self._wait().sendall(b"".join(parts))
        said = b""
        while b"\n" not in said and len(said) < _LONGEST:
            more = self._wait().recv(_LONGEST)
            if not more:
                raise Strange(said)
            said += more
            if not said.startswith(_STARTS):
                raise Strange(said)
        return said.partition(b"\r\n")[0].decode(errors="replace")

    def _to_path(self, path: str) -> socket.socket:
        self._tell(f"{path} was called")
        made = socket.socket(socket.AF_UNIX)
        try:
            made.settimeout(self._left())
            made.connect(path)
        except BaseException:
            made.close()
            raise
        return made

    def _to_host(self) -> socket.socket:
        place = self._place
        self._tell(f"the address of {place.host} was asked for")
        found = socket.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM)
        self._tell(f"{place.name} was called")
        last: OSError | None = None
        addresses = [str(address[0]) for *_, address in found]
        for number, address in enumerate(addresses):
            try:
                return socket.create_connection((address, place.port), self._left() / (len(addresses) - number))
            except OSError as error:
                last = error
        raise last or OSError(f"{place.host} has no address")

    def _wait(self, most: float = math.inf) -> socket.socket:
        """The connection, which waits no longer than to the deadline."""
        assert self._socket is not None  # noqa: S101 -- `open` comes first
        self._socket.settimeout(min(most, self._left()))
        return self._socket

    def _left(self) -> float:
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left


def speaks_plainly(place: Place) -> bool:
    """Whether a Redis answers there without TLS."""
    with Wire(place, time.monotonic() + _MOMENT) as wire:
        try:
            wire.open(tls=False)
            wire.say("PING")
        except (OSError, Strange):
            return False
    return True


def speaks_tls(place: Place) -> bool:
    """Whether anything answers there with TLS."""
    unchecked = ssl.create_default_context()
    unchecked.check_hostname, unchecked.verify_mode = False, ssl.CERT_NONE
    with Wire(place, time.monotonic() + _MOMENT) as wire:
        try:
            wire.open(tls=True, context=unchecked)
        except ssl.SSLError as error:
            return "CERTIFICATE_REQUIRED" in str(error)
        except OSError:
            return False
    return True
