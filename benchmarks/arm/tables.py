"""Write the tables of ARM and of the library's recipe from ``study.jsonl``.

    python benchmarks/arm/tables.py [--runs benchmarks/arm/study.jsonl]

- ``scores.md``: test accuracy of every row under the fused, the calibrated and the dynamic rule;
- ``corrupted.md``: the same with one modality corrupted;
- ``aim.md``: asymmetry on against off, all else equal;
- ``ablation.md``: one switch at a time;
- ``acts.md``: what each part does to encoders and samples, and the state of each modality;
- ``figures.md``: the paper's figures as numbers: gap, joint contribution, head of the dominant modality;
- ``ceiling.md``: what an oracle gains from learning rates and stopping per encoder (needs ``--work``).
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from scipy import stats
from speakers import NAME, open_set
from study import ORACLE, RATES, SETS, config_of, key_of, known_lines, shared_rate

from counterpoise.inference._exponents import fit_exponents
from counterpoise.methods.arm import ModalityState
from counterpoise.report.analysis.statistics import crossed_error

HERE: Final = Path(__file__).parent
RULES: Final = ("fused", "calibrated", "dynamic")
OFF: Final = "loss_weights=false,resampling=false"
ON, CONTROL, RECIPE = "arm", "uniform", "separated-experts"
SELECTION: Final = ("wikipedia", "kanji", "scene15", "smartwatch")
"""Data sets on splits of whose training data the formulation was chosen. utd-mhad and leaves100 are not blind either:
the protection of modalities that add to the others was chosen on such splits after a look at their test sets."""
SEEN: Final = (*SELECTION, "utd-mhad", "leaves100")
NAMES: Final = {
    "joint": "joint",
    "uniform": "uniform (ARM without its parts)",
    "arm": "arm",
    f"arm[{OFF}]": "fusion only",
    "arm[fusion=false,resampling=false]": "loss weights only",
    "arm[fusion=false,loss_weights=false]": "re-sampling only",
    f"arm[fusion=false,{OFF},smoothing=0.1]": "smoothing only",
    "separated-gradients": "separation only",
    "separated-experts[fusion=false]": "separation and smoothing",
    "separated-experts": "separated-experts",
}

Lines = Mapping[tuple[Any, ...], dict[str, Any]]


class Study:
    """The trainings, each row at the rate that validation chose for it, or all at one rate per data set.

    Args:
        lines: Trainings by data set, split, row, rate and seed.
        rates: Rates that every row was tried at.
        shared: Whether all rows have the rate with the best mean over them.
    """

    def __init__(self, lines: Lines, rates: Sequence[float] = RATES, *, shared: bool = False) -> None:
        self.lines = {k: v for k, v in lines.items() if k[1] is None and k[3] in rates}
        self.rates, self.shared = rates, shared
        known = {k[0] for k in self.lines if k[2] == ON}
        self.sets = [d for d in SETS if d in known]
        trained = {k[2] for k in self.lines}
        self.rows = [r for r in NAMES if r in trained]

    def rate(self, data: str, row: str) -> float | None:
        """Return the rate with the best validation score of seed 0."""
        if self.shared:
            return shared_rate(self.lines, data, self.rates)
        tried = {k[3]: v["scores"]["val:calibrated"] for k, v in self.lines.items() if k[0::2] == (data, row, 0)}
        return max(tried, key=lambda r: tried[r]) if len(tried) > 1 else None

    def runs(self, data: str, row: str) -> dict[int, dict[str, Any]]:
        """Return the trainings at that rate by seed."""
        rate = self.rate(data, row)
        return {k[4]: v for k, v in self.lines.items() if (k[0], k[2], k[3]) == (data, row, rate)}

    def complete(self, *rows: str) -> list[str]:
        """Return the data sets on which all rows have two seeds or more in common."""
        return [d for d in self.sets if len(set.intersection(*(set(self.runs(d, r)) for r in rows))) > 1]

    def scores(self, data: str, row: str, metric: str) -> dict[int, float]:
        """Return a metric by seed."""
        return {s: x["scores"][metric] for s, x in sorted(self.runs(data, row).items()) if metric in x["scores"]}

    def right(self, data: str, row: str, rule: str) -> dict[int, np.ndarray]:
        """Return which test samples are predicted rightly, by seed."""
        return {
            s: np.unpackbits(np.frombuffer(bytes.fromhex(x["right"][rule]), np.uint8))[: x["samples"]].astype(float)
            for s, x in self.runs(data, row).items()
        }

    def gain(self, data: str, ours: str, theirs: str, metric: str) -> np.ndarray:
        """Return the differences by seed."""
        a, b = self.scores(data, ours, metric), self.scores(data, theirs, metric)
        return np.array([a[s] - b[s] for s in sorted(a.keys() & b.keys())])


def mean_error(values: np.ndarray) -> tuple[float, float]:
    """Return the mean and its standard error."""
    return float(values.mean()), float(values.std(ddof=1) / math.sqrt(len(values))) if len(values) > 1 else math.nan


def signed(values: np.ndarray) -> str:
    mean, error = mean_error(values)
    return f"{mean:+.1f} ± {error:.1f}"


def markdown(title: str, text: str, header: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """Return a page with one table."""
    lines = ["| " + " | ".join(header) + " |", "|---|" + "---:|" * (len(header) - 1)]
    lines += ["| " + " | ".join(line) + " |" for line in body]
    return "\n".join([f"# {title}", "", text, "", *lines]) + "\n"


def alone(study: Study) -> list[str]:
    """Return the scores of the best modality alone: of the heads of separated encoders, which are trained alone."""
    cells = []
    for d in study.sets:
        runs = study.runs(d, "separated-gradients")
        heads = {m for x in runs.values() for m in x["scores"] if m.startswith("head:")}
        means = {m.removeprefix("head:"): np.mean([x["scores"][m] for x in runs.values()]) for m in heads}
        best = max(means, key=lambda m: means[m]) if means else ""
        cells.append(f"{means[best]:.1f} ({best})" if means else "")
    return cells


def score_lines(study: Study, kind: str) -> list[list[str]]:
    """Return a line per row and rule: a score on every data set, and how it compares with joint training."""
    body = []
    for row in study.rows:
        for rule in RULES:
            cells, gains = [], []
            for d in study.sets:
                values = list(study.scores(d, row, f"{kind}:{rule}").values())
                cells.append(f"{np.mean(values):.1f}" if len(values) > 1 else "")
                gain = study.gain(d, row, "joint", f"{kind}:{rule}")
                gains += [mean_error(gain)] if len(gain) > 1 else []
            below = sum(m < -e for m, e in gains)
            mean = f"{np.mean([m for m, _ in gains]):+.2f}" if gains else ""
            body.append([NAMES[row], rule, *cells, mean, f"{below} of {len(gains)}"])
    return body


def scores(study: Study) -> str:
    text = (
        "Test accuracy (%), mean over three seeds, learning rate chosen on validation samples for each row (3 or 9 "
        "times the recipe's). Every row holds out the same samples and is read under the same three rules. The last "
        "columns compare with joint training under the same rule: the mean difference, and on how many data sets the "
        f"row is below it by more than a standard error. {NAME}: test speakers that no other split has. First row: "
        "heads of separated gradients, whose encoders are those of unimodal training bit for bit (a test)."
    )
    header = ["method", "rule", *study.sets, "to joint", "below joint"]
    best = ["best modality alone", "unimodal", *alone(study), "", ""]
    return markdown("ARM and the recipe", text, header, [best, *score_lines(study, "test")])


def corrupted(study: Study) -> str:
    text = (
        "Accuracy (%) on about 300 test samples with one modality corrupted: mean over noise, zeros and other samples' "
        "inputs, one modality at a time, and over three seeds. The networks are those of the table without corruption; "
        "only the dynamic rule is fitted on corrupted samples. The last columns compare with joint training under the "
        "same rule."
    )
    header = ["method", "rule", *study.sets, "to joint", "below joint"]
    return markdown("One modality corrupted", text, header, score_lines(study, "damaged"))


def tested(study: Study, sets: Sequence[str], ours: str, theirs: str, rule: str) -> str:
    """Return the mean difference, its error over seeds and test samples, and the p-value, for a set of data sets."""
    means, variances = [], []
    for d in sets:
        a, b = study.right(d, ours, rule), study.right(d, theirs, rule)
        seeds = sorted(a.keys() & b.keys())
        table = np.stack([a[s] - b[s] for s in seeds])
        # Splits that differ by seed have other test samples: only the seeds are then drawn.
        paired = d != "kanji"
        error = mean_error(table.mean(1))[1]
        error = max(error, crossed_error(table)) if paired else error  # the latter is a difference, and can be 0
        means.append(100 * table.mean())
        variances.append((100 * error) ** 2)
    if not means:
        return "–"
    error = math.sqrt(sum(variances)) / len(means)
    if not error:
        return f"{np.mean(means):+.2f}"
    p = 2 * stats.norm.sf(abs(np.mean(means)) / error)
    return f"{np.mean(means):+.2f} ± {error:.2f} (p {f'= {p:.3f}' if p >= 0.001 else '< 0.001'})"


def comparisons(study: Study, pairs: Sequence[tuple[str, str]]) -> list[list[str]]:
    """Return a line per pair of rows and rule: the differences on every data set, their mean, and where it is below."""
    body = []
    for ours, theirs in pairs:
        sets = study.complete(ours, theirs)
        blind = [d for d in sets if d not in SEEN]
        for rule in RULES:
            gains = {d: study.gain(d, ours, theirs, f"test:{rule}") for d in sets}
            below = [d for d in sets if mean_error(gains[d])[0] < -mean_error(gains[d])[1]]
            cells = [signed(gains[d]) if d in sets else "" for d in study.sets]
            means = [tested(study, chosen, ours, theirs, rule) for chosen in (sets, blind)]
            body.append([f"{NAMES[ours]} less {NAMES[theirs]}", rule, *cells, *means, ", ".join(below) or "none"])
    return body


def aim(study: Study, same: Study) -> str:
    on_off = [(ON, CONTROL), (RECIPE, "separated-experts[fusion=false]")]
    text = (
        "Points of test accuracy, paired by seed. Single data sets: mean ± standard error over seeds. Means over data "
        "sets: standard error over seeds and test samples, two-sided p. Asymmetry on against off: both rows at one "
        "rate per data set, so that nothing else differs; below that, and against joint training, each row at the rate "
        "that validation chose for it with one seed, where part of a difference can be the luck of that choice. "
        f"The formulation was chosen on splits of the training data of {', '.join(SELECTION)}; leaves100 and utd-mhad "
        "had been looked at before its last change. Blind sets: those that are none of these six."
    )
    header = ["comparison", "rule", *study.sets, "mean", "mean of the blind sets", "below by more than an error"]
    body = comparisons(same, on_off)
    own = comparisons(study, [*on_off, (ON, "joint"), (RECIPE, "joint")])
    return markdown("Asymmetry on against off", text, header, [*body, *([f"{x[0]}, own rates", *x[1:]] for x in own)])


def ablation(study: Study) -> str:
    singles = [r for r in study.rows if NAMES[r].endswith("only")] + [ON, "separated-experts[fusion=false]", RECIPE]
    body = []
    for row in singles:
        sets = study.complete(row, CONTROL)
        for rule in RULES:
            cells = [signed(study.gain(d, row, CONTROL, f"test:{rule}")) if d in sets else "" for d in study.sets]
            body.append([NAMES[row], rule, *cells, tested(study, sets, row, CONTROL, rule)])
    rates = ", ".join(f"{d} {study.rate(d, ON):g}" for d in study.sets)
    text = (
        "One switch at a time, against uniform training, which is ARM with all five switches off (a test): points of "
        "test accuracy, paired by seed, three seeds. Five switches: fusion, loss weights, re-sampling, separation, "
        "smoothing. All rows of a data set have the same learning rate, the one with the best mean validation score "
        f"over all rows (times the recipe's: {rates})."
    )
    return markdown("Ablation", text, ["switched on", "rule", *study.sets, "mean"], body)


def last(runs: Mapping[int, dict[str, Any]], name: str) -> float:
    return float(np.mean([x["curves"][name][-1] for x in runs.values() if name in x["curves"]]))


def acts(study: Study) -> str:
    body = []
    for d in study.complete(ON, CONTROL):
        runs = study.runs(d, ON)
        modalities = [k.removeprefix("w:") for k in next(iter(runs.values()))["curves"] if k.startswith("w:")]
        often = np.mean([max(x["curves"]["frequency"]) for x in runs.values()])
        for m in modalities:
            states = [ModalityState(round(x["curves"][f"state:{m}"][-1])).name.lower() for x in runs.values()]
            peak = np.mean([max(x["curves"][f"lambda:{m}"]) for x in runs.values()])
            moved = []
            for row in (f"arm[{OFF}]", "arm[fusion=false,resampling=false]", ON):
                gain = study.gain(d, row, CONTROL, f"head:{m}")
                moved.append(signed(gain) if len(gain) > 1 else "")
            body.append(
                [
                    d,
                    m,
                    max(set(states), key=states.count),
                    f"{last(runs, f'mu:{m}'):.2f}",
                    f"{last(runs, f'w:{m}'):.2f}",
                    f"{peak:.2f} / {last(runs, f'lambda:{m}'):.2f}",
                    f"{often:.2f}",
                    *moved,
                ]
            )
    text = (
        "What ARM's parts do, mean over seeds: state of each modality and the memorised share that is acted on at the "
        "last measurement (0 where the marginal contribution is significant), weight in the fused head, scale of the "
        "encoder's updates (largest in the training / at its end), largest frequency of a sample relative to one that "
        "is not reinforced. Last columns: accuracy of the modality's own head less that in uniform training, in "
        "points, for the fusion alone, the loss weights alone and all of ARM."
    )
    header = [
        "data",
        "modality",
        "state",
        "μ",
        "w",
        "λ",
        "frequency",
        "head: fusion",
        "head: loss weights",
        "head: arm",
    ]
    return markdown("What the parts do", text, header, body)


def figures(study: Study) -> str:
    body, holds = [], np.zeros(3, int)
    sets = study.complete(ON, "joint")
    for d in sets:
        joint, ours = study.runs(d, "joint"), study.runs(d, ON)

        def information(runs: Mapping[int, dict[str, Any]], name: str) -> np.ndarray:
            return np.array([x["information"][name] for _, x in sorted(runs.items())])

        names = [k.split(":")[1] for k in next(iter(joint.values()))["information"] if k.startswith("phi_cmi")]
        gaps = [
            np.mean(np.ptp(np.stack([information(r, f"phi_cmi:{m}") for m in names]), axis=0)) for r in (joint, ours)
        ]
        totals = [information(r, "phi_mi").mean() for r in (joint, ours)]
        dominant = max(names, key=lambda m: np.mean(information(joint, f"phi_mi:{m}")))
        head = study.gain(d, ON, "joint", f"head:{dominant}")
        checks = [gaps[1] < gaps[0], totals[1] >= totals[0] - 0.01, mean_error(head)[0] >= -mean_error(head)[1]]
        holds += np.array(checks)
        body.append([d, *(f"{v:.2f}" for v in (*gaps, *totals)), dominant, signed(head)])
    text = (
        f"The paper's figures as numbers, on test features at the end of training. Of {len(sets)} data sets the gap "
        f"between the marginal contributions is narrower than joint training's on {holds[0]}, the joint contribution "
        f"at least as high on {holds[1]}, and the dominant modality's own head not below joint training's on "
        f"{holds[2]}."
    )
    header = [
        "data",
        "gap: joint",
        "gap: arm",
        "joint contribution: joint",
        "joint contribution: arm",
        "dominant",
        "its head",
    ]
    return markdown("The paper's figures", text, header, body)


def ceiling(study: Study, same: Study, work: Path) -> str:
    """Return what an oracle gains by choosing rate and stopping of each encoder on the test set, and what ARM gains."""
    row = "separated-gradients"
    body = []
    for d in study.complete(row):
        rates = sorted({k[3] for k in study.lines if k[0] == d and k[2] == row and k[4] == 0})
        data = open_set(d, 0)
        files = [work / f"{key_of(config_of(data, row, r, 0))}.npz" for r in rates]
        if len(rates) < 2 or not all(f.is_file() for f in files):
            continue
        gains = [signed(same.gain(d, r, CONTROL, "test:calibrated")) for r in (ON, ORACLE, RECIPE)]
        body.append([d, *oracle(data, [np.load(f) for f in files]), *gains])
    sets = [line[0] for line in body]
    most = f"{np.mean([float(line[4]) for line in body]):+.2f}"
    body.append(
        ["mean", "", "", "", most, *(tested(same, sets, r, CONTROL, "calibrated") for r in (ON, ORACLE, RECIPE))]
    )
    text = (
        "What learning rates and stopping per encoder can give at all. Encoders are those of separated gradients, so "
        "that each can be exchanged for the one of another training, under the calibrated product of the unimodal "
        "heads, which is fitted on the test samples throughout. One rate for all: the better one, chosen on the test "
        "set too. Oracle: rate, and rate and epoch, of each encoder chosen on the test set by coordinate ascent (an "
        "upper bound that overfits the test set). Seed 0, test accuracy in %. Last columns: points over uniform "
        "training under the calibrated rule at one rate per data set, three seeds: ARM as it is, ARM whose "
        "contributions are measured on the test samples with their labels, and the recipe."
    )
    header = ["data", "one rate", "oracle: rates", "oracle: rates and stopping", "most to gain"]
    header += ["arm", "arm, true contributions", "separated-experts"]
    return markdown("The ceiling", text, header, body)


def oracle(data: Any, files: Sequence[Any]) -> list[str]:
    task, target = data.info.make_task(), torch.from_numpy(files[0]["target"])
    heads = [torch.from_numpy(f["test"].astype(np.float32)) for f in files]
    count, epochs = len(data.info.names), len(heads[0])

    def accuracy(choice: Sequence[tuple[int, int]]) -> float:
        experts = torch.stack([heads[r][e, m + 1] for m, (r, e) in enumerate(choice)]).double()
        theta, temperature = fit_exponents(task, experts, target)
        logits = task.combine(task.normalise(experts), (temperature + theta).exp())
        return 100 * task.sample_score(logits, target).float().mean().item()

    start = max(([(r, epochs - 1)] * count for r in range(len(files))), key=accuracy)
    accuracies = [accuracy(start)]
    stops = sorted({epochs - 1, 3 * epochs // 4, epochs // 2, epochs // 4})
    for candidates in (
        [(r, epochs - 1) for r in range(len(files))],
        [(r, e) for r in range(len(files)) for e in stops],
    ):
        best = list(start)
        for m in range(count):
            trials = [[*best[:m], c, *best[m + 1 :]] for c in candidates]
            best = max([best, *trials], key=accuracy)
        accuracies.append(accuracy(best))
    return [*(f"{v:.1f}" for v in accuracies), f"{max(accuracies) - accuracies[0]:+.1f}"]


def main() -> None:
    """Write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, default=HERE / "study.jsonl")
    parser.add_argument("--work", type=Path, default=None, help="folder that `study.py --work` filled")
    options = parser.parse_args()
    torch.set_num_threads(1)
    study, same = (Study(known_lines(options.runs), shared=shared) for shared in (False, True))
    pages = {
        "scores": scores(study),
        "corrupted": corrupted(study),
        "aim": aim(study, same),
        "ablation": ablation(same),
        "acts": acts(same),
        "figures": figures(study),
    }
    for name, text in pages.items():
        (HERE / f"{name}.md").write_text(text, encoding="utf-8")
    if options.work is not None:
        (HERE / "ceiling.md").write_text(ceiling(study, same, options.work), encoding="utf-8")


if __name__ == "__main__":
    main()
