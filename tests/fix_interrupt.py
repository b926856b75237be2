"""`interrupt_in`: a SIGINT that comes while a function of the main thread waits for another thread."""

from __future__ import annotations

import signal
import sys
import threading
import time
from types import FrameType


def interrupt_in(function: str) -> None:
    """Begin to look for the main thread to wait in a function, and send it SIGINT then."""
    threading.Thread(target=_interrupt, args=(function,), name="interrupter", daemon=True).start()


def _interrupt(function: str) -> None:
    main = threading.main_thread().ident or 0
    while not _waits_in(function, sys._current_frames()[main]):
        time.sleep(0.01)
    signal.pthread_kill(main, signal.SIGINT)


def _waits_in(function: str, frame: FrameType | None) -> bool:
    names = []
    while frame is not None:
        names.append(frame.f_code.co_name)
        frame = frame.f_back
    return "start" not in names and {"wait", function} <= set(names)
