"""Compare ARM with joint training, single modalities and its strongest rivals, each under three decision rules.

    python benchmarks/zoo/train.py --work FOLDER && python benchmarks/zoo/read.py --work FOLDER
    python benchmarks/arm/tables.py --work FOLDER

Writes ``summary.md`` (test scores and mean ranks), ``shift.md`` (one modality damaged), ``probes.md`` (each encoder),
``headroom.md`` (each encoder against one trained alone), ``aims.md`` (what ARM should hold, data set by data set),
``rates.md`` (each modality alone at three learning rates), ``lead.md`` (what of the lead over DGL is whose, if FOLDER
has a study of `BARE` in ``control``), ``table.csv``, ``table.md``, ``table.tex`` and ``runs.jsonl`` beside this file. A
row named after the method alone has the method's own rule: the fused head, for ARM the dynamic one.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from scipy import stats

HERE: Final = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "zoo"))

from tables import load, plain, summary_of  # noqa: E402
from train import RATES, SELECTION, base_config, variant  # noqa: E402

from counterpoise.report import write_tables  # noqa: E402
from counterpoise.report.analysis.statistics import Paired, crossed_error, paired_difference, summarise  # noqa: E402
from counterpoise.runs import RowId, RunRecord, write_records  # noqa: E402

ROWS: Final = ("joint", "uniform", "mmpareto", "dgl", "qmf", "modality-dropout", "corruption", "arm")
STRONG: Final = ("uniform", "mmpareto", "dgl", "qmf")
"""Rivals that ARM is held against set by set, under its own rule."""
BARE: Final = "arm[fusion=false, resampling=false, gamma=0.0]"
"""ARM's loss alone: with plain labels it is DGL, bit for bit, where a sum over modalities says it all (a test)."""


def rule_of(record: RunRecord) -> str:
    """Return the rule of the row that ``compare`` would give."""
    own = {"arm": "dynamic", "unimodal": "unimodal", "unimodal-ensemble": "ensemble"}.get(record.method, "fused")
    return "default" if record.rule == own else record.rule


def row_name(method: str, rule: str) -> str:
    return method if rule == ("dynamic" if method == "arm" else "fused") else f"{method} ({rule})"


def value(rows: Sequence[RunRecord], data: str, label: str, metric: str, m: str | None = None) -> dict[int, float]:
    return {r.seed: 100 * r.value(metric, m) for r in rows if (r.data, r.label) == (data, label)}


def difference(
    rows: Sequence[RunRecord], data: str, ours: str, theirs: str, metric: str, m: str | None = None
) -> Paired:
    return paired_difference(value(rows, data, ours, metric, m), value(rows, data, theirs, metric, m))


def over_samples(work: Path, data: str, method: str, alone: str | None) -> float:
    """Return the standard error over seeds and test samples of ARM less a row, in points."""
    from read import config_of, home_of

    def right(method: str, rule: str, alone: str | None) -> dict[int, np.ndarray]:
        found = {}
        folder = work / home_of(data)
        for entry in json.loads((folder / "chosen.json").read_text()):
            if entry["method"] != method or entry["args"].get("modality") != alone:
                continue
            for config in entry["fused" if rule == "fused" else "calibrated"]:
                file = folder / config_of(config).key("study") / f"correct-{rule}.npz"
                found[config["seed"]] = np.load(file)[data]
        return found

    ours = right("arm", "dynamic", None)
    other = right(method, "unimodal" if alone else "fused", alone)
    seeds = sorted(ours.keys() & other.keys())
    return 100 * crossed_error(np.stack([ours[s] - other[s].astype(float) for s in seeds]))


def plus_minus(d: Paired) -> str:
    return f"{d.diff:+.1f} ± {d.se:.1f}" if math.isfinite(d.se) else f"{d.diff:+.1f}"


def markdown(header: Sequence[str], body: Sequence[Sequence[str]]) -> list[str]:
    rule = "|---|" + "---:|" * (len(header) - 1)
    return ["| " + " | ".join(header) + " |", rule, *("| " + " | ".join(line) + " |" for line in body)]


def shift(rows: Sequence[RunRecord], sets: Sequence[str]) -> str:
    """Return accuracy with one modality damaged, and what ARM gains on each row, paired by seed."""
    labels = list(dict.fromkeys(r.label for r in rows if r.row.modality is None))
    body = []
    for x in labels:
        means = [summarise(list(value(rows, d, x, "accuracy_corrupted").values())).mean for d in sets]
        gaps = [difference(rows, d, "arm", x, "accuracy_corrupted").diff for d in sets]
        last = ["–", "–"] if x == "arm" else [f"{sum(gaps) / len(gaps):+.1f}", f"{sum(g > 0 for g in gaps)}"]
        body.append([x, *(f"{v:.1f}" for v in (*means, sum(means) / len(means))), *last])
    text = (
        "Mean test accuracy (%) over noise of 0.5, 1 and 2 standard deviations, zeros and another sample's input, of "
        "each modality in turn; mean over five seeds. The last columns: the mean of the paired differences of `arm` "
        f"to the row, and on how many of the {len(sets)} data sets it is ahead."
    )
    header = ["method", *sets, "mean", "arm ahead by", "on sets"]
    return "\n".join(["# One modality damaged at test", "", text, "", *markdown(header, body)]) + "\n"


