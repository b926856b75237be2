"""What a broker's words, and the errors on the way to it, mean to whoever runs it."""

from __future__ import annotations

import errno
import re
import socket
import ssl
from typing import NamedTuple

from app.broker.place import Place
from app.broker.wire import Strange

_SHOWN = 60


class Refusal(NamedTuple):
    """Why messages are not taken, and what to do; ``{setting}`` stands for the setting with the URL."""

    why: str
    hint: str


# By the beginning of the reply; the first that fits counts. ``{at}`` is host and port.
_WORDS: tuple[tuple[str, str, str], ...] = (
    (
        r"-NOAUTH|-ERR operation not permitted",
        "{at} wants a password, and {setting} has none",
        "write it into {setting}: redis://:PASSWORD@{at}/0",
    ),
    (
        r"-WRONGPASS|-ERR invalid (?:username-)?password",
        "{at} refuses the password (or the user) of {setting}",
        "compare it with requirepass, or ACL LIST, of the broker; what is special in it is %-encoded in a URL",
    ),
    (
        r"-ERR (?:AUTH|Client sent AUTH).*(?:without any password|no password is set)",
        "{at} has no password, and {setting} gives one",
        "is that the right broker? then take the password out of {setting}",
    ),
    (
        r"-OOM",
        "{at} takes no messages: its memory is full (maxmemory, with maxmemory-policy noeviction)",
        "redis-cli {to} INFO memory; give it more (CONFIG SET maxmemory …), or find out what fills it",
    ),
    (
        r"-READONLY",
        "{at} takes no messages: it is a read-only replica",
        "name the primary in {setting}: redis-cli {to} INFO replication",
    ),
    (
        r"-MISCONF",
        "{at} takes no messages: it cannot save them on its disk",
        "make room on the broker's disk, and look into its log: redis-cli {to} INFO persistence",
    ),
    (r"-NOREPLICAS", "{at} takes no messages: it has too few replicas", "redis-cli {to} INFO replication"),
    (r"-LOADING|-BUSY|-TRYAGAIN", "{at} is not ready: {said}", "wait, and look again: residency-backup check"),
    (
        r"-NOPERM",
        "the user of {setting} may not do what is needed at {at}: {said}",
        "give it the right: redis-cli {to} ACL SETUSER NAME ~* &* +@all",
    ),
    (
        r"-ERR (?:DB index|invalid DB index)|-ERR SELECT",
        "{at} has no database {database}, which {setting} names",
        "name another at the end of {setting}: 0 is always there",
    ),
    (r"-ERR max number of clients", "{at} has no connection left", "redis-cli {to} CLIENT LIST; raise maxclients"),
    (
        r"-DENIED",
        "{at} is in protected mode and talks to its own machine only",
        "give it a password (requirepass), and {setting} the same",
    ),
    (
        r"-MOVED|-ASK|-CLUSTERDOWN|-CROSSSLOT",
        "{at} is a node of a cluster, which Celery cannot use",
        "name a Redis of its own in {setting}",
    ),
    (
        r"-MASTERDOWN",
        "{at} takes no messages: it is a replica that lost its primary",
        "redis-cli {to} INFO replication",
    ),
)


def refusal_of_reply(said: str, place: Place) -> Refusal | None:
    """What a reply means; None where it is none of an error."""
    if not said.startswith("-"):
        return None
    for pattern, why, hint in _WORDS:
        if re.match(pattern, said, re.IGNORECASE):
            return _filled(Refusal(why, hint), said, place)
    return _filled(Refusal("{at} refuses: {said}", "see the log of the broker"), said, place)


def _filled(words: Refusal, said: str, place: Place) -> Refusal:
    facts = {"{at}": place.name, "{to}": _to(place), "{said}": said[1:], "{database}": place.database}
    why, hint = words
    for name, value in facts.items():
        why, hint = why.replace(name, value), hint.replace(name, value)
    return Refusal(why, hint)


def _to(place: Place) -> str:
    return f"-s {place.path}" if place.path else f"-h {place.host} -p {place.port}"


def refusal_of_error(error: Exception, place: Place | None, doing: str) -> Refusal:
    """What an error on the way to a broker means; `doing` says what was tried, where there is no place to name."""
    at = place.name if place else "the broker"
    if isinstance(error, socket.gaierror):
        name = place.host if place else at
        why = f"does not answer: the name {name} is not known here ({error.strerror})"
        return Refusal(why, f"correct the host in {{setting}}; this must print its address: getent hosts {name}")
    if isinstance(error, ssl.SSLCertVerificationError):
        why = f"the certificate of {at} is not trusted: {error.verify_message}"
        return Refusal(why, "name its authority: ?ssl_ca_certs=/path/of/ca.pem at the end of {setting}")
    if isinstance(error, TimeoutError):
        ask = f"redis-cli {_to(place)} PING" if place else "see {setting}"
        return Refusal(f"does not answer: {doing}, and nothing came back", f"is it up, and no firewall between? {ask}")
    if isinstance(error, Strange):
        return _strange(error, at)
    return _plain_error(error, at)


def _strange(error: Strange, at: str) -> Refusal:
    if error.said:
        shown = error.said[:_SHOWN].decode(errors="backslashreplace").strip()
        return Refusal(f"what answers at {at} is no Redis; it said {shown!r}", "correct host and port in {setting}")
    return Refusal(
        f"what answers at {at} hangs up on a question: it may be no Redis", "correct host and port in {setting}"
    )


def _plain_error(error: Exception, at: str) -> Refusal:
    if isinstance(error, OSError):
        words = {
            errno.ECONNREFUSED: f"{at} refuses the connection: nothing listens there",
            errno.ENOENT: f"there is no socket {at}",
            errno.EACCES: f"this user may not use {at}",
            errno.EHOSTUNREACH: f"no way leads to {at}",
            errno.ENETUNREACH: f"no way leads to {at}",
        }
        why = words.get(error.errno or 0, f"{at}: {error.strerror or type(error).__name__}")
        return Refusal(f"does not answer: {why}", "start it, or correct {setting}")
    if isinstance(error, ValueError):
        return Refusal("{setting} cannot be read", "what is special in a password is %-encoded in a URL")
    said = " ".join(str(error).split())
    return Refusal(f"does not answer: {type(error).__name__}: {said}", "see the log of the broker, and {setting}")
