"""Effect of each named part of a method: all combinations, paired by data set and seed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import product

from counterpoise.report._format import p_text
from counterpoise.report.analysis.comparison import compare
from counterpoise.report.analysis.statistics import Paired, paired_difference, summarise
from counterpoise.runs import RunRecord

__all__ = ["ablation_table"]

Seeds = dict[int, float]


def ablation_table(records: Iterable[RunRecord], method: str, parts: Sequence[str]) -> str:
    """Return a Markdown page: every combination of a method's parts, and the effect of each part.

    Differences are paired by seed within a data set. The effect of a part is the difference between the scores with and
    without it, averaged over all combinations of the other parts, so that every effect uses all runs (a full factorial
    design).

    Args:
        records: Runs of the combinations; runs of other methods are ignored.
        method: Name of the method.
        parts: Names of its boolean hyper-parameters, which are on unless a configuration switches them off.

    Example:
        >>> from counterpoise.runs import Metric, RowId
        >>> def run(seed, on, score):
        ...     row = RowId("arm", {} if on else {"fusion": False})
        ...     return RunRecord(f"{seed}{on}", "digits", row, seed, metrics=[Metric("accuracy", score)])
        >>> page = ablation_table([run(s, on, 0.8 + on / 100) for s in (0, 1) for on in (0, 1)], "arm", ["fusion"])
        >>> print(page.splitlines()[-1])
        | digits | fusion | +1.0 ± 0.0 | – | 2 |
    """
    own = [r for r in records if r.method == method]
    rules = ", ".join(sorted({r.rule for r in own}))
    lines = [
        f"# The parts of `{method}`",
        "",
        f"Decision rule: {rules}, the same for all rows. Points of the test score; "
        "mean ± standard error over the seeds.",
        "",
        "| data | " + " | ".join(parts) + " | score | to none of them | p | to all of them | p |",
        "|---|" + ":---:|" * len(parts) + "---:|---:|---:|---:|---:|",
    ]
    effects: list[str] = []
    for data in dict.fromkeys(r.data for r in own):
        scores = _scores([r for r in own if r.data == data], parts)
        lines += _combination_lines(data, scores, parts)
        for k, part in enumerate(parts):
            gain = paired_difference(*_sides(scores, k))
            effects.append(f"| {data} | {part} | {' | '.join(_cells(gain))} | {gain.n} |")
    lines += [
        "",
        "## Effect of each part",
        "",
        "| data | part | with less without | p | seeds |",
        "|---|---|---:|---:|---:|",
        *effects,
    ]
    return "\n".join(lines) + "\n"


def _scores(records: Sequence[RunRecord], parts: Sequence[str]) -> dict[tuple[bool, ...], Seeds]:
    """Return the test scores in points by combination of parts and seed."""
    name = compare(records)[0].score
    scores: dict[tuple[bool, ...], Seeds] = {}
    for r in records:
        scores.setdefault(_on(r, parts), {})[r.seed] = 100 * r.value(name)
    return scores


def _combination_lines(data: str, scores: Mapping[tuple[bool, ...], Seeds], parts: Sequence[str]) -> list[str]:
    """Return one line of the table per combination that was run."""
    lines = []
    none, everything = (scores.get((value,) * len(parts), {}) for value in (False, True))
    for on in product((False, True), repeat=len(parts)):
        if on not in scores:
            continue
        s = summarise(list(scores[on].values()))
        cells = [data, *("✓" if x else "" for x in on), f"{s.mean:.1f} ± {s.se:.1f}"]
        for reference in (none, everything):
            cells += _cells(paired_difference(scores[on], reference)) if reference is not scores[on] else ["–", "–"]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _on(record: RunRecord, parts: Sequence[str]) -> tuple[bool, ...]:
    return tuple(record.row.arguments.get(part, True) is not False for part in parts)


def _sides(scores: Mapping[tuple[bool, ...], Seeds], k: int) -> tuple[Seeds, Seeds]:
    """Return by seed the mean over the combinations with part ``k`` and without it, for seeds that have all of them."""
    seeds = set.intersection(*(set(s) for s in scores.values()))

    def mean(value: bool) -> Seeds:
        rows = [s for on, s in scores.items() if on[k] is value]
        return {seed: sum(row[seed] for row in rows) / len(rows) for seed in sorted(seeds)} if rows else {}

    return mean(True), mean(False)


def _cells(d: Paired) -> list[str]:
    return [f"{d.diff:+.1f} ± {d.se:.1f}", p_text(d.p_value)] if d.n > 1 else ["–", "–"]
