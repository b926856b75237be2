"""Celery for tests: real workers and beats as local processes, alone or as the nodes of pytest-celery.

pytest-celery's vendors want Docker, but its nodes take anything that behaves like a container. Its documentation of
`celery_setup` holds; the worker's environment comes from the fixture `celery_worker_env`, which tests override.
"""

import contextlib
import os
import signal
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import psutil
import pytest
from celery import Celery
from pytest_celery import (
    CeleryBackendCluster,
    CeleryBrokerCluster,
    CeleryTestBackend,
    CeleryTestBroker,
    CeleryTestSetup,
    CeleryTestWorker,
    CeleryWorkerCluster,
)

from app.embedded.broker import EmbeddedBroker
from tests.fix_fork import CELERY, Forked, start_forked

APP = "tasks"
HOME = Path(__file__).parents[1]
QUEUE = "backup"
NOTHING_DUE = {f"BACKUP_{tier}_CRON": "off" for tier in ("DAILY", "WEEKLY", "MONTHLY", "VERIFY")}
READY_SECONDS = 30.0
END_SECONDS = 20.0
GRACE_SECONDS = 5.0
POLL_SECONDS = 0.05
PATIENCE = 40.0
# What a program needs of its surroundings; settings come from the test alone.
PASSED_ON = ("PATH", "HOME", "XDG_STATE_HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "COVERAGE_PROCESS_START")

Kind = Literal["worker", "beat"]
NodeFactory = Callable[..., "LocalNode"]


def eventually(condition: Callable[[], object], what: str, seconds: float = PATIENCE) -> None:
    """Wait until a condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited in vain: {what}"
        time.sleep(POLL_SECONDS)


class LocalNode:
    """A local process that behaves like a container of pytest-celery."""

    def __init__(self, argv: Sequence[str], env: Mapping[str, str], *, log: Path, ready_line: str) -> None:
        self.id = uuid.uuid4().hex
        self.name = log.stem
        self.celeryconfig: dict[str, Any] = {}
        self._argv = list(argv)
        self._env = {key: os.environ[key] for key in PASSED_ON if key in os.environ} | dict(env)
        self._log = log
        self._ready_line = ready_line
        self._process: Forked | None = None
        self._family: set[psutil.Process] = set()

    @property
    def pid(self) -> int:
        """Process id of the main process, which is its group's too."""
        return self._running().pid

    @property
    def status(self) -> str:
        """`running` or `exited`, as Docker says."""
        return "running" if self._process and self._process.poll() is None else "exited"

    def start(self) -> None:
        """Start the process, with a new log."""
        with self._log.open("wb") as log:
            self._process = start_forked(CELERY, self._argv, self._env, log, log, cwd=HOME, session=True)

    def ready(self, timeout: float = READY_SECONDS) -> bool:
        """Wait for the ready line of this start; fails with the log."""
        self.wait_for(self._ready_line, timeout)
        return True

    def wait_for(self, text: str, timeout: float = READY_SECONDS) -> None:
        """Wait until the log has a text; fails with the log."""
        deadline = time.monotonic() + timeout
        while True:
            status = self.status  # asked first: what it says last before it ends counts
            if text in self.logs():
                return
            if status == "exited" or time.monotonic() > deadline:
                pytest.fail(f"{self.name} ({status}) did not say {text!r}; it said:\n{self.logs()}")
            time.sleep(POLL_SECONDS)

    def logs(self) -> str:
        """What the process wrote since its last start."""
        return self._log.read_text(errors="replace")

    def send(self, number: str | int) -> None:
        """Send a signal to the main process alone, and wait for nothing."""
        self._remember()
        os.kill(self.pid, as_signal(number))

    def kill(self, signal: str | int = "SIGKILL") -> None:  # the name is pytest-celery's
        """End the process: SIGKILL takes its whole group, anything else goes to the main process, as Docker's does."""
        process = self._running()
        if as_signal(signal) == as_signal("SIGKILL"):
            self._remember()
            os.killpg(process.pid, as_signal(signal))
        else:
            self.send(signal)
        process.wait(END_SECONDS)

    def restart(self, timeout: float = READY_SECONDS) -> None:
        """Shut the process down where it runs, start it and wait for it."""
        if self.status == "running":
            self.kill("SIGTERM")
        self.start()
        self.ready(timeout)

    def reload(self) -> None:
        """Nothing to load: the state is asked for each time."""

    def teardown(self) -> None:
        """End the process and whatever it started, also what leads a session of its own."""
        self._remember()
        if self._process and self.status == "running":
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGTERM)
                os.killpg(self._process.pid, signal.SIGCONT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(GRACE_SECONDS)
        for member in self._family:
            with contextlib.suppress(psutil.NoSuchProcess):
                member.kill()
        psutil.wait_procs(self._family, timeout=END_SECONDS)
        if self._process:
            self._process.wait(END_SECONDS)

    def _running(self) -> Forked:
        if self._process is None:
            raise RuntimeError(f"{self.name} was not started")
        return self._process

    def _remember(self) -> None:
        """Note all descendants while they can be found; psutil tells a reused process id from the old one."""
        if self.status == "running":
            with contextlib.suppress(psutil.NoSuchProcess):
                main = psutil.Process(self.pid)
                self._family |= {main, *main.children(recursive=True)}


def as_signal(number: str | int) -> signal.Signals:
    """A signal by its name or number."""
    return signal.Signals[number] if isinstance(number, str) else signal.Signals(number)


def command(kind: Kind, name: str, schedule: Path) -> list[str]:
    """The words after `celery` that start a worker or a beat of the app."""
    argv = ["-A", APP, kind, "--loglevel", "INFO"]
    if kind == "beat":
        # Beat's default is a file in the working folder, which is the repository.
        return [*argv, "-s", str(schedule)]
    return [*argv, "-c", "2", "-Q", QUEUE, "-n", f"{name}@%h"]


READY_LINES: dict[Kind, str] = {"worker": "ready.", "beat": "beat: Starting"}


@pytest.fixture
def celery_node(tmp_path: Path) -> Iterator[NodeFactory]:
    """Starts workers and beats: `celery_node("worker", {"DATABASE_URL": …}, "--pool", "prefork")`."""
    nodes: list[LocalNode] = []
    ends = contextlib.ExitStack()

    def start(kind: Kind, env: Mapping[str, str], *args: str) -> LocalNode:
        name = f"{kind}{len(nodes) + 1}"
        argv = [*command(kind, name, tmp_path / f"{name}-schedule"), *args]
        node = LocalNode(argv, env, log=tmp_path / f"{name}.log", ready_line=READY_LINES[kind])
        nodes.append(node)
        ends.callback(node.teardown)
        node.start()
        node.ready()
        return node

    with ends:
        yield start


class BrokerContainer:
    """The shared broker in a container's clothes."""

    def __init__(self, server: EmbeddedBroker, database: int) -> None:
        self.id = uuid.uuid4().hex
        self.name = f"broker-{database}"
        self.celeryconfig = {"url": server.url(database), "host_url": server.url(database)}
        self._server = server

    @property
    def status(self) -> str:
        """`running` or `exited`, as Docker says."""
        return "running" if self._server.running else "exited"

    def ready(self) -> bool:
        """Whether the broker runs; it answers from its start on."""
        return self._server.running

    def logs(self) -> str:
        """The end of the broker's log."""
        return self._server.log_tail()

    def kill(self, signal: str | int = "SIGKILL") -> None:  # the name is pytest-celery's
        """End the broker."""
        if as_signal(signal) == as_signal("SIGKILL"):
            self._server.kill()
        else:
            self._server.stop()

    def restart(self, timeout: float = READY_SECONDS) -> None:  # noqa: ARG002 - pytest-celery passes it
        """Restart the broker on its port, with its messages."""
        self._server.restart()

    def reload(self) -> None:
        """Nothing to load."""

    def teardown(self) -> None:
        """Nothing to end: the broker is the session's."""


class LocalWorker(CeleryTestWorker):
    """A worker process as a node."""

    worker_name = "worker1"
    worker_queue = QUEUE
    log_level = "INFO"
    version = "local"


class LocalSetup(CeleryTestSetup):
    """A setup whose app sends to the queue that our workers read."""

    @classmethod
    def update_app_config(cls, app: Celery) -> None:
        app.conf.task_default_queue = QUEUE

    def teardown(self) -> None:
        self.app.close()


@pytest.fixture
def celery_setup_cls() -> type[CeleryTestSetup]:
    """The setup that `celery_setup` builds."""
    return LocalSetup


@pytest.fixture
def celery_broker_cluster(broker_server: EmbeddedBroker, broker_url: str) -> CeleryBrokerCluster:
    """The shared broker, emptied."""
    return CeleryBrokerCluster(CeleryTestBroker(BrokerContainer(broker_server, 0)))


@pytest.fixture
def celery_backend_cluster(broker_server: EmbeddedBroker, broker_url: str) -> CeleryBackendCluster:
    """Another numbered database of the shared broker."""
    return CeleryBackendCluster(CeleryTestBackend(BrokerContainer(broker_server, 1)))


@pytest.fixture
def celery_worker_env() -> dict[str, str]:
    """Settings of the worker beside the broker; tests override this."""
    return {}


@pytest.fixture
def celery_worker_cluster(
    celery_broker_cluster: CeleryBrokerCluster,
    celery_backend_cluster: CeleryBackendCluster,
    celery_setup_app: Celery,
    celery_worker_env: dict[str, str],
    celery_node: NodeFactory,
) -> CeleryWorkerCluster:
    """One worker process."""
    env = {
        "CELERY_BROKER_URL": celery_broker_cluster[0].config()["url"],
        "CELERY_RESULT_BACKEND": celery_backend_cluster[0].config()["url"],
        **celery_worker_env,
    }
    return CeleryWorkerCluster(LocalWorker(celery_node("worker", env), celery_setup_app))


@pytest.fixture
def sender(broker_url: str) -> Iterator[Celery]:
    """Sends tasks by name and reads their results."""
    app = Celery("sender", broker=broker_url, backend=broker_url)
    app.conf.task_default_queue = "backup"
    yield app
    app.close()
