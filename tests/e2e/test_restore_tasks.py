"""Restores told to a real worker, as an admin would."""

from __future__ import annotations

import os
import uuid

import psutil
import pytest
from celery import Celery

from app.domain.restore import RestoreState
from app.errors import RestoreCancelledError, RestorePermissionError, RestoreValidationError
from tests.e2e.test_worker_and_beat import eventually
from tests.fix_celery import NOTHING_DUE, NodeFactory
from tests.fix_damaged import Damaged, require_nothing_left

pytestmark = pytest.mark.e2e
PATIENCE = 60.0


@pytest.fixture
def env(damaged: Damaged, broker_url: str) -> dict[str, str]:
    """The worker's settings; nothing comes due by itself."""
    return {**damaged.site.env, **NOTHING_DUE, "CELERY_BROKER_URL": broker_url, "LOG_LEVEL": "INFO"}


def test_preview_run_and_rollback_return_what_the_contract_says(
    damaged: Damaged, env: dict[str, str], celery_node: NodeFactory, sender: Celery
) -> None:
    worker = celery_node("worker", env)

    def call(name: str, **kwargs: object) -> dict[str, object]:
        result: dict[str, object] = sender.send_task(f"restore.{name}", kwargs=kwargs).get(timeout=PATIENCE)
        return result

    plan = call("preview", backup=damaged.backup)
    assert plan["dry_run"] is True
    assert plan["tables"]
    with pytest.raises(RestorePermissionError, match="role none_such cannot load the file"):
        call("run", backup=damaged.backup, confirm=damaged.name, as_role="none_such")
    assert damaged.content() == damaged.broken
    done = call("run", backup=damaged.backup, confirm=damaged.name)
    assert {"restore", "mode", "rows", "safety"} <= set(done)
    assert damaged.content() == damaged.whole
    undone = call("rollback", restore=done["restore"])
    assert (undone["restore"], undone["rolled_back"]) == (done["restore"], True)
    assert damaged.content() == damaged.broken
    merged = call("run", backup="latest-manual", mode="merge", confirm=damaged.name, tables=["notifications"])
    assert merged["mode"] == "merge"
    assert damaged.content()['"public"."notifications"'] == damaged.whole['"public"."notifications"']
    with pytest.raises(RestoreValidationError) as caught:
        call("run", backup=damaged.backup)
    assert f"--confirm {damaged.name}" in caught.value.hint
    with pytest.raises(RestoreValidationError, match="peeple"):
        call("run", backup=damaged.backup, mode="merge", confirm=damaged.name, tables=["peeple"])
    story = worker.logs()
    for event in ("restore started", "restore completed", "restore rolled back", "restore failed"):
        assert event in story
    refused = [line for line in story.splitlines() if "restore task failed" in line]
    assert len(refused) == 1, "what a restore has said of its end is not said twice"
    assert "[error" in refused[0]
    assert f"--confirm {damaged.name}" in refused[0]


def test_a_message_delivered_twice_restores_once(
    damaged: Damaged, env: dict[str, str], celery_node: NodeFactory, sender: Celery
) -> None:
    worker = celery_node("worker", env)
    task_id, kwargs = str(uuid.uuid4()), {"backup": damaged.backup, "confirm": damaged.name}
    sender.send_task("restore.run", task_id=task_id, kwargs=kwargs).get(timeout=PATIENCE)
    sender.send_task("restore.run", task_id=task_id, kwargs=kwargs)
    eventually(lambda: "delivered twice" in worker.logs(), "the second message's refusal")
    assert len(damaged.records()) == 1
    assert damaged.content() == damaged.whole


def test_a_revoked_restore_leaves_everything_as_it_was(
    damaged: Damaged, env: dict[str, str], celery_node: NodeFactory, sender: Celery
) -> None:
    nap = f"sleep 4711.{os.getpid()}"  # no other run's
    celery_node("worker", {**env, "RESTORE_POST_COMMAND": nap})
    result = sender.send_task("restore.run", kwargs={"backup": damaged.backup, "confirm": damaged.name})
    eventually(lambda: any(nap.split() == each.info["cmdline"] for each in psutil.process_iter(["cmdline"])), "the nap")
    sender.control.revoke(result.id, terminate=True)
    eventually(lambda: [each.state for each in damaged.records()] == [RestoreState.FAILED], "its record")
    assert damaged.records()[0].error == RestoreCancelledError.__name__
    assert damaged.content() == damaged.broken
    assert not any(nap.split() == each.info["cmdline"] for each in psutil.process_iter(["cmdline"]))
    require_nothing_left(damaged)
