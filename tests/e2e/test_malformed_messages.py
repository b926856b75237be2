"""Whatever somebody puts into the broker: it is rejected and told, and the worker goes on."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
import redis
from celery import Celery

from tests.fix_celery import NOTHING_DUE, NodeFactory, eventually

pytestmark = pytest.mark.e2e
TASK = {"task": "backup.prune", "id": "a", "lang": "py"}
EMPTY = "[[], {}, {}]"
DEEP = "[" * 50_000 + "]" * 50_000


def message(body: str | bytes, headers: Any = None, content: str = "application/json", **properties: Any) -> str:
    """A message as kombu writes it into a list of a Redis."""
    known = {
        "delivery_tag": "a-tag",
        "delivery_info": {"exchange": "", "routing_key": "backup"},
        "body_encoding": "base64",
        "delivery_mode": 2,
        "priority": 0,
    }
    raw = body.encode() if isinstance(body, str) else body
    return json.dumps(
        {
            "body": base64.b64encode(raw).decode(),
            "content-encoding": "utf-8",
            "content-type": content,
            "headers": TASK if headers is None else headers,
            "properties": known | properties,
        }
    )


NO_MESSAGE = ["\xff garbage", '"x"', "1", "null", "[]", "{}", DEEP, '{"properties": null, "headers": {}, "body": "x"}']
NO_MESSAGE += [
    message(EMPTY, delivery_info="x"),
    message(EMPTY, delivery_tag=None),
    message(EMPTY, body_encoding="rot13"),
    message(EMPTY).replace('"body": "', '"body": "x'),
    message(EMPTY, headers=["x"]),
    message(EMPTY, headers="x"),
]
NO_TASK = [message(body) for body in ('"x"', "1", "null", "{}", "[]", "[1, 2, 3]", "{{{", DEEP, "NaN", b"\xff\xfe")]
NO_TASK += [message("x", content=content) for content in ("application/x-python-serialize", "foo/bar")]
NO_TASK += [message('{"task": "backup.prune"}', headers={}), message('["abc", "def", {}]')]
NO_TASK += [
    message(EMPTY, headers=TASK | {name: value})
    for name, value in (
        ("task", ["x"]),
        ("task", 1),
        ("id", ["x"]),
        ("id", None),
        ("expires", {}),
        ("timelimit", "x"),
        ("timelimit", ["a", "b"]),
        ("retries", "x"),
        ("stamped_headers", 5),
        ("group_index", "x"),
        ("shadow", [1]),
        ("ignore_result", "x"),
    )
]
TAKEN_BY_CELERY = [
    message(EMPTY, headers=TASK | {"eta": "never", "id": "b"}),
    message(EMPTY, headers=TASK | {"expires": "never", "id": "c"}),
]


def test_no_message_ends_the_worker(broker_url: str, celery_node: NodeFactory, tmp_path: Path) -> None:
    env = {
        **NOTHING_DUE,
        "DATABASE_URL": "postgresql://me@127.0.0.1:1/app",
        "BACKUP_DIR": str(tmp_path / "backups"),
        "CELERY_BROKER_URL": broker_url,
    }
    worker = celery_node("worker", env)
    pid = worker.pid
    with redis.Redis.from_url(broker_url) as client, Celery("sender", broker=broker_url, backend=broker_url) as sender:
        for text in ('"x"', "garbage", DEEP, message(EMPTY)):
            eventually(lambda text=text: client.publish("/0.celery.pidbox", text), "somebody who listens")
        client.lpush("backup", *(text.encode("latin-1") for text in [*NO_MESSAGE, *NO_TASK, *TAKEN_BY_CELERY]))
        last = sender.send_task("backup.prune", kwargs={"nonsense": 1}, queue="backup")
        with pytest.raises(Exception, match="nonsense"):
            last.get(timeout=30)
        assert sender.control.ping(timeout=5, limit=1), "the way of `celery control` is open"
        assert client.llen("backup") == 0
    assert worker.status == "running"
    assert worker.pid == pid
    said = worker.logs()
    assert "Unrecoverable" not in said
    assert said.count("backup message rejected") >= len(NO_MESSAGE) + len(NO_TASK)
    assert "Connection to broker lost" not in said
