"""Tables and the plot from the figures of a run.

``python -m bench.report FILE`` writes them into docs/performance.md, between its markers, and docs/performance.svg, so
that the text's figures are those that were measured.
"""

from __future__ import annotations

import json
import re
import statistics
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parents[1] / "docs"
Figures = dict[str, dict[str, list[dict[str, Any]]]]
# What is compared, with what, at least, and the aim; how many times faster, unless the last word says otherwise.
TARGETS = (
    ("dump", "ours, zstd", "pg_dump | gzip", "4 x faster", "5 x"),
    ("dump", "ours, zstd", "pg_dump -Fd -j", "2.6 x faster", "3.2 x"),
    ("dump", "ours, zstd", "pg_dump | zstd -1 -T2", "not slower", "1.2 x"),
    ("dump", "ours, gzip", "pg_dump | gzip", "3.5 x faster", "4.5 x"),
    ("dump", "ours, none", "pg_dump > file", "1.5 x faster", "2.5 x"),
    ("load", "ours, zstd, with ANALYZE", "psql -f", "1.6 x faster", "2 x"),
    ("load", "ours, zstd, with ANALYZE", "pg_restore -j", "not slower", "1.2 x"),
    ("replace", "ours, replace with proof", "psql -f", "not slower", ""),
)


def median(rows: list[dict[str, Any]], what: str) -> float:
    return statistics.median(run[what] for run in rows)


def named(group: dict[str, list[dict[str, Any]]], start: str) -> list[dict[str, Any]]:
    return next(rows for name, rows in group.items() if name.startswith(start))


def table(heads: list[str], rows: list[list[str]]) -> str:
    lines = [heads, ["---", *["--:"] * (len(heads) - 1)], *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def costs(group: dict[str, list[dict[str, Any]]], base: str | None = None) -> str:
    """A line for each contender: medians."""
    first = named(group, base) if base else None
    rows = []
    for name, runs in group.items():
        wall = median(runs, "wall")
        size = median(runs, "bytes")
        row = [name, f"{wall:.2f}", f"{median(runs, 'client_cpu'):.2f}", f"{median(runs, 'server_cpu'):.2f}"]
        row += [f"{median(runs, 'memory_mb'):.0f}", f"{size / 1e6:.0f}" if size else ""]
        rows.append([*row, f"{median(first, 'wall') / wall:.2f}"] if first else row)
    heads = ["what", "wall s", "client CPU s", "server CPU s", "peak MB", "file MB"]
    return table([*heads, f"times faster than {base}"] if base else heads, rows)


def targets(figures: Figures) -> str:
    rows = []
    for group, ours, other, least, aim in TARGETS:
        if group in figures:
            own, others = named(figures[group], ours), named(figures[group], other)
            ratio = median(others, "wall") / median(own, "wall")
            rows.append([f"{group}: {ours} vs {other.removesuffix(' -j')}", least, aim, f"{ratio:.2f} x"])
    floor = median(named(figures["dump"], "the floor"), "wall")
    ratio = median(figures["dump"]["ours, zstd"], "wall") / floor
    rows.append(["dump: ours, zstd vs the floor", "≤ 2 x its time", "≤ 1.6 x", f"{ratio:.2f} x its time"])
    sizes = median(figures["dump"]["ours, zstd"], "bytes") / median(figures["dump"]["pg_dump | gzip"], "bytes")
    rows.append(["file: ours, zstd vs pg_dump | gzip", "no larger", "", f"{sizes:.2f} x its size"])
    ours_all = (
        median(rows, "memory_mb")
        for group in figures.values()
        for name, rows in group.items()
        if "ours" in name or name.startswith("read back") or name.endswith(" jobs")
    )
    if "merge" in figures:
        merge = median(figures["merge"]["ours, merge, 1 % differs"], "wall")
        ratio = merge / median(figures["merge"]["ours, load"], "wall")
        rows.append(["merge of 1 M rows, 1 % differs, vs their load", "≤ 2 x its time", "", f"{ratio:.2f} x its time"])
    rows.append(["peak memory of all our processes", "≤ 300 MB", "≤ 200 MB", f"{max(ours_all):.0f} MB"])
    return table(["what", "at least", "aim", "measured"], rows)


def sections(data: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Each table with the name of its marker."""
    figures: Figures = data["figures"]
    about = data["about"]
    yield "about", ", ".join(f"{name} {value}" for name, value in about.items())
    yield "targets", targets(figures)
    bases = {
        "dump": "pg_dump | gzip",
        "load": "psql -f",
        "replace": "psql -f",
        "merge": "ours, load",
        "small": "pg_dump > file",
        "commands": "python -c",
    }
    for group, contenders in figures.items():
        base = bases.get(group)
        yield group, costs(contenders, base)
    if "scan" in figures:
        speeds = [json.loads(run["said"])["mb_per_second"] for run in next(iter(figures["scan"].values()))]
        yield "scanner", f"{statistics.median(speeds):.0f} MB/s"


def show(file: Path) -> None:
    """Print all tables."""
    for name, text in sections(json.loads(file.read_text())):
        print(f"\n{name}\n{text}")


def bars(figures: Figures) -> str:
    """A plot of the walls, ours dark."""
    parts, y = [], 20
    for group in ("dump", "load", *(f"{verb} at {part}" for verb in ("dump", "load") for part in (0.1, 0.33))):
        contenders = figures.get(group)
        if contenders is None:
            continue
        longest = max((median(rows, "wall") for rows in contenders.values()), default=1)
        parts.append(f'<text x="10" y="{y}" font-weight="bold">{group}, seconds</text>')
        for name, rows in contenders.items():
            y += 20
            wall = median(rows, "wall")
            color = "#1f5f8b" if name.startswith("ours") else "#b8c4cc"
            label = name.replace("&", "&amp;").replace(">", "&gt;")
            parts.append(f'<text x="10" y="{y}">{label}</text>')
            parts.append(f'<rect x="230" y="{y - 11}" width="{wall / longest * 400:.0f}" height="14" fill="{color}"/>')
            parts.append(f'<text x="{236 + wall / longest * 400:.0f}" y="{y}">{wall:.1f}</text>')
        y += 36
    style = 'font-family="sans-serif" font-size="12"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" width="700" height="{y}" {style}>{"".join(parts)}</svg>\n'


def write(file: Path) -> None:
    """Fill the tables of docs/performance.md and draw the plot."""
    data = json.loads(file.read_text())
    page = DOCS / "performance.md"
    text = page.read_text()
    for name, content in sections(data):
        marked = re.compile(rf"(<!-- {re.escape(name)} -->\n).*?(<!-- end -->)", re.DOTALL)
        fill: Callable[[re.Match[str]], str] = lambda found, content=content: f"{found[1]}{content}\n{found[2]}"  # type: ignore[misc]  # noqa: E731
        text = marked.sub(fill, text)
    page.write_text(text)
    (DOCS / "performance.svg").write_text(bars(data["figures"]))


if __name__ == "__main__":
    write(Path(sys.argv[1]))
