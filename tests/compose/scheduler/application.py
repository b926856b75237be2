"""A stand-in for the scheduler's Celery application: a task twice a second, which works in the database."""

import os
from urllib.parse import quote

import psycopg
from celery import Celery

app = Celery("scheduler", broker=f"redis://:{quote(os.environ['REDIS_PASSWORD'], safe='')}@redis:6379/0")
app.conf.task_ignore_result = True
app.conf.beat_schedule = {"often": {"task": "heartbeat", "schedule": 0.5}}


@app.task(name="heartbeat")
def heartbeat() -> None:
    """Leave a row, as its backend does."""
    with psycopg.connect("", autocommit=True) as connection:  # where, says libpq's environment
        connection.execute("INSERT INTO heartbeats (at, by) VALUES (now(), 'worker')")
