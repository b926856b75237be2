"""A stand-in for the scheduler's application: a backend that answers and works, and a task twice a second."""

import contextlib
import os
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import quote

import psycopg
from celery import Celery

app = Celery("scheduler", broker=f"redis://:{quote(os.environ['REDIS_PASSWORD'], safe='')}@redis:6379/0")
app.conf.task_ignore_result = True
app.conf.beat_schedule = {"often": {"task": "heartbeat", "schedule": 0.5}}


@app.task(name="heartbeat")
def heartbeat(by: str = "worker") -> None:
    """Leave a row."""
    with psycopg.connect("", autocommit=True) as connection:  # where, says libpq's environment
        connection.execute("INSERT INTO heartbeats (at, by) VALUES (now(), %s)", [by])


class Health(BaseHTTPRequestHandler):
    """Answers that all is well."""

    def do_GET(self) -> None:
        """Any address."""
        self.send_response(200)
        self.end_headers()


if __name__ == "__main__":
    Thread(target=ThreadingHTTPServer(("", 8000), Health).serve_forever, daemon=True).start()
    while True:
        with contextlib.suppress(psycopg.Error):
            heartbeat("backend")
        time.sleep(0.2)
