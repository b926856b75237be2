"""Tables of what was measured last.

``python -m bench.report`` prints the targets with what was measured; ``--all`` prints every table; ``--write`` fills
docs/performance.md between its markers, and draws docs/performance.svg, so that the text's figures are those that were
measured.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bench.lab import Row
from bench.modules import all_targets
from bench.targets import HEADS, median, verdicts

RESULTS = Path(__file__).parent / "results" / "latest.json"
DOCS = Path(__file__).parents[1] / "docs"
FIGURES = {
    "wall": "wall s",
    "client_cpu": "client CPU s",
    "server_cpu": "server CPU s",
    "memory_mb": "peak MB",
    "backend_mb": "backend MB",
    "read_mb": "read MB",
    "file_mb": "file MB",
}
_PLOTTED = ("create", "replace", "dump", "load")


def main() -> None:
    """Print, or write."""
    parser = argparse.ArgumentParser(prog="python -m bench.report")
    parser.add_argument("--all", action="store_true", help="print every table")
    parser.add_argument("--write", action="store_true", help="fill docs/performance.md and draw its plot")
    options = parser.parse_args()
    kept = json.loads(RESULTS.read_text())
    if options.write:
        _write(kept)
    for name, text in sections(kept) if options.all else [("targets", targets(kept))]:
        print(f"\n{name}\n{text}")


def rows_of(kept: dict[str, Any]) -> list[Row]:
    """Every row of the file of results."""
    return [Row.from_json(name, row) for name, group in kept.items() for row in group["rows"]]


def targets(kept: dict[str, Any]) -> str:
    """What must be reached, with what was measured; and a warning if that was less than is meant."""
    scales = sorted({group["about"].get("scale", 1) for group in kept.values()} - {1})
    measured = " and ".join(f"{scale:g}" for scale in scales)
    note = f"\n\nMeasured at scale {measured}, which proves nothing: the targets are for scale 1." if scales else ""
    return table(HEADS, verdicts(all_targets(), rows_of(kept))) + note


def sections(kept: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Each table with the name of its marker."""
    yield "targets", targets(kept)
    for name, group in kept.items():
        about = ", ".join(f"{what} {value}" for what, value in group["about"].items())
        yield name, f"{costs([Row.from_json(name, row) for row in group['rows']])}\n\n({about})"


def costs(rows: Sequence[Row]) -> str:
    """A line for each contender at each size, medians; what was measured at several sizes says how it grew."""
    sizes = sorted({row.size for row in rows})
    grows = len(sizes) > 1
    heads = [*(["size"] if grows else []), "what", *FIGURES.values(), *(["CPU ×"] if grows else [])]
    lines = []
    for size in sizes:
        for what in dict.fromkeys(row.what for row in rows if row.size == size):
            runs = [row for row in rows if row.what == what and row.size == size]
            line = [what, *(_number(median(runs, figure), figure) for figure in FIGURES)]
            lines.append([f"{size:,g}", *line, _growth(runs, rows)] if grows else line)
    return table(heads, lines)


def _growth(runs: Sequence[Row], rows: Sequence[Row]) -> str:
    """How many times the CPU seconds at the contender's smallest size."""
    smallest = min(row.size for row in rows if row.what == runs[0].what)
    least = median([row for row in rows if row.what == runs[0].what and row.size == smallest], "cpu")
    return f"{median(runs, 'cpu') / least:.1f}" if least and runs[0].size != smallest else ""


def _number(value: float, figure: str) -> str:
    if figure in {"wall", "client_cpu", "server_cpu"}:
        return f"{value:.2f}"
    return f"{value:,.0f}" if value else ""


def table(heads: list[str], rows: list[list[str]]) -> str:
    """A table in Markdown: the first column to the left, the others to the right."""
    lines = [heads, ["---", *["--:"] * (len(heads) - 1)], *rows]
    return "\n".join("| " + " | ".join(re.sub(r"(?<!\\)\|", r"\\|", cell) for cell in line) + " |" for line in lines)


def bars(rows: Sequence[Row]) -> str:
    """A plot of the walls, ours dark."""
    parts, y = [], 20
    for group in _PLOTTED:
        runs = [row for row in rows if row.group == group]
        walls = {
            what: median([r for r in runs if r.what == what], "wall") for what in dict.fromkeys(r.what for r in runs)
        }
        if not walls:
            continue
        longest = max(walls.values())
        parts.append(f'<text x="10" y="{y}" font-weight="bold">{group}, {runs[0].size:,g} MB, seconds</text>')
        for what, wall in walls.items():
            y += 20
            color = "#1f5f8b" if any(row.ours for row in runs if row.what == what) else "#b8c4cc"
            label = what.replace("&", "&amp;").replace(">", "&gt;")
            parts.append(f'<text x="10" y="{y}">{label}</text>')
            parts.append(f'<rect x="300" y="{y - 11}" width="{wall / longest * 330:.0f}" height="14" fill="{color}"/>')
            parts.append(f'<text x="{306 + wall / longest * 330:.0f}" y="{y}">{wall:.1f}</text>')
        y += 36
    style = 'font-family="sans-serif" font-size="12"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" width="700" height="{y}" {style}>{"".join(parts)}</svg>\n'


def _write(kept: dict[str, Any]) -> None:
    page = DOCS / "performance.md"
    text = page.read_text()
    for name, content in sections(kept):
        before, marker, after = text.partition(f"<!-- {name} -->\n")
        if marker:
            text = f"{before}{marker}{content}\n<!-- end -->{after.partition('<!-- end -->')[2]}"
    page.write_text(text)
    (DOCS / "performance.svg").write_text(bars(rows_of(kept)))


if __name__ == "__main__":
    main()
