"""The image and the compose files in a real engine, each stack in a copy of this folder and under a name of its own."""

import contextlib
import itertools
import json
import os
import pty
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SHIPPED = ("docker-compose.yml", "docker-compose.residency.yml", ".env.example")
TAG = "under-test"
IMAGE = f"residency-backup:{TAG}"
PREFIX = re.compile(r"^\S+\s*\| ?", re.MULTILINE)
_numbers = itertools.count(1)


def docker(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """One call of the engine's own program."""
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
    if check and done.returncode:
        pytest.fail(f"docker {' '.join(arguments)} exits with {done.returncode}: {done.stderr[-2000:]}")
    return done


def eventually(what: str, happens: Callable[[], object], seconds: float = 120, pause: float = 1) -> None:
    """Wait until it happens."""
    deadline = time.monotonic() + seconds
    while not happens():
        if time.monotonic() > deadline:
            pytest.fail(f"not within {seconds} s: {what}")
        time.sleep(pause)


@dataclass
class Stack:
    """A folder as an operator has it, and what runs from it."""

    folder: Path
    project: str
    environment: dict[str, str]
    files: tuple[str, ...] = ()  # where they are others than compose finds by itself
    settings: dict[str, str] = field(default_factory=dict)

    def sh(self, line: str, *, code: int | None = 0) -> str:
        """Run a line in bash, as it is written in the documentation; both outputs in one."""
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", line],
            cwd=self.folder,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        return self._ended(line, done.returncode, done.stdout, code)

    def at_a_terminal(self, line: str, *, code: int | None = 0) -> str:
        """The same at a terminal, where an operator sits: `docker-compose exec` then behaves otherwise."""
        ours, theirs = pty.openpty()
        child = subprocess.Popen(
            ["bash", "-o", "pipefail", "-c", line],
            cwd=self.folder,
            env=self._environment(),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        shown = b""
        with contextlib.suppress(OSError):  # Linux says EIO when the last one has closed the terminal
            while piece := os.read(ours, 65536):
                shown += piece
        os.close(ours)
        return self._ended(line, child.wait(), shown, code)

    def sql(self, statement: str, database: str = "residency_scheduler") -> str:
        """What a query gives."""
        argv = ["docker-compose", "exec", "-T", "db", "psql", "-X", "-U", "postgres", "-v", "ON_ERROR_STOP=1"]
        done = subprocess.run(
            [*argv, "-qtA", "-c", statement, database],
            cwd=self.folder,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, (statement, done.stderr)
        return done.stdout.strip()

    def logs(self, *services: str) -> str:
        """The lines of some services, without compose's prefix."""
        text = self.sh(f"docker-compose logs --no-color {' '.join(services)}")
        return PREFIX.sub("", text)

    def container(self, service: str) -> str:
        """The id of a service's container, also of one that has ended."""
        listed = docker("ps", "-aq", "--no-trunc", "--filter", f"label=com.docker.compose.project={self.project}",
                        "--filter", f"label=com.docker.compose.service={service}")  # fmt: skip
        return listed.stdout.split()[0] if listed.stdout.split() else ""

    def state(self, service: str) -> str:
        """``running healthy``, ``exited 2`` …"""
        shape = "{{.State.Status}} {{if .State.Health}}{{.State.Health.Status}}{{else}}{{.State.ExitCode}}{{end}}"
        name = self.container(service)
        return docker("inspect", "-f", shape, name).stdout.strip() if name else "missing"

    def set(self, **settings: str) -> None:
        """Write .env anew, with these besides what it says."""
        self.settings |= settings
        (self.folder / ".env").write_text("".join(f"{name}={value}\n" for name, value in self.settings.items()))

    def up(self, *services: str, code: int | None = 0) -> str:
        """Start, and wait until the worker is ready: its health is looked at only once a minute."""
        shown = self.sh(f"docker-compose up -d {' '.join(services)}", code=code)
        if code == 0 and not services:
            eventually("the worker is ready", lambda: "ready." in docker("logs", self.container("backend")).stdout, 60)
        return shown

    def is_healthy(self, service: str) -> Callable[[], bool]:
        """Whether a service runs, and its own check says so."""
        return lambda: self.state(service) == "running healthy"

    def kill(self, service: str) -> None:
        """End a service's first process from outside, so that it is no stop that an operator asked for."""
        process = int(docker("inspect", "-f", "{{.State.Pid}}", self.container(service)).stdout)
        try:
            os.kill(process, 9)
        except (PermissionError, ProcessLookupError):  # not root, or an engine on another machine
            self.sh(f"docker-compose kill {service} && docker-compose start {service}")

    def backups(self, pattern: str = "*/backup-*.sql*") -> list[str]:
        """The backups' files, manifests aside, by the eyes of the service: the folder is closed to others."""
        shown = self.sh(f"docker-compose exec -T backend sh -c 'cd /backups && ls -1 {pattern} 2>/dev/null || true'")
        return sorted(line for line in shown.splitlines() if line and not line.endswith(".json"))

    def partials(self) -> list[str]:
        """Files in the making."""
        return self.sh("docker-compose exec -T backend find /backups -name '*.partial'").split()

    def remove(self) -> None:
        """End everything, and remove what belongs to other users too."""
        (self.folder / "secrets").mkdir(exist_ok=True)
        (self.folder / "secrets/postgres_password").touch()  # without it compose would not even look
        self.sh("docker-compose down --volumes --remove-orphans --timeout 5", code=None)
        assert not self.container("db")
        docker("run", "--rm", "--user", "root", "--entrypoint", "sh", "-v", f"{self.folder}:/folder", IMAGE,
               "-c", "rm -rf /folder/data* /folder/secrets", check=False)  # fmt: skip

    def _environment(self) -> dict[str, str]:
        files = {"COMPOSE_FILE": ":".join(self.files)} if self.files else {}
        return self.environment | {"COMPOSE_PROJECT_NAME": self.project} | files

    def _ended(self, line: str, code: int, shown: bytes, wanted: int | None) -> str:
        text = shown.decode(errors="replace")
        assert wanted is None or code == wanted, f"{line!r} exits with {code}:\n{text[-4000:]}"
        return text


@pytest.fixture(scope="session")
def compose_environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment in which `docker-compose` is the compose to be tried."""
    if shutil.which("docker") is None or docker("info", check=False).returncode:
        pytest.skip("no container engine answers here (docker info): the image and the compose files are not tried")
    environment = dict(os.environ) | {"RESIDENCY_BACKUP_TAG": TAG}
    if os.environ.get("TEST_COMPOSE") == "docker compose" or shutil.which("docker-compose") is None:
        if docker("compose", "version", check=False).returncode:
            pytest.skip("neither docker-compose nor 'docker compose' is installed here")
        shims = tmp_path_factory.mktemp("bin")
        (shims / "docker-compose").write_text('#!/bin/sh\nexec docker compose "$@"\n')
        (shims / "docker-compose").chmod(0o755)
        environment["PATH"] = f"{shims}:{environment['PATH']}"
    return environment


@pytest.fixture(scope="session")
def image(compose_environment: dict[str, str]) -> str:
    """The image, built as compose builds it."""
    done = subprocess.run(
        ["docker-compose", "build"], cwd=ROOT, env=compose_environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return IMAGE


@pytest.fixture(scope="session")
def new_stack(
    image: str, compose_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., contextlib.AbstractContextManager[Stack]]:
    """Makes a folder like an operator's: the shipped files and, unless told otherwise, the secret."""

    @contextlib.contextmanager
    def make(*, secret: str | None = "a quite secret word 4711", **settings: str) -> Iterator[Stack]:
        folder = tmp_path_factory.mktemp("stack")
        for name in SHIPPED:
            shutil.copy(ROOT / name, folder)
        shutil.copytree(ROOT / "deploy", folder / "deploy")
        if secret is not None:
            (folder / "secrets").mkdir(mode=0o700)
            (folder / "secrets/postgres_password").write_text(f"{secret}\n")
            (folder / "secrets/postgres_password").chmod(0o644)
        stack = Stack(folder, f"rbtest{os.getpid()}x{next(_numbers)}", compose_environment)
        if settings:
            stack.set(**settings)
        try:
            yield stack
        finally:
            stack.remove()

    return make


def objects(lines: str) -> list[dict[str, object]]:
    """The events of a log that is JSON, all of it."""
    return [json.loads(line) for line in lines.splitlines() if line.strip() and not line.startswith("Attaching to")]
