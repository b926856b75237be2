"""What `make coverage` prints: the share of each file's lines and branches, and what is missing below 92 %."""

from __future__ import annotations

import io
import sys

import coverage

WANTED = 92.0


def main() -> None:
    """Print the whole report, then the files below the mark with their missing lines."""
    measured = coverage.Coverage()
    measured.load()
    total = measured.report(file=sys.stdout, show_missing=False)
    low = [name for name in sorted(measured.get_data().measured_files()) if _share(measured, name) < WANTED]
    print(f"\n{total:.1f} % of lines and branches; {len(low)} files below {WANTED:.0f} %:")  # noqa: T201
    if low:
        measured.report(include=low, show_missing=True, file=sys.stdout)


def _share(measured: coverage.Coverage, name: str) -> float:
    try:
        return measured.report(include=[name], file=io.StringIO())
    except coverage.exceptions.CoverageException:
        return 100.0  # nothing in it to run


if __name__ == "__main__":
    main()
