"""`check` says in seconds why a broker takes no messages, in words of whoever runs it, and shows no password."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
import redis

from app.bootstrap import bootstrap
from app.domain.checks import Finding, Severity
from app.embedded.broker import EmbeddedBroker
from app.postgres.programs import run

pytestmark = pytest.mark.timeout(30)
SECRET = "canary-4711"


def found(url: str, tmp_path: Path, **settings: str) -> list[Finding]:
    """What is found of a broker."""
    env = {"DATABASE_URL": "postgresql://u@127.0.0.1:9/x", "BACKUP_DIR": str(tmp_path), "CELERY_BROKER_URL": url}
    return bootstrap({**env, **settings}).ask_broker()()


def why(url: str, tmp_path: Path) -> str:
    """The one warning's message."""
    (finding,) = found(url, tmp_path)
    assert finding.severity is Severity.WARNING
    assert SECRET not in finding.message
    assert "what to do: " in finding.message
    assert "CELERY_BROKER_URL" in finding.message or "redis-cli" in finding.message
    return finding.message


@contextmanager
def listener(answer: Callable[[socket.socket], socket.socket | None]) -> Iterator[int]:
    """A port where every connection gets an answer; what goes wrong with one is its client's affair."""
    with socket.create_server(("127.0.0.1", 0)) as server, ExitStack() as held:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                held.callback(connection.close)
                with suppress(OSError):
                    held.callback((answer(connection) or connection).close)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


def test_one_that_works_is_well_and_nothing_is_left_in_it(own_broker_server: EmbeddedBroker, tmp_path: Path) -> None:
    for url in (own_broker_server.url(3), f"redis://127.0.0.1:1/0;{own_broker_server.url()}"):
        findings = found(url, tmp_path, CELERY_RESULT_BACKEND=own_broker_server.url(3))
        assert {(each.severity, each.message) for each in findings} == {(Severity.OK, "answers, and takes messages")}
    with redis.Redis.from_url(own_broker_server.url(3)) as client:
        assert client.dbsize() == 0


def test_one_that_drops_tasks_when_it_is_full_is_told_of(own_broker_server: EmbeddedBroker, tmp_path: Path) -> None:
    with redis.Redis.from_url(own_broker_server.url()) as client:
        client.config_set("maxmemory", "256mb")
        client.config_set("maxmemory-policy", "allkeys-lru")
    (finding,) = found(own_broker_server.url(), tmp_path)
    assert finding.severity is Severity.OK
    assert "if its 256 MB are full it drops tasks that wait (maxmemory-policy allkeys-lru)" in finding.message


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (f"redis://:{SECRET}@127.0.0.1:1/0", "does not answer: 127.0.0.1:1 refuses the connection"),
        (f"redis://u:{SECRET}@no-such-host.invalid/0", "the name no-such-host.invalid is not known"),
        (f"redis+socket:///no/such/socket?password={SECRET}", "there is no socket /no/such/socket"),
        (f"amqp://u:{SECRET}@127.0.0.1:1//", "refuses the connection"),
    ],
    ids=["refused", "unknown name", "no socket", "another transport"],
)
def test_nothing_there(tmp_path: Path, url: str, said: str) -> None:
    assert said in why(url, tmp_path)


def test_passwords(own_broker_server: EmbeddedBroker, tmp_path: Path) -> None:
    port = own_broker_server.port
    with redis.Redis.from_url(own_broker_server.url()) as client:
        client.config_set("requirepass", SECRET)
    assert "wants a password, and CELERY_BROKER_URL has none" in why(own_broker_server.url(), tmp_path)
    assert "refuses the password" in why(f"redis://:not-{SECRET}@127.0.0.1:{port}/0", tmp_path)
    (finding,) = found(f"redis://:{SECRET}@127.0.0.1:{port}/0", tmp_path)
    assert finding.severity is Severity.OK


def test_a_user_who_may_not_write(own_broker_server: EmbeddedBroker, tmp_path: Path) -> None:
    with redis.Redis.from_url(own_broker_server.url()) as client:
        client.execute_command("ACL", "SETUSER", "reader", "on", f">{SECRET}", "~*", "+@read", "+ping", "+select")
    said = why(f"redis://reader:{SECRET}@127.0.0.1:{own_broker_server.port}/0", tmp_path)
    assert "may not do what is needed" in said
    assert "lpushx" in said
    assert "ACL SETUSER reader ~* &* +@all" in said


def full(client: redis.Redis) -> None:
    client.config_set("maxmemory", 1)


def replica(client: redis.Redis) -> None:
    client.replicaof("127.0.0.1", 1)