def dominant(rows: Sequence[RunRecord], data: str) -> list[str]:
    """Return the modalities of a data set, the one that does best alone first."""
    names = {r.row.modality for r in rows if r.data == data and r.row.modality is not None}
    return sorted(names, key=lambda m: -summarise(list(value(rows, data, f"unimodal:{m}", "accuracy").values())).mean)


def probes(rows: Sequence[RunRecord], sets: Sequence[str]) -> str:
    """Return each encoder's linear probe inside ARM less inside joint training."""
    body = []
    for d in sets:
        first, *others = dominant(rows, d)
        cells = [f"{m} {plus_minus(difference(rows, d, 'arm', 'joint', 'probe', m))}" for m in others]
        lead = difference(rows, d, "arm", "joint", "probe", first)
        body.append([d, f"{first} {plus_minus(lead)}", ", ".join(cells)])
    text = (
        "Linear probe of each encoder inside ARM less inside joint training: points of test accuracy, paired by seed, "
        "mean ± standard error. The dominant modality is the one that does best alone."
    )
    return "\n".join(["# Encoders", "", text, "", *markdown(["data", "dominant", "the others"], body)]) + "\n"


def headroom(rows: Sequence[RunRecord], sets: Sequence[str]) -> str:
    """Return the linear probe of each encoder less that of a network trained on its modality alone."""
    inside = ("joint (calibrated)", "uniform (calibrated)", "mmpareto (calibrated)", "dgl (calibrated)", "arm")
    body = []
    for d in sets:
        for m in dominant(rows, d):
            alone = value(rows, d, f"unimodal:{m}", "probe", m)
            cells = []
            for x in inside:
                has = all(not math.isnan(r.value("probe", m)) for r in rows if (r.data, r.label) == (d, x))
                gap = paired_difference(value(rows, d, x, "probe", m), alone) if has else None
                cells.append(plus_minus(gap) if gap else "")
            mean = summarise(list(alone.values())).mean
            body.append([d, m, f"{mean:.1f}", *cells])
    text = (
        "Linear probe of each encoder less that of a network trained on its modality alone (test accuracy in %, and "
        "points, paired by seed, mean ± standard error). All of them tuned by the calibrated rule (alone: by their "
        "own); networks trained alone have nothing held out. Empty: not taken."
    )
    header = ["data", "modality", "alone", *(x.removesuffix(" (calibrated)") for x in inside)]
    return "\n".join(["# What is left to reinforce", "", text, "", *markdown(header, body)]) + "\n"


def rates(rows: Sequence[RunRecord], sets: Sequence[str], work: Path) -> str:
    """Return the unimodal validation score of each modality at each learning rate, and the rate chosen for ARM."""
    body = []
    for d in sets:
        chosen = next(e for e in json.loads((work / d / "chosen.json").read_text()) if e["method"] == "arm")
        for m in sorted(dominant(rows, d)):
            config = base_config(d, "unimodal", {"modality": m})
            files = [work / d / variant(config, rate).key("study") / "scores.json" for rate in RATES]
            scores = [100 * json.loads(f.read_text())["val:calibrated"] for f in files]
            ours = chosen["calibrated"][0]["optim"]["lr"] / config.optim.lr
            body.append([d, m, *(f"{s:.1f}" for s in scores), f"{ours:g}"])
    text = (
        "Validation score (%) of a network trained on one modality alone, with 1, 3 and 9 times the recipe's learning "
        "rate (one seed), and the factor that validation chose for ARM, whose encoders all get the same."
    )
    header = ["data", "modality", *(f"× {rate:g}" for rate in RATES), "ARM's"]
    return "\n".join(["# One learning rate for all encoders", "", text, "", *markdown(header, body)]) + "\n"


