"""This project beside the standard tools, in interleaved runs: ``make bench`` and ``make bench-scale``.

``python -m bench.run [MODULE…]`` measures the modules named (`bench.modules`); ``quick`` and ``scale`` name some
together. BENCH_SCALE (1) multiplies all sizes, BENCH_RUNS (3) says how often each contender is run, BENCH_JOBS (the
CPUs) how many connections the parallel ones use. Each group of rows goes to bench/results/latest.json as soon as it is
measured, instead of the group's earlier rows; the targets are printed at the end.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from app.embedded.postgres import EmbeddedPostgres
from bench.lab import Lab, Row
from bench.modules import QUICK, SCALE, module
from bench.report import RESULTS, costs, targets

_SETS = {"quick": QUICK, "scale": SCALE}


def main() -> None:
    """Measure the modules that the arguments name."""
    names = [name for argument in sys.argv[1:] or ["quick"] for name in _SETS.get(argument, (argument,))]
    begun = time.monotonic()
    with _lab() as lab:
        for name in names:
            _measure(lab, name)
    print(f"\ntargets\n{targets(_kept())}\n\n{time.monotonic() - begun:.0f} s")


def _measure(lab: Lab, name: str) -> None:
    groups: dict[str, list[Row]] = {}
    for row in module(name).rows(lab):
        groups.setdefault(row.group, []).append(row)
        _keep(lab, row.group, groups[row.group])
    for group, rows in groups.items():
        print(f"\n{group}\n{costs(rows)}\n", flush=True)


def _keep(lab: Lab, group: str, rows: list[Row]) -> None:
    about = {
        "date": datetime.now(UTC).date().isoformat(), "machine": platform.machine(), "cpus": os.cpu_count(),
        "python": platform.python_version(), "scale": lab.scale, "runs": lab.runs, "jobs": lab.jobs,
    }  # fmt: skip
    RESULTS.parent.mkdir(exist_ok=True)
    kept = _kept() | {group: {"about": about, "rows": [row.to_json() for row in rows]}}
    RESULTS.write_text(json.dumps(kept, indent=1) + "\n")


def _kept() -> dict[str, Any]:
    return dict(json.loads(RESULTS.read_text())) if RESULTS.exists() else {}


@contextmanager
def _lab() -> Iterator[Lab]:
    scale, runs = float(os.environ.get("BENCH_SCALE", "1")), int(os.environ.get("BENCH_RUNS", "3"))
    jobs = int(os.environ.get("BENCH_JOBS", str(len(os.sched_getaffinity(0)))))
    with tempfile.TemporaryDirectory(prefix="residency-backup-bench-") as place:
        folder = Path(place)
        folder.chmod(0o755)
        with EmbeddedPostgres(folder / "postgres") as server:
            yield Lab(server, folder, jobs=jobs, runs=runs, scale=scale)


if __name__ == "__main__":
    main()
