"""Where a broker is, by its URL, as Celery reads it."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

REDIS = ("redis", "rediss", "redis+socket", "rediss+socket", "socket")
_PORT = 6379
_CERTIFICATE = {"required": ssl.CERT_REQUIRED, "optional": ssl.CERT_OPTIONAL, "none": ssl.CERT_NONE}


@dataclass(frozen=True, slots=True)
class Place:
    """A Redis: at a host and port, or, where `path` is set, at a socket of this machine."""

    host: str
    port: int
    path: str | None
    user: str | None
    password: str | None = field(repr=False)
    database: str
    tls: bool
    options: Mapping[str, Any]

    @classmethod
    def of(cls, url: str) -> Place:
        """Read a URL.

        Raises:
            ValueError: it is none.
        """
        parts = urlsplit(url)
        options = dict(parse_qsl(parts.query))
        is_socket = parts.scheme.endswith("socket")
        database = options.pop("virtual_host", "") if is_socket else parts.path
        return cls(
            host=parts.hostname or "127.0.0.1",
            port=parts.port or _PORT,
            path=unquote(f"/{parts.netloc}{parts.path}".replace("//", "/")) if is_socket else None,
            user=unquote(parts.username) if parts.username else None,
            password=unquote(parts.password) if parts.password else None,
            database=database.strip("/") or "0",
            tls=parts.scheme.startswith("rediss"),
            options=options,
        )

    @property
    def name(self) -> str:
        """What to call it: without user and password."""
        return self.path or f"{self.host}:{self.port}"

    def context(self) -> ssl.SSLContext:
        """How TLS is spoken with it; as for Celery, what the URL does not ask for is not checked."""
        wanted = str(self.options.get("ssl_cert_reqs", "none")).lower().removeprefix("cert_")
        context = ssl.create_default_context(cafile=self.options.get("ssl_ca_certs"))
        check_name = str(self.options.get("ssl_check_hostname", "false")).lower() == "true"
        context.check_hostname = False
        context.verify_mode = _CERTIFICATE.get(wanted, ssl.CERT_NONE)
        context.check_hostname = check_name and context.verify_mode is ssl.CERT_REQUIRED
        if certificate := self.options.get("ssl_certfile"):
            context.load_cert_chain(certificate, self.options.get("ssl_keyfile"))
        return context
