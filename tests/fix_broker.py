"""A real broker for tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from app.embedded.broker import EmbeddedBroker


@pytest.fixture(scope="session")
def broker_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedBroker]:
    """The broker that all tests share; a test that stops it gets it back through `broker_url` of the next one."""
    with EmbeddedBroker(tmp_path_factory.mktemp("broker")) as server:
        yield server


@pytest.fixture
def broker_url(broker_server: EmbeddedBroker) -> str:
    """The shared broker, running and without any message or result of another test."""
    broker_server.start()
    with redis.Redis.from_url(broker_server.url()) as client:
        client.flushall()
    return broker_server.url()


@pytest.fixture
def own_broker_server(tmp_path: Path) -> Iterator[EmbeddedBroker]:
    """A broker of one test, which may stop and kill it."""
    with EmbeddedBroker(tmp_path / "broker") as server:
        yield server
