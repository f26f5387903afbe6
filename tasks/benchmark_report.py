"""The benchmark as files: benchmark.json, .csv, .md, and accuracy against latency as a plot."""

import csv
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from matplotlib.figure import Figure

from sightline.contract import dump_json
from tasks import metrics
from tasks.schema import Constraints
from tasks.windows import WITHIN

JSON_FILE: Final = "benchmark.json"
PLOT_FILE: Final = "accuracy_latency.png"
COLOURS: Final = 10
"""Of Matplotlib's cycle."""
MARKERS: Final = "osD^vP"
"""Of candidates that ship; the next one where colours come again."""
TITLE: Final = 80
"""Characters of a line above the picture."""
FAR: Final = 2.0
"""How many times what an axis spans a bound may be away from it and still be in the picture."""
COLUMNS: Final = (
    "candidate", "engine", "precision", "threads", "batch", "shipped", "status", "message", "p50_ms", "p90_ms", "p95_ms",
    "p99_ms", "throughput", "cpu_percent", "rss_mb", "size_mb", "load_ms", "first_ms", "energy_j", "gpu_percent", "vram_mb",
    "bare_p50_ms", "video_fps", "streams", "streams_images_s", "streams_rss_mb", "samples", "windows", "is_stable",
    "p99_error", "parity_drop", "parity_error", "drop", "cost_per_million", "licence", "fitness",
)  # fmt: skip
READABLE: Final = (
    "p50_ms", "p95_ms", "p99_ms", "p99_error", "throughput", "bare_p50_ms", "streams_images_s", "video_fps", "cpu_percent",
    "rss_mb", "streams_rss_mb", "size_mb", "load_ms", "parity_drop", "drop",
)  # fmt: skip


