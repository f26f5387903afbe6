"""Which of the benchmark's rows wins, and why each other one lost."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from tasks.constraints import Row, check_columns, violations
from tasks.schema import Constraints

TIE_BREAK: Final = "objective, then the higher fitness, then the smaller rss_mb, then the name"
HIGHER_IS_BETTER: Final = frozenset({"throughput"})


def choose(rows: Sequence[Row], constraints: Constraints) -> dict[str, Any]:
    """The selection, the same for the same rows in any order.

    Args:
        rows: Of the benchmark.
        constraints: What the winner must meet, and what it is best at.

    Returns:
        `winner` (None where there is none), `objective`, `tie_break`, `constraints`, `candidates` with `satisfies_constraints`
        and `reasons`, and the `nearest` misses where nobody wins.
    """
    check_columns(constraints, rows)
    rows = sorted(rows, key=lambda row: str(row["candidate"]))
    problems = {row["candidate"]: _problems(row, constraints) for row in rows}
    valid = [row for row in rows if not problems[row["candidate"]]]
    best = min(valid, key=lambda row: _rank(row, constraints.objective), default=None)
    candidates = [
        {
            "candidate": row["candidate"],
            "satisfies_constraints": not problems[row["candidate"]],
            "reasons": problems[row["candidate"]] or [_standing(row, best, constraints.objective)],
        }
        for row in rows
    ]
    return {
        "winner": best and best["candidate"],
        "objective": constraints.objective,
        "tie_break": TIE_BREAK,
        "constraints": constraints.model_dump(mode="json", exclude={"objective"}),
        "candidates": candidates,
        "nearest": [] if best else _nearest(rows, constraints),
    }


def to_markdown(selection: Mapping[str, Any]) -> str:
    """The selection that a person reads: a line for each candidate."""
    lines = [f"# {selection['winner'] or 'No candidate meets the constraints'}", ""]
    for entry in selection["candidates"]:
        verdict = "won" if entry["candidate"] == selection["winner"] else "lost"
        lines.append(f"- **{entry['candidate']}** {verdict}: {'; '.join(entry['reasons'])}")
    if selection["nearest"]:
        lines += ["", "The nearest misses:", "", *(f"- {line}" for line in selection["nearest"])]
    limits = [f"{key} at most {value:g}" for key, value in selection["constraints"]["max"].items()]
    limits += [f"{key} at least {value:g}" for key, value in selection["constraints"]["min"].items()]
    limits += (
        [f"licence one of {', '.join(selection['constraints']['licence'])}"] if selection["constraints"]["licence"] else []
    )
    lines += [
        "",
        f"Constraints: {', '.join(limits) or 'none'}.",
        f"Decided by: {TIE_BREAK}; objective {selection['objective']}.",
    ]
    return "\n".join([*lines, ""])


def _problems(row: Row, constraints: Constraints) -> list[str]:
    """Why the row cannot win."""
    if row["status"] != "ok":
        return [f"{row['status']}: {row['message']}"]
    unshipped = [] if row["shipped"] else ["the reference, which is not shipped"]
    return unshipped + [str(violation) for violation in violations(row, constraints)]


def _rank(row: Row, objective: str) -> tuple[float, float, float, str]:
    value = float(row[objective])
    return (-value if objective in HIGHER_IS_BETTER else value, -float(row["fitness"]), float(row["rss_mb"]), row["candidate"])


def _standing(row: Row, best: Row | None, objective: str) -> str:
    """What a valid row says for itself."""
    if best is None or row["candidate"] == best["candidate"]:
        return f"{objective} {row[objective]}, the best of those that meet the constraints; fitness {row['fitness']}"
    tie = ", a tie, decided by fitness, rss_mb or name" if row[objective] == best[objective] else ""
    return f"{objective} {row[objective]}, the winner has {best[objective]}{tie}"


def _nearest(rows: Sequence[Row], constraints: Constraints) -> list[str]:
    """A line for each candidate that could have won, the one that needs the fewest and smallest concessions first."""
    misses = []
    for row in rows:
        if row["status"] == "ok" and row["shipped"]:
            broken = violations(row, constraints)
            misses.append((len(broken), sum(each.excess for each in broken), row["candidate"], broken))
    lines = [
        f"{name}: {'; '.join(map(str, broken))}: {' and '.join(each.remedy for each in broken)}"
        for _, _, name, broken in sorted(misses, key=lambda miss: miss[:3])
    ]
    return lines or ["no candidate that ships was measured: see benchmark.md for what stopped each"]
