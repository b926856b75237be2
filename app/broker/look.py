"""Whether the broker would take and keep messages, and if not, why: asked in a few seconds, whatever stands there.

A conversation of four commands tells more than a client library: that turns a server's words into the names of classes,
and tries again for longer than a person waits.
"""

from __future__ import annotations

import re
import secrets
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from urllib.parse import unquote

from app.broker.place import REDIS, Place
from app.broker.wire import Strange, Wire, speaks_plainly, speaks_tls
from app.broker.words import Refusal, refusal_of_error, refusal_of_reply
from app.domain.checks import Finding

SECONDS = 2.5
_GRACE = 0.8  # to find out what is spoken there instead
_HIDDEN = "***"


@dataclass(slots=True)
class _Asked:
    """What is known so far; the thread that asks may never come back."""

    doing: str = "it was called"
    refusal: Refusal | None = None
    done: bool = False


def look(check: str, setting: str, url: str, loss: str) -> Callable[[], Finding]:
    """Begin to ask; what is returned waits for the answer, but never long.

    Args:
        check: name of the finding.
        setting: name of the setting that holds the URL.
        url: of a broker or a result backend; alternatives are parted by semicolons, as Celery takes them.
        loss: what does not work without it.
    """
    asked = [(each, _Asked()) for each in url.split(";") if each.strip()]
    end = time.monotonic() + SECONDS
    threads = [threading.Thread(target=_ask, args=(*each, end), name=check, daemon=True) for each in asked]
    for thread in threads:
        thread.start()

    def found() -> Finding:
        for thread in threads:
            thread.join(max(0.0, end + _GRACE - time.monotonic()))
        return _finding(check, setting, loss, [each for _, each in asked])

    return found


def _finding(check: str, setting: str, loss: str, asked: list[_Asked]) -> Finding:
    if any(each.done and each.refusal is None for each in asked):
        return Finding.ok(check, "answers, and takes messages")
    first = asked[0]
    why, hint = first.refusal or refusal_of_error(TimeoutError(), None, first.doing)
    said = f"{why}; {loss}; what to do: {hint}"
    return Finding.warning(check, said.replace("{setting}", setting))


def _ask(url: str, asked: _Asked, end: float) -> None:
    """Ask one place. Whatever happens becomes a refusal: each transport has errors of its own."""
    place = None
    try:
        if url.partition("://")[0] in REDIS:
            place = Place.of(url)
            asked.refusal = _converse(place, asked, end)
        else:
            _connect(url, end)
    except Exception as error:  # noqa: BLE001 -- see above
        refusal = refusal_of_error(error, place, asked.doing)
        asked.refusal = Refusal(_without_password(refusal.why, url), refusal.hint)
    asked.done = True


def _without_password(text: str, url: str) -> str:
    """A library's words may quote the URL that it was given, or a part of it."""
    password = re.match(r"\w[\w+.-]*://[^/:@]*:(.*)@", url)
    if password is None or not password[1]:
        return text
    for secret in (password[1], unquote(password[1])):
        text = text.replace(secret, _HIDDEN)
    return text


def _connect(url: str, end: float) -> None:
    """Connect by Celery's own library, to what is no Redis."""
    from kombu import Connection  # noqa: PLC0415 -- a fifth of a second that only this check is worth

    with Connection(url, connect_timeout=max(0.1, end - time.monotonic())) as connection:
        connection.connect()


def _converse(place: Place, asked: _Asked, end: float) -> Refusal | None:
    def tell(doing: str) -> None:
        asked.doing = doing

    with Wire(place, end, tell) as wire:
        try:
            wire.open(tls=place.tls)
            for words in _commands(place):
                if refusal := refusal_of_reply(wire.say(*words), place):
                    return refusal
        except ssl.SSLCertVerificationError:
            raise
        except (ssl.SSLError, Strange, TimeoutError, ConnectionResetError):
            if other := _other_dialect(place):
                return other
            raise
    return None


def _commands(place: Place) -> Iterator[tuple[str, ...]]:
    """Log in, choose the database, and try a write that writes nothing: to a list that is not there."""
    if place.password:
        yield ("AUTH", *filter(None, [place.user]), place.password)
    yield ("PING",)
    yield "SELECT", place.database
    yield "LPUSHX", f"backup-check-{secrets.token_hex(6)}", "is this kept?"


def _other_dialect(place: Place) -> Refusal | None:
    if place.tls and speaks_plainly(place):
        return Refusal(f"{place.name} speaks no TLS, which {{setting}} asks for", "write redis:// in {setting}")
    if not place.tls and speaks_tls(place):
        hint = "write rediss:// in {setting}, and ?ssl_cert_reqs=required at its end"
        return Refusal(f"{place.name} speaks TLS, which {{setting}} does not ask for", hint)
    return None