def lead(rows: Sequence[RunRecord], sets: Sequence[str]) -> str:
    """Return the gain of label smoothing over DGL, and that of fusion weights, re-sampling and loss weights on top."""
    rules = ("fused", "calibrated", "dynamic")
    names = {"dgl": [row_name("dgl", r) for r in rules], "arm": [row_name("arm", r) for r in rules]}
    pairs = [(f"bare ({r})", x) for r, x in zip(rules, names["dgl"], strict=True)]
    pairs += [(x, f"bare ({r})") for r, x in zip(rules, names["arm"], strict=True)]
    gaps = {
        k: [[difference(rows, d, a, b, k) for a, b in pairs] for d in sets] for k in ("accuracy", "accuracy_corrupted")
    }
    body = [[d, *(plus_minus(g) for g in line)] for d, line in zip(sets, gaps["accuracy"], strict=True)]
    for title, key in (("mean", "accuracy"), ("mean, one damaged", "accuracy_corrupted")):
        body.append([title, *(f"{np.mean([g.diff for g in column]):+.1f}" for column in zip(*gaps[key], strict=True))])
    text = (
        f"Points of test accuracy, paired by seed, mean ± standard error. Bare: `{BARE}`, tuned and read as the others "
        "are. With plain labels it is DGL, bit for bit, where a sum over modalities says it all; so the first three "
        "columns are the smoothing's, the last three fusion weights', loss weights' and re-sampling's."
    )
    header = ["data", *(f"bare less DGL, {r}" for r in rules), *(f"ARM less bare, {r}" for r in rules)]
    return "\n".join(["# Whose the lead over DGL is", "", text, "", *markdown(header, body)]) + "\n"


def aims(rows: Sequence[RunRecord], sets: Sequence[str], work: Path) -> str:
    """Return what ARM should hold, data set by data set."""
    body = []
    below = [0, 0]
    for d in sets:
        first = dominant(rows, d)[0]
        best = f"unimodal:{first}"
        to_joint, to_best = (difference(rows, d, "arm", x, "accuracy") for x in ("joint", best))
        wider = [over_samples(work, d, "joint", None), over_samples(work, d, "unimodal", first)]
        same = [difference(rows, d, "arm", f"{x} (dynamic)", "accuracy") for x in STRONG]
        damaged = difference(rows, d, "arm", "joint", "accuracy_corrupted")
        marks = ["below" if g.diff < -g.se else "" for g in (to_joint, to_best)]
        below = [count + bool(mark) for count, mark in zip(below, marks, strict=True)]
        body.append(
            [
                d + ("" if d in SELECTION else " \\*"),
                f"{plus_minus(to_joint)} (± {wider[0]:.1f})" + (f" **{marks[0]}**" if marks[0] else ""),
                f"{first} {plus_minus(to_best)} (± {wider[1]:.1f})" + (f" **{marks[1]}**" if marks[1] else ""),
                *(plus_minus(g) for g in same),
                plus_minus(damaged),
            ]
        )
    text = (
        "ARM (its own rule) less the row of the column: points of test accuracy, paired by seed, mean ± standard error "
        "over five seeds (in brackets: over seeds and test samples). **below**: by more than one standard error over "
        "seeds. \\*: formulations were not chosen on this data set."
    )
    degrees = to_joint.n - 1
    chance = float(stats.t.cdf(-1, df=degrees))
    last = (
        "A row that is no different from another in truth is below it by more than one standard error in "
        f"{100 * chance:.0f} % of such comparisons (t, {degrees} degrees of freedom), so on {chance * len(sets):.1f} "
        f"of {len(sets)} sets; ARM is below joint training on {below[0]}, below the best single modality on {below[1]}."
    )
    header = ["data", "joint", "best single modality", *(f"{x} (dynamic)" for x in STRONG), "joint, one damaged"]
    return "\n".join(["# What ARM should hold", "", text, "", *markdown(header, body), "", last]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    found, _ = load(options.work, options.seeds)
    chosen = [r for r in found if r.method in (*ROWS, "unimodal", "unimodal-ensemble")]
    rows = [plain(r, rule_of(r)) for r in chosen]
    wanted = {r.label for r in rows if r.row.modality is None}
    sets = [
        d
        for d in dict.fromkeys(r.data for r in rows)
        if wanted <= {r.label for r in rows if r.data == d} and "arm" in wanted
    ]
    control, _ = load(options.work / "control", options.seeds)
    bare = [dataclasses.replace(plain(r), row=RowId("bare", rule=r.rule)) for r in control]
    rows = sorted((r for r in rows if r.data in sets), key=lambda r: sets.index(r.data))
    write_records(HERE / "runs.jsonl", rows)
    write_tables([dataclasses.replace(r) for r in rows], HERE)
    (HERE / "summary.md").write_text(f"# All data sets\n\n{summary_of((HERE / 'table.md').read_text())}\n")
    for name, text in (
        ("shift", shift(rows, sets)),
        ("probes", probes(rows, sets)),
        ("headroom", headroom(rows, [d for d in sets if not d.endswith("-babble")])),
        ("aims", aims(rows, sets, options.work)),
        ("rates", rates(rows, [d for d in sets if not d.endswith("-babble")], options.work)),
        *([("lead", lead(rows + bare, sets))] if bare else []),
    ):
        (HERE / f"{name}.md").write_text(text)
    print(len(sets), "data sets,", len(rows), "records")


if __name__ == "__main__":
    main()
