"""How time and memory grow with what a stranger wrote: ``python -m bench.hostile``. No server is needed.

Each input is read at one, two and four times its size; what is linear takes one, two and four times as long.
"""

from __future__ import annotations

import io
import json
import time
import tracemalloc
from collections import deque
from collections.abc import Callable
from pathlib import Path

import zstandard

from app.archive.inspect.content import content_of
from app.archive.inspect.lint import lint
from app.archive.inspect.needs import needs_of
from app.archive.reader import Archive, build_index
from app.domain.backup import Codec
from app.log import Redactor

RESULTS = Path(__file__).parent / "results" / "hostile.json"
GROWTH = (1, 2, 4)
_PARTS = 20_000
_MEBIBYTES = 25
_LAST = b"\n--\n-- PostgreSQL database dump complete\n--\n\n"
Input = Callable[[int], bytes]
INPUTS: dict[str, Input] = {
    "a header that holds headers": lambda times: b"-- Name: a" + b"; Type: A; Schema:" * _PARTS * times + b"\n",
    "headers": lambda times: b"-- Name: a; Type: A; Schema: b; Owner: c\n" * (_PARTS // 5) * times,
    "dollar quotes in a comment": lambda times: (
        b"CREATE TABLE a /* " + b"".join(b"$a%d$ " % number for number in range(_PARTS * times)) + b" */ (b int);\n"
    ),
    "words of one statement": lambda times: b"CREATE VIEW a AS SELECT " + b"1 + " * _PARTS * times + b"1;\n",
    "literals of one statement": lambda times: b"INSERT INTO a VALUES " + b"(1, E'\\''), " * _PARTS * times + b"(1);\n",
    "rows by INSERT": lambda times: b"INSERT INTO a VALUES (1, 'x', NULL);\n" * (_PARTS // 5) * times,
    "rows and SQL in turns, packed": lambda times: b"".join(
        b"CREATE TABLE a%d (b int);\nCOPY a%d (b) FROM stdin;\n1\n\\.\n" % (number, number)
        for number in range(_PARTS // 10 * times)
    ),
    "a long literal, packed": lambda times: b"INSERT INTO a VALUES ('" + b"x" * (_MEBIBYTES << 20) * times + b"');\n",
}
LOGGED = {"urls": "a://a:", "words": "password=' ", "letters": "a"}


def main() -> None:
    """Measure all of it."""
    figures = {
        name: _grown(lambda times, make=make, name=name: _read(make(times), _codec(name)))
        for name, make in INPUTS.items()
    }
    for name, part in LOGGED.items():
        figures[f"logged {name}"] = _grown(lambda times, part=part: _logged(part * _PARTS * times))
    RESULTS.write_text(json.dumps(figures, indent=1) + "\n")
    print(f"{'input':32}{'seconds':>24}{'MiB held':>24}")
    for name, rows in figures.items():
        seconds, held = ("".join(f"{row[kind]:8.2f}" for row in rows) for kind in ("seconds", "mebibytes"))
        print(f"{name:32}{seconds}{held}")


def _codec(name: str) -> Codec:
    return Codec.ZSTD if name.endswith("packed") else Codec.NONE


def _grown(work: Callable[[int], Callable[[], None]]) -> list[dict[str, float]]:
    rows = []
    for times in GROWTH:
        ready = work(times)
        begun = time.process_time()
        ready()
        seconds = time.process_time() - begun
        tracemalloc.start()
        ready()
        held = tracemalloc.get_traced_memory()[1] / (1 << 20)
        tracemalloc.stop()
        rows.append({"times": times, "seconds": round(seconds, 3), "mebibytes": round(held, 1)})
    return rows


def _read(text: bytes, codec: Codec) -> Callable[[], None]:
    data = text + _LAST
    packed = zstandard.ZstdCompressor(level=19).compress(data) if codec is Codec.ZSTD else data

    def read() -> None:
        source = Archive(lambda: io.BytesIO(packed), codec, build_index(io.BytesIO(packed), codec))
        lint(source)
        needs_of(source)
        content_of(source)
        for _, run in source.runs():  # as a load does
            deque(source.joined(run), maxlen=0)

    return read


def _logged(text: str) -> Callable[[], None]:
    redactor = Redactor(["a secret that is nowhere"])
    return lambda: redactor(None, "", {"event": "task received", "args": [text]}) and None


if __name__ == "__main__":
    main()