def no_disk(client: redis.Redis) -> None:
    """Its snapshot cannot take its name: a folder has it."""
    (Path(str(client.config_get("dir")["dir"])) / "dump.rdb").mkdir()
    client.config_set("save", "1 1")
    client.bgsave()
    while client.info("persistence")["rdb_bgsave_in_progress"]:
        pass


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (full, "its memory is full (maxmemory"),
        (replica, "it is a read-only replica"),
        (no_disk, "it cannot save them on its disk"),
    ],
)
def test_one_that_answers_and_takes_no_messages(
    own_broker_server: EmbeddedBroker, tmp_path: Path, spoil: Callable[[redis.Redis], None], said: str
) -> None:
    with redis.Redis.from_url(own_broker_server.url(), decode_responses=True) as client:
        spoil(client)
        text = why(own_broker_server.url(), tmp_path)
        client.config_set("save", "")  # else it would not end while it cannot save
    assert said in text
    assert f"redis-cli -h 127.0.0.1 -p {own_broker_server.port}" in text


def test_a_database_that_it_does_not_have(own_broker_server: EmbeddedBroker, tmp_path: Path) -> None:
    assert "has no database of the number" in why(own_broker_server.url(99), tmp_path)


def test_one_that_stands_still_is_not_waited_for(own_broker_server: EmbeddedBroker, tmp_path: Path) -> None:
    with redis.Redis.from_url(own_broker_server.url()) as client:
        pid = client.info("server")["process_id"]
    os.kill(pid, signal.SIGSTOP)
    try:
        assert "nothing came back" in why(own_broker_server.url(), tmp_path)
    finally:
        os.kill(pid, signal.SIGCONT)


def test_what_is_no_redis(tmp_path: Path) -> None:
    with listener(lambda connection: connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as port:
        assert "is no Redis: Protocol Error: b'HTTP/1.1 400 Bad Request'" in why(
            f"redis://:{SECRET}@127.0.0.1:{port}/0", tmp_path
        )
    with listener(lambda connection: connection.close()) as port:
        assert f"127.0.0.1:{port}" in why(f"redis://:{SECRET}@127.0.0.1:{port}/0", tmp_path)


def test_tls_where_there_is_none_and_none_where_there_is(own_broker_server: EmbeddedBroker, tmp_path: Path) -> None:
    plain = f"rediss://127.0.0.1:{own_broker_server.port}/0?ssl_cert_reqs=required"
    assert "if it speaks no TLS, the URL begins with redis://" in why(plain, tmp_path)
    if (openssl := shutil.which("openssl")) is None:
        pytest.skip("no openssl here to make a certificate with")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    asked = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=broker", "-days", "2"]
    assert run([openssl, *asked, "-keyout", str(key), "-out", str(certificate)]).code == 0
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with listener(lambda connection: context.wrap_socket(connection, server_side=True)) as port:
        assert "does it speak TLS?" in why(f"redis://127.0.0.1:{port}/0", tmp_path)
        wanted = f"rediss://127.0.0.1:{port}/0?ssl_cert_reqs=required"
        assert "certificate of 127.0.0.1" in why(wanted, tmp_path)


def test_results_that_are_kept_elsewhere_are_looked_at_too(own_broker_server: EmbeddedBroker, tmp_path: Path) -> None:
    broker, results = found(own_broker_server.url(), tmp_path, CELERY_RESULT_BACKEND=f"redis://:{SECRET}@127.0.0.1:1/0")
    assert broker.severity is Severity.OK
    assert results.check == "results"
    assert "does not answer: 127.0.0.1:1 refuses" in results.message
    assert "CELERY_RESULT_BACKEND" in results.message


@pytest.mark.parametrize("kind", ["worker", "beat"])
def test_worker_and_beat_say_it_once_when_they_start(tmp_path: Path, kind: str) -> None:
    env = {"DATABASE_URL": "postgresql://u@127.0.0.1:9/x", "BACKUP_DIR": str(tmp_path), "PATH": os.environ["PATH"]}
    argv = [
        sys.executable,
        "-m",
        "celery",
        "-A",
        "tasks",
        kind,
        *(["-s", str(tmp_path / "s")] if kind == "beat" else []),
    ]
    broker = {"CELERY_BROKER_URL": f"redis://:{SECRET}@127.0.0.1:1/0"}
    home = Path(__file__).parents[3]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with subprocess.Popen(argv, cwd=home, env={**env, **broker}, text=True, **streams) as process:
        assert process.stdout is not None
        line = next((line for line in process.stdout if "backup broker takes no messages" in line), "")
        process.kill()
    assert "refuses the connection" in line
    assert SECRET not in line
