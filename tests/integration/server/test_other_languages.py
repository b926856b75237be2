"""A server that speaks another language is understood by its codes. Seen in zammad/zammad#3361, QGEP/QGEP#473."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from psycopg import pq

from app.errors import BackupError, BackupPermissionError, DatabaseMissingError, ServerUnavailableError
from app.postgres.database import FULL, Database

_SSL_REQUEST = 80877103
REFUSALS = {
    "3D000": ("Datenbank »weg« existiert nicht", DatabaseMissingError),
    "28P01": ("Passwort-Authentifizierung für Benutzer »x« fehlgeschlagen", BackupPermissionError),
    "28000": ("Rolle »x« existiert nicht", BackupPermissionError),
    "53300": ("слишком много подключений", ServerUnavailableError),
    "57P03": ("データベースシステムは起動処理中です", ServerUnavailableError),
}
pytestmark = pytest.mark.skipif(pq.version() < 180000, reason="this libpq does not show the codes of refusals")


@contextmanager
def refusing(code: str, message: str) -> Iterator[str]:
    """Something that answers as a server of another language does: with a refusal, and its code."""
    fields = [b"SFATALE", b"VFATAL", f"C{code}".encode(), f"M{message}".encode(), b""]
    body = b"\0".join(fields) + b"\0"
    answer = b"E" + (len(body) + 4).to_bytes(4, "big") + body
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    client, _ = server.accept()
                except OSError:
                    return
                with client:
                    while client.recv(4096)[4:8] == _SSL_REQUEST.to_bytes(4, "big"):
                        client.sendall(b"N")
                    client.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield f"postgresql://x:secret-4711@127.0.0.1:{server.getsockname()[1]}/weg"
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


@pytest.mark.parametrize("code", REFUSALS)
def test_a_refusal_is_known_by_its_code(code: str) -> None:
    message, kind = REFUSALS[code]
    with refusing(code, message) as url:
        with pytest.raises(BackupError) as caught, Database.from_url(url).connect():
            pass
        assert type(caught.value) is kind
        assert message in caught.value.message
        assert "secret-4711" not in caught.value.message
        assert bool(FULL.search(caught.value.message)) == (code == "53300")
