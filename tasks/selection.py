"""Which of the benchmark's rows wins, and why each other one lost."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from tasks.constraints import Row, check_columns, violations
from tasks.schema import Constraints

TIE_BREAK: Final = "the higher fitness, then the smaller rss_mb, then the better objective, then the name"
HIGHER_IS_BETTER: Final = frozenset({"throughput", "streams_images_s"})


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
    losses = _losses(valid, constraints)
    best = min(losses.values(), default=0.0)
    tied = [row for row in valid if losses[row["candidate"]] <= best * (1 + constraints.margin)]
    winner = min(tied, key=lambda row: _rank(row, losses[row["candidate"]]), default=None)
    candidates = [
        {
            "candidate": row["candidate"],
            "satisfies_constraints": not problems[row["candidate"]],
            "reasons": [
                *(problems[row["candidate"]] or [_standing(row, winner, row in tied, len(tied), constraints)]),
                *_doubts(row, constraints, is_valid=not problems[row["candidate"]]),
            ],
        }
        for row in rows
    ]
    return {
        "winner": winner and winner["candidate"],
        "objective": constraints.objective,
        "weights": dict(constraints.weights) if constraints.objective == "weighted" else {},
        "margin": constraints.margin,
        "tie_break": TIE_BREAK,
        "constraints": constraints.model_dump(mode="json", include={"max", "min", "licence"}),
        "candidates": candidates,
        "nearest": [] if winner else _nearest(rows, constraints),
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
    objective = _named(selection["objective"], selection["weights"])
    lines += [
        "",
        f"Constraints: {', '.join(limits) or 'none'}.",
        f"Objective: {objective}. Within {_percent(selection['margin'])} of the best it is a tie, decided by {TIE_BREAK}.",
    ]
    return "\n".join([*lines, ""])


def _problems(row: Row, constraints: Constraints) -> list[str]:
    """Why the row cannot win."""
    if row["status"] != "ok":
        return [f"{row['status']}: {row['message']}"]
    unshipped = [] if row["shipped"] else ["not shipped: a reference, or an engine without locked requirements"]
    missing = [f"{column} not measured, which is the objective" for column in _unmeasured(row, constraints)]
    return [*unshipped, *missing, *(str(violation) for violation in violations(row, constraints))]


def _doubts(row: Row, constraints: Constraints, *, is_valid: bool) -> list[str]:
    """What the benchmark noticed of a row that it measured, as far as it matters here."""
    if row["status"] != "ok":
        return []
    doubts = ["its windows did not agree, so its latency is uncertain"] if row.get("is_stable") is False else []
    error, limit_ms = row.get("p99_error") or 0.0, constraints.max.get("p99_ms", float("inf"))
    is_close = error > 0 and limit_ms > 0 and abs(row["p99_ms"] / limit_ms - 1) <= error
    if error > constraints.margin and (is_close or (is_valid and "p99_ms" in _weights(constraints))):
        doubts.append(f"its p99_ms is known to ±{error:.1%}")
    if is_valid and constraints.max.get("rss_mb", float("inf")) < (row.get("streams_rss_mb") or 0.0):
        doubts.append(
            f"a service takes {row['streams_rss_mb']} MB with all its sessions at work ({row['streams']}): bound streams_rss_mb"
        )
    return [*doubts, *filter(None, [row["message"]])]


def _unmeasured(row: Row, constraints: Constraints) -> list[str]:
    """The columns of the objective that the row has no value of."""
    return [column for column in _weights(constraints) if row.get(column) is None]


def _weights(constraints: Constraints) -> dict[str, float]:
    """The columns that the objective looks at, with their weights."""
    if constraints.objective == "weighted":
        return {column: weight for column, weight in constraints.weights.items() if weight}
    return {constraints.objective: 1.0}


def _losses(rows: Sequence[Row], constraints: Constraints) -> dict[str, float]:
    """How far each row is from the best of each column, as a ratio of at least 1: the weighted mean over the columns."""
    weights = _weights(constraints)
    total = sum(weights.values())
    losses = {row["candidate"]: 0.0 for row in rows}
    for column, weight in weights.items():
        values = [max(float(row[column]), 1e-12) for row in rows]
        for row, value in zip(rows, values, strict=True):
            ratio = max(values) / value if column in HIGHER_IS_BETTER else value / min(values)
            losses[row["candidate"]] += weight / total * ratio
    return losses


def _rank(row: Row, loss: float) -> tuple[float, float, float, str]:
    return -float(row["fitness"]), float(row["rss_mb"]), loss, row["candidate"]


def _standing(row: Row, winner: Row | None, is_tied: bool, tied: int, constraints: Constraints) -> str:
    """What a valid row says for itself."""
    assert winner is not None
    own, its = (", ".join(f"{column} {each[column]}" for column in _weights(constraints)) for each in (row, winner))
    if row is winner:
        if tied == 1:
            return f"{own}, the best of those that meet the constraints; fitness {row['fitness']}"
        within = f"one of {tied} within {_percent(constraints.margin)} of the best"
        return f"{own}, {within}; fitness {row['fitness']}; chosen by {TIE_BREAK}"
    if is_tied:
        return f"{own}, a tie with the winner's {its}, decided by {TIE_BREAK}"
    return f"{own}, the winner has {its}"


def _percent(share: float) -> str:
    return f"{100 * share:g}%"


def _named(objective: str, weights: Mapping[str, float]) -> str:
    shares = ", ".join(f"{weight:g} of {column}" for column, weight in weights.items() if weight)
    return f"{objective} ({shares})" if shares else objective


def _nearest(rows: Sequence[Row], constraints: Constraints) -> list[str]:
    """A line for each candidate that could have won, the one that needs the fewest and smallest concessions first."""
    misses = []
    for row in rows:
        if row["status"] == "ok" and row["shipped"]:
            broken, missing = violations(row, constraints), _unmeasured(row, constraints)
            problems = [*(f"{column} not measured" for column in missing), *map(str, broken)]
            remedies = [f"choose another constraints.objective than {constraints.objective}"] * bool(missing)
            remedies += [each.remedy for each in broken]
            line = f"{row['candidate']}: {'; '.join(problems)}: {' and '.join(remedies)}"
            misses.append((len(broken) + len(missing), sum(each.excess for each in broken), row["candidate"], line))
    lines = [line for _, _, _, line in sorted(misses)]
    return lines or ["no candidate that ships was measured: see benchmark.md for what stopped each"]
