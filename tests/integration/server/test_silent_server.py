"""A server that takes connections and says nothing: whoever looks at everything waits for it once."""

from __future__ import annotations

import socket
import threading
from contextlib import ExitStack
from pathlib import Path

from app.bootstrap import bootstrap
from app.domain.checks import Severity
from app.operations.health.check import check


def test_a_check_waits_once_for_a_server_that_does_not_answer(tmp_path: Path) -> None:
    with ExitStack() as held, socket.create_server(("127.0.0.1", 0)) as listener:
        calls = list[socket.socket]()

        def take() -> None:
            while True:
                try:
                    calls.append(held.enter_context(listener.accept()[0]))
                except OSError:
                    return

        threading.Thread(target=take, daemon=True).start()
        url = f"postgresql://u@127.0.0.1:{listener.getsockname()[1]}/x?connect_timeout=2"
        service = bootstrap({"DATABASE_URL": url, "BACKUP_DIR": str(tmp_path)}).service()
        (error,) = [each for each in check(service) if each.severity is Severity.ERROR]
        assert "does not answer" in error.message
        assert len(calls) == 1
        listener.shutdown(socket.SHUT_RDWR)
