"""Checks URLs that may hold a password. Errors never repeat a part of the URL.

The libraries that read these URLs quote the part that they could not read, which is usually a part of the password. So
each URL is checked here before a library sees it.
"""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, quote, unquote, urlsplit

ENCODED = "write @ / : ; # ? [ ] % of a user's name or password as %40 %2F %3A %3B %23 %3F %5B %5D %25"
BROKER = "a URL such as redis://:PASSWORD@HOST:6379/0 is wanted"
MAX_PORT = 65535
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_PLACE = re.compile(r"(?:\[[\w:.%]+\]|[^\s:\[\]\\]*)(?::([0-9]{0,5}))?")
_SECRET_PARAMETER = re.compile(r"pass|secret|token|key", re.IGNORECASE)
# kombu's transports and Celery's result backends; a test compares them with those that are installed.
TRANSPORTS = frozenset(
    {
        "SLMQ",
        "SQS",
        "amqp",
        "amqps",
        "azureservicebus",
        "azurestoragequeues",
        "confluentkafka",
        "consul",
        "etcd",
        "filesystem",
        "gcpubsub",
        "kafka",
        "librabbitmq",
        "memory",
        "mongodb",
        "pgmq",
        "pyamqp",
        "pyro",
        "qpid",
        "redis",
        "rediss",
        "sentinel",
        "slmq",
        "sqla",
        "sqlalchemy",
        "sqs",
        "zookeeper",
    }
)
BACKENDS = frozenset(
    {
        "arangodb",
        "azureblockblob",
        "cache",
        "cassandra",
        "consul",
        "cosmosdbsql",
        "couchbase",
        "couchdb",
        "database",
        "db",
        "disabled",
        "dynamodb",
        "elasticsearch",
        "file",
        "gs",
        "mongodb",
        "redis",
        "rediss",
        "riak",
        "rpc",
        "s3",
        "sentinel",
    }
)
# Schemes of the form user:password@host:port/path; the others have forms of their own.
_REDIS = frozenset({"redis", "rediss"})
_PLAIN = _REDIS | {"sentinel", "amqp", "amqps", "pyamqp", "librabbitmq"}


def scheme_of(text: str) -> str:
    """The scheme before ``://``; empty if the text does not begin with one, such as a conninfo string."""
    found = _SCHEME.match(text)
    return found[1] if found else ""


def secrets_of(url: str) -> list[str]:
    """The passwords in a URL, as written and percent-decoded."""
    found = re.match(r"[^:/]*://[^/:@]*:(.*)@", url, re.DOTALL)
    written = [found[1]] if found else []
    query = url.partition("?")[2]
    written += [value for name, value in parse_qsl(query) if _SECRET_PARAMETER.search(name)]
    return list(dict.fromkeys(form for text in written for form in (text, unquote(text)) if form))


def require_text(value: str) -> None:
    """Check that a value can be passed to any program.

    Raises:
        ValueError: it is not UTF-8, or has a NUL in it.
    """
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("is not UTF-8") from None
    if "\0" in value:
        raise ValueError("has a NUL in it")


def require_broker(url: str) -> None:
    """Check a broker's URL, or several that are separated by semicolons.

    Raises:
        ValueError: one cannot be read, or names no known transport.
    """
    for alternative in url.split(";"):
        _require_scheme(alternative, TRANSPORTS, several=";" in url)


def require_results(url: str) -> None:
    """Check the URL of a result backend. Only sentinels may have several.

    Raises:
        ValueError: it cannot be read, or names no known backend.
    """
    if ";" in url and scheme_of(url) != "sentinel":
        raise ValueError("only sentinel:// takes several URLs; a ; in the user's name or password is written %3B")
    for alternative in url.split(";"):
        _require_scheme(alternative, BACKENDS, several=";" in url)
        _require_certificates(alternative)


def require_one_at(url: str) -> None:
    """Refuse a second @, because the text between the two would be taken for the host, and shown.

    Raises:
        ValueError: there is more than one.
    """
    authority, tail = _authority(url)
    if authority.count("@") > 1:
        raise ValueError("an @ in the user's name or password is written %40")
    if "@" in tail:
        raise ValueError(f"a {tail[0]} in the user's name or password is written {quote(tail[0], safe='')}")


def require_port(port: str) -> None:
    """Check a port, or the ports of several hosts.

    Raises:
        ValueError: one is no number of a port.
    """
    for number in port.split(","):
        if number and not (re.fullmatch(r"[0-9]{1,5}", number) and 0 < int(number) <= MAX_PORT):
            raise ValueError(f"the port is no number from 1 to {MAX_PORT}; {ENCODED}")


def _require_scheme(url: str, known: frozenset[str], *, several: bool) -> None:
    scheme = scheme_of(url.strip())
    if not scheme and several:
        raise ValueError("each of several URLs is a whole one; a ; in the user's name or password is written %3B")
    if not scheme and "://" not in url:
        raise ValueError(BROKER)
    kind, _, rest = scheme.partition("+")
    if kind not in known:
        raise ValueError(f"nothing is known by the name before its ://; {BROKER}")
    if rest == "socket" and kind in _REDIS:
        _require_socket(url)
    elif kind in _PLAIN:
        _require_place(url.strip(), kind)


def _require_place(url: str, kind: str) -> None:
    """Check user, password, host and port; for Redis also the number of the database."""
    require_one_at(url)
    authority, tail = _authority(url)
    if "#" in tail:
        raise ValueError("a # is written %23")
    who, _, place = authority.rpartition("@")
    if "[" in who or "]" in who:
        raise ValueError("[ and ] in the user's name or password are written %5B and %5D")
    found = _PLACE.fullmatch(place)
    if re.search(r"[\x00-\x1f\x7f]", url):
        raise ValueError("has a control character in it")
    if found is None:
        raise ValueError(f"HOST:PORT cannot be read; {ENCODED}")
    require_port(found[1] or "")
    try:
        urlsplit(url)
    except ValueError:  # its message quotes the URL
        raise ValueError("has a character in it that is to be percent-encoded") from None
    path = unquote(tail.partition("?")[0]).strip("/")
    if kind in _REDIS and not re.fullmatch(r"[0-9]{0,5}", path):
        raise ValueError("what follows the host is no number of a database; redis://:PASSWORD@HOST:6379/0 is wanted")


def _require_socket(url: str) -> None:
    where, _, query = url.partition("://")[2].partition("?")
    if not where.strip("/") or "#" in url:
        raise ValueError("a socket is written redis+socket:///run/redis.sock?virtual_host=0")
    if not dict(parse_qsl(query)).get("virtual_host", "0").strip("/").isdecimal():
        raise ValueError("virtual_host is no number of a database")


def _require_certificates(url: str) -> None:
    """Check the TLS parameters that Celery wants for results in Redis."""
    given = {name for name, _ in parse_qsl(url.partition("?")[2])}
    if scheme_of(url) == "rediss" and "ssl_cert_reqs" not in given:
        raise ValueError("results in rediss:// need ?ssl_cert_reqs=required at the end of the URL, or =none")
    if scheme_of(url) == "redis" and any(name.startswith("ssl_") for name in given):
        raise ValueError("the ssl_… parameters belong to rediss://")


def _authority(url: str) -> tuple[str, str]:
    """Split a URL into ``user:password@host:port`` and the text after it."""
    rest = url.partition("://")[2]
    end = re.search(r"[/?#]", rest)
    return (rest[: end.start()], rest[end.start() :]) if end else (rest, "")
