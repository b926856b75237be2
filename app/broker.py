"""Checks whether the broker accepts messages, and reports the reason and a remedy if it does not.

The check is a write without effect: a push to a list that does not exist. redis-py sends it, with a deadline and
without a retry. It runs in a thread, because the look-up of a host name has no deadline.
"""

from __future__ import annotations

import errno
import re
import secrets
import shlex
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import SplitResult, parse_qsl, unquote, urlencode, urlsplit, urlunsplit

from app.domain.checks import Finding
from app.domain.redaction import without
from app.urls import secrets_of

if TYPE_CHECKING:
    from redis import Redis

REDIS = ("redis", "rediss", "redis+socket", "rediss+socket", "socket", "unix")
_SECONDS = 2.0
_GRACE = 0.8
_FORM = "write {setting}=redis://:PASSWORD@HOST:6379/0"


class Refusal(NamedTuple):
    """Why messages are not accepted, and what to do; ``{setting}`` stands for the setting with the URL."""

    why: str
    hint: str


# By the server's message; the first match counts. ``{at}`` is host and port, ``{to}`` is redis-cli's options for them.
_WORDS: tuple[tuple[str, str, str], ...] = (
    (
        r"NOAUTH|HELLO must be called|Authentication required|operation not permitted",
        "{at} wants a password, and {setting} has none",
        "write it into {setting}: redis://:PASSWORD@{at}/0",
    ),
    (
        r"without any password|no password is set",
        "{at} has no password, and {setting} gives one",
        "is that the right broker? then take the password out of {setting}",
    ),
    (
        r"invalid (?:username-)?password|WRONGPASS",
        "{at} refuses the password (or the user) of {setting}",
        "compare it with requirepass, or ACL LIST, of the broker; write @ / : # of a password as %40 %2F %3A %23",
    ),
    (
        r"OOM|maxmemory",
        "{at} takes no messages: its memory is full (maxmemory, with maxmemory-policy noeviction)",
        "redis-cli {to} INFO memory; redis-cli {to} CONFIG SET maxmemory 0 lifts its limit",
    ),
    (
        r"READONLY|read only replica",
        "{at} takes no messages: it is a read-only replica",
        "name the primary in {setting}: redis-cli {to} INFO replication",
    ),
    (
        r"MISCONF",
        "{at} takes no messages: it cannot save them on its disk",
        "make room on the broker's disk, and look into its log: redis-cli {to} INFO persistence",
    ),
    (
        r"NOREPLICAS|MASTERDOWN|MASTER is down",
        "{at} takes no messages: {message}",
        "redis-cli {to} INFO replication",
    ),
    (
        r"loading the dataset|LOADING|BUSY",
        "{at} is not ready: {message}",
        "wait, and ask again: residency-backup check",
    ),
    (
        r"NOPERM|has no permissions",
        "the user of {setting} may not do what is needed at {at}: {message}",
        "give it the right: redis-cli {to} ACL SETUSER {user} ~* &* +@all",
    ),
    (
        r"DB index",
        "{at} has no database of the number that {setting} ends in",
        "name another at the end of {setting}: 0 is always there",
    ),
    (r"max number of clients", "{at} has no connection left", "redis-cli {to} CLIENT LIST; raise maxclients"),
    (
        r"protected mode",
        "{at} is in protected mode and talks to its own machine only",
        "give it a password (requirepass), and {setting} the same",
    ),
    (
        r"MOVED|CLUSTERDOWN|CROSSSLOT",
        "{at} is a node of a cluster, which Celery cannot use",
        "name a Redis of its own in {setting}",
    ),
)
# Why no connection is made, by errno.
_UNREACHABLE = {
    errno.ECONNREFUSED: "{at} refuses the connection: nothing listens there",
    errno.ENOENT: "there is no socket {at}",
    errno.EACCES: "this user may not use {at}",
    errno.EHOSTUNREACH: "no way leads to {at}",
    errno.ENETUNREACH: "no way leads to {at}",
    errno.ECONNRESET: "{at} hangs up: is it a Redis, and does it speak TLS?",
}


@dataclass(slots=True)
class _Question:
    """A check of one URL and its result; its thread may never end."""

    url: str
    done: threading.Event = field(default_factory=threading.Event)
    refusal: Refusal | None = None
    remark: str = ""


def ask(check: str, setting: str, url: str, loss: str) -> Callable[[], Finding]:
    """Begin to check a broker or a result backend; the returned function waits for the result, at most some seconds.

    Args:
        check: name of the finding.
        setting: name of the setting that holds the URL.
        url: may be several, separated by semicolons, as Celery reads them.
        loss: phrase that says what does not work without it.
    """
    questions = [_Question(alternative.strip()) for alternative in url.split(";") if alternative.strip()]
    end = time.monotonic() + _SECONDS + _GRACE
    for question in questions:
        threading.Thread(target=_answer, args=(question,), name=check, daemon=True).start()

    def found() -> Finding:
        for question in questions:
            question.done.wait(max(0.0, end - time.monotonic()))
        if takes := next((asked for asked in questions if asked.done.is_set() and asked.refusal is None), None):
            return Finding.ok(check, f"answers, and takes messages{takes.remark}")
        return Finding.warning(check, _sentence(questions[0], loss).replace("{setting}", setting))

    return found


def _sentence(question: _Question, loss: str) -> str:
    why, hint = question.refusal or _filled(_silent(question.url), question.url)
    # The message of a library may quote the URL, or a part of it.
    return without(f"{why}; {loss}; what to do: {hint}", secrets_of(question.url))


