"""What must be reached, with what was measured."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence

from bench.lab import Row, Target

MEMORY = ("memory of all our processes, any command and size", 200.0)
HEADS = ["what", "at least", "aim", "measured", ""]
_UNITS = {"wall": "s", "client_cpu": "CPU s", "server_cpu": "CPU s", "cpu": "CPU s"}
_NOTHING = 0.005  # a figure that is measured in hundredths


def median(rows: Iterable[Row], figure: str) -> float:
    """The median of one figure of some runs."""
    return statistics.median(row.figure(figure) for row in rows)


def verdicts(targets: Sequence[Target], rows: Sequence[Row]) -> list[list[str]]:
    """A line for each target whose rows are there: in words, at least, aim, measured, whether it is reached."""
    lines = [line for target in targets if (line := _verdict(target, rows))]
    ours: dict[tuple[str, float, str], list[Row]] = {}
    for row in rows:
        if row.ours:
            ours.setdefault((row.group, row.size, row.what), []).append(row)
    if ours:
        most, (group, size, what) = max((median(runs, "memory_mb"), key) for key, runs in ours.items())
        words, least = MEMORY
        measured = f"{most:.0f} MB ({group}, {size:,g}: {what})"
        lines.append([words, f"≤ {least:.0f} MB", "", measured, _reached(most, least, None)])
    return lines


def _verdict(target: Target, rows: Sequence[Row]) -> list[str] | None:
    own = _figure(target, target.ours, target.size, rows)
    if own is None:
        return None
    value = own
    if target.how != "value":
        peer = _figure(target, target.peer or target.ours, target.peer_size, rows)
        if peer is None:
            return None
        value = {"times": own / max(peer, _NOTHING), "faster": peer / max(own, _NOTHING), "more": own - peer}[
            target.how
        ]
    limits = [_words(target, limit) for limit in (target.least, target.aim)]
    return [target.what, *limits, _words(target, value, ""), _verdict_words(target, value)]


def _figure(target: Target, what: str, size: int, rows: Sequence[Row]) -> float | None:
    """The median of a contender at a size, which counts among those that the contender was measured at."""
    own = [row for row in rows if row.group == target.group and row.what == what]
    sizes = sorted({row.size for row in own})
    try:
        wanted = sizes[size]
    except IndexError:
        return None
    return median([row for row in own if row.size == wanted], target.figure)


def _words(target: Target, value: float | None, sign: str = "≤ ") -> str:
    if value is None:
        return ""
    unit = _UNITS.get(target.figure, "MB")
    figure = " CPU" if target.figure.endswith("cpu") else ""
    if target.how == "faster":
        return f"{value:.2f} × faster{figure}"
    if target.how == "times":
        return f"{sign}{value:.2f} ×{figure}"
    number = f"{value:.2f}" if unit != "MB" else f"{value:.0f}"
    return f"+ {number} {unit}" if target.how == "more" else f"{sign}{number} {unit}"


def _verdict_words(target: Target, value: float) -> str:
    turn = -1 if target.how == "faster" else 1
    least, aim = (None if limit is None else turn * limit for limit in (target.least, target.aim))
    return _reached(turn * value, least, aim)


def _reached(value: float, least: float | None, aim: float | None) -> str:
    if least is None and aim is None:
        return ""
    if aim is not None and value <= aim:
        return "aim reached"
    if least is None or value <= least:
        return "reached"
    return "**not reached**"