def write(folder: Path, table: Mapping[str, Any]) -> None:
    """Writes the four files into `folder`.

    Args:
        folder: Where to.
        table: `machine`, `task`, `model`, and `rows`; a row need not have every column.
    """
    columns = list(dict.fromkeys([*COLUMNS, *(key for row in table["rows"] for key in row)]))
    rows = [{column: row.get(column) for column in columns} for row in table["rows"]]
    (folder / JSON_FILE).write_text(dump_json({**table, "rows": rows}), encoding="utf-8")
    flat = [_flatten(row) for row in rows]
    with (folder / "benchmark.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(key for row in flat for key in row)), lineterminator="\n")
        writer.writeheader()
        writer.writerows(flat)
    (folder / "benchmark.md").write_text(to_markdown(table, rows), encoding="utf-8")
    plot(folder / PLOT_FILE, rows, metrics.load(table["task"]).FITNESS)


def to_markdown(table: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> str:
    """The table that a person reads."""
    machine, metric = table["machine"], metrics.load(table["task"]).FITNESS
    head = ["candidate", metric, *READABLE, "status"]
    lines = [f"| {' | '.join(head)} |", f"|---|{'---:|' * (len(head) - 2)}---|"]
    for row in rows:
        status = row["status"] + (f": {row['message']}" if row["message"] else "")
        name = row["candidate"] if row["shipped"] else f"{row['candidate']} (reference)"
        cells = [name, *(_cell(row[column]) for column in ("fitness", *READABLE)), status.replace("|", "/")]
        lines.append(f"| {' | '.join(cells)} |")
    libraries = ", ".join(f"{name} {version}" for name, version in machine["libraries"].items())
    return "\n".join(
        [
            f"# Benchmark of {table['model']}",
            "",
            *lines,
            "",
            "Latency: bytes of an image file to its result (-b: of so many together), one request in flight, images of the "
            "validation split: means of each window's figure, without the smallest and the largest quarter of the windows. "
            "Candidates took turns, a window each. p99_error: the standard error of p99_ms, as a share of it. throughput: "
            "images/s of the same. bare_p50_ms: the model alone. streams_images_s: all sessions of a service busy. "
            "video_fps: frames of an MPEG-4 video, decoding included, on one thread. cpu_percent: 100 is one core. rss_mb: "
            "peak resident memory of the process with one session; streams_rss_mb: with as many as a service has, all busy. "
            "parity_drop: loss of the metric to the checkpoint on the images of the export's gate, or on all where that did "
            "not run this arithmetic. drop: the same to the reference, on the whole validation split.",
            *_unstable(rows),
            "",
            f"Machine: {machine['name']}, {machine['memory_gb']} GB, governor {machine['governor'] or 'unknown'}, "
            f"{machine['system']}, Python {machine['python']}, {libraries}.",
            "",
        ]
    )


def _unstable(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What is said of candidates whose windows did not come to agree."""
    names = [row["candidate"] for row in rows if row["status"] == "ok" and not row["is_stable"]]
    said = f"No three windows in turn of {', '.join(names)} were within {WITHIN:.0%}: the machine was busy."
    return ["", said] * bool(names)


def _flatten(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row with the engine's facts in columns of their own, at the end."""
    facts = row.get("facts") or {}
    return {key: value for key, value in row.items() if key != "facts"} | {f"facts/{key}": facts[key] for key in facts}


def _cell(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.4f}" if abs(value) < 1 else f"{value:.1f}"


def plot(
    path: Path,
    rows: Sequence[Mapping[str, Any]],
    metric: str,
    constraints: Constraints | None = None,
    selection: Mapping[str, Any] | None = None,
) -> None:
    """Accuracy against latency; with constraints, what they forbid of either is shaded, and who breaks any is hollow.

    Args:
        path: The PNG.
        rows: Of the benchmark.
        metric: What `fitness` is.
        constraints: Bounds on p99_ms, the metric and its drop are drawn, others named.
        selection: By them, of `tasks.selection`: the winner has a ring.
    """
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    measured = [row for row in rows if row["status"] == "ok"]
    chosen = selection or {"winner": None, "candidates": []}
    barred = {each["candidate"] for each in chosen["candidates"] if not each["satisfies_constraints"]}
    for index, row in enumerate(measured):
        colour, name, place = f"C{index % COLOURS}", row["candidate"], (row["p99_ms"], row["fitness"])
        if row["shipped"]:
            marker, face = MARKERS[index // COLOURS % len(MARKERS)], "none" if name in barred else colour
            axes.scatter(*place, marker=marker, facecolors=face, edgecolors=colour, label=name, zorder=3)
        else:
            axes.scatter(*place, marker="x", color=colour, label=name, zorder=3)
        if name == chosen["winner"]:
            axes.scatter(*place, s=160, facecolors="none", edgecolors="black", label="winner", zorder=2)
    limits = _limits(measured, metric, constraints) if constraints else {}
    if constraints:
        others = ", ".join(_not_drawn(metric, constraints))
        told = "hollow: breaks a constraint" + (f"; not drawn: {others}" if others else "")
        axes.set_title(textwrap.fill(told, TITLE), fontsize="small", loc="left")
    slowest = max([row["p99_ms"] for row in measured], default=1.0)
    axes.set(xlabel="p99 latency, ms", ylabel=metric, xlim=(0, 1.1 * slowest))
    if "p99_ms" in limits:
        _, edge, right, where = axis_with(limits["p99_ms"], 0.0, 1.1 * slowest)
        axes.axvspan(edge, right, color="tab:red", alpha=0.12, label=f"above {limits['p99_ms']:g} ms{where}")
        axes.set_xlim(0, right)
    if "fitness" in limits:
        low, edge, high, where = axis_with(limits["fitness"], *axes.get_ylim())
        axes.axhspan(low, edge, color="tab:orange", alpha=0.12, label=f"below {limits['fitness']:.4g}{where}")
        axes.set_ylim(low, high)
    axes.grid(alpha=0.3)
    if axes.get_legend_handles_labels()[0]:
        figure.legend(loc="outside right upper", fontsize="small")
    figure.savefig(path, dpi=120, metadata={"Software": None})


def axis_with(limit: float, low: float, high: float) -> tuple[float, float, float, str]:
    """The ends of an axis that shows a bound too, the bound between them, and a word where it is too far away for that."""
    far, near = FAR * (high - low), 0.05 * (high - low)
    if low - far <= limit <= high + far:
        return (low if low < limit else limit - near), limit, (high if limit < high else limit + near), ""
    return low, (low if limit < low else high), high, ", off the picture"


def _not_drawn(metric: str, constraints: Constraints) -> list[str]:
    """The bounds that the picture has no axes for."""
    most = [f"{name} at most {limit:g}" for name, limit in constraints.max.items() if name not in ("p99_ms", "drop")]
    least = [f"{name} at least {limit:g}" for name, limit in constraints.min.items() if name not in (metric, "fitness")]
    return [*most, *least, *([f"licence one of {', '.join(constraints.licence)}"] if constraints.licence else [])]


def _limits(rows: Sequence[Mapping[str, Any]], metric: str, constraints: Constraints) -> dict[str, float]:
    """The bounds that the picture has axes for; a drop is one from the reference."""
    limits = {"p99_ms": constraints.max["p99_ms"]} if "p99_ms" in constraints.max else {}
    least = [constraints.min[name] for name in (metric, "fitness") if name in constraints.min]
    if rows and "drop" in constraints.max and "drop" in rows[0]:
        least.append(rows[0]["fitness"] + rows[0]["drop"] - constraints.max["drop"])
    return limits | ({"fitness": max(least)} if least else {})
