"""What the signals of Celery are used for, as far as it needs no broker."""

from pathlib import Path

from celery import signals

from app.bootstrap import bootstrap
from tasks.application import make_app
from tasks.signals import show_that_beat_lives

URL = "postgresql://app@db/residency"


class Beat:
    """As much of beat as the signal is sent with."""

    def __init__(self, **environ: str) -> None:
        self.app = make_app(bootstrap({"DATABASE_URL": URL} | environ))


def test_beat_touches_its_file_when_the_broker_took_a_message(tmp_path: Path) -> None:
    file = tmp_path / "alive"
    before = list(signals.after_task_publish.receivers or ())
    show_that_beat_lives(Beat(BEAT_ALIVE_FILE=str(file)))
    try:
        assert not file.exists()
        signals.after_task_publish.send(sender="schedule.catch_up")
        assert file.exists()
    finally:
        signals.after_task_publish.receivers = before


def test_beat_touches_nothing_unless_asked_to() -> None:
    before = list(signals.after_task_publish.receivers or ())
    show_that_beat_lives(Beat())
    assert list(signals.after_task_publish.receivers or ()) == before