def _answer(question: _Question) -> None:
    try:
        question.remark = _push_nothing(question.url)
    except Exception as error:  # noqa: BLE001 -- each transport raises errors of its own
        question.refusal = _filled(_refusal_of(error, question.url), question.url)
    question.done.set()


def _push_nothing(url: str) -> str:
    """Push to a list that does not exist; returns a remark on a broker that accepts it."""
    if urlsplit(url).scheme not in REDIS:
        from kombu import Connection  # noqa: PLC0415 -- the import takes a fifth of a second

        with Connection(url, connect_timeout=_SECONDS) as connection:
            connection.connect()
        return ""
    from redis import Redis  # noqa: PLC0415 -- the same
    from redis.backoff import NoBackoff  # noqa: PLC0415
    from redis.retry import Retry  # noqa: PLC0415

    once = Retry(NoBackoff(), 0)
    with Redis.from_url(
        _as_redis_py_reads(url), socket_connect_timeout=_SECONDS, socket_timeout=_SECONDS, retry=once
    ) as client:
        client.lpushx(f"backup-check-{secrets.token_hex(6)}", "is this kept?")
        return _loses_messages(client)


def _loses_messages(client: Redis) -> str:
    """Whether a Redis makes room for new messages by dropping old ones; only those with a time to live do no harm."""
    from redis.exceptions import ResponseError  # noqa: PLC0415 -- by need

    try:
        memory = client.info("memory")
    except ResponseError:  # the user may not ask that
        return ""
    policy, limit = str(memory.get("maxmemory_policy", "")), int(memory.get("maxmemory", 0))
    if not limit or not policy.startswith("allkeys"):
        return ""
    return f"; if its {limit >> 20} MB are full it drops tasks that wait (maxmemory-policy {policy})"


def _as_redis_py_reads(url: str) -> str:
    """Translate Celery's URL of a socket, and its option for certificates, for redis-py."""
    parts = urlsplit(url)
    options = dict(parse_qsl(parts.query))
    if "ssl_cert_reqs" in options:
        options["ssl_cert_reqs"] = options["ssl_cert_reqs"].lower().removeprefix("cert_")
    elif parts.scheme == "rediss":
        options["ssl_cert_reqs"] = "none"
    if not parts.scheme.endswith("socket"):
        return urlunsplit(parts._replace(query=urlencode(options)))
    if database := options.pop("virtual_host", "").strip("/"):
        options["db"] = database
    return f"unix://{parts.path}?{urlencode(options)}"


def _refusal_of(error: Exception, url: str) -> Refusal:
    causes = list(_causes(error))
    if any(isinstance(cause, socket.gaierror) for cause in causes):
        return Refusal(
            "does not answer: the name {host} is not known here",
            "correct the host in {setting}; this must print its address: getent hosts {host}",
        )
    if certificate := next((cause for cause in causes if isinstance(cause, ssl.SSLCertVerificationError)), None):
        return Refusal(
            f"the certificate of {{at}} is not trusted: {certificate.verify_message}",
            "name its authority: ?ssl_ca_certs=/path/of/ca.pem at the end of {setting}",
        )
    if any(isinstance(cause, TimeoutError) for cause in causes):
        return _silent(url)
    if isinstance(error, ValueError):
        return Refusal("{setting} cannot be read", f"{_FORM}; @ / : # [ of a password are %40 %2F %3A %23 %5B")
    if isinstance(error, KeyError | NameError | ImportError):  # of kombu, for a transport that is not installed
        return Refusal(f"{{setting}} names the transport {_parts(url).scheme}, which is not installed", _FORM)
    return _refusal_of_words(causes)


def _refusal_of_words(causes: list[BaseException]) -> Refusal:
    message = " ".join(str(causes[0]).split())
    for pattern, why, hint in _WORDS:
        if re.search(pattern, message):
            return Refusal(why.replace("{message}", message), hint)
    for cause in causes:
        if isinstance(cause, OSError) and (why := _UNREACHABLE.get(cause.errno or 0, "")):
            return Refusal(f"does not answer: {why}", "start it, or correct {setting}")
    if "Protocol Error" in message or "closed by server" in message:
        return Refusal(f"what answers at {{at}} is no Redis: {message}", "correct host and port in {setting}")
    return Refusal(
        f"does not answer: {type(causes[0]).__name__}: {message}", "see the log of the broker, and {setting}"
    )


def _silent(url: str) -> Refusal:
    tls = "; if it speaks no TLS, the URL begins with redis://" if _parts(url).scheme == "rediss" else ""
    return Refusal(
        "does not answer: nothing came back from {at}", f"is it up? redis-cli {{to}} PING{tls} ({{setting}})"
    )


def _parts(url: str) -> SplitResult:
    """The parts of a URL; empty parts if it cannot be read, so that no message names the host."""
    try:
        return urlsplit(url)
    except ValueError:
        return urlsplit("")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _filled(refusal: Refusal, url: str) -> Refusal:
    """The refusal with host, port and user filled in, which contain no password."""
    parts = _parts(url)
    host = parts.hostname or "127.0.0.1"
    if parts.scheme.endswith("socket") or parts.scheme == "unix":
        at, to = parts.path, f"-s {parts.path}"
    else:
        port = re.search(r":(\d+)\Z", parts.netloc)
        number = port[1] if port else "6379"
        at, to = f"[{host}]:{number}" if ":" in host else f"{host}:{number}", f"-h {host} -p {number}"
    names = {"{at}": at, "{to}": to, "{host}": host, "{user}": shlex.quote(unquote(parts.username or "default"))}
    why, hint = refusal
    for place, name in names.items():
        why, hint = why.replace(place, name), hint.replace(place, name)
    return Refusal(why, hint)
