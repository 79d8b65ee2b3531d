"""Write the tables of ARM and of the library's recipe from ``study.jsonl``.

    python benchmarks/arm/tables.py [--runs benchmarks/arm/study.jsonl]

- ``scores.md``: test accuracy of every row under the fused, the calibrated and the dynamic rule;
- ``corrupted.md``: the same with one modality corrupted;
- ``aim.md``: asymmetry on against off, all else equal;
- ``ablation.md``: one switch at a time;
- ``acts.md``: what each part does to encoders and samples, and the state of each modality;
- ``blind.md``: ARM on data sets that no formulation was chosen on;
- ``figures.md``: the paper's figures as numbers: gap, joint contribution, head of the dominant modality;
- ``ceiling.md``: what an oracle gains from learning rates and stopping per encoder (needs ``--work``).
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from acts import acts
from ceiling import ceiling
from speakers import NAME
from study import BLIND, known_lines
from trainings import CONTROL, HERE, NAMES, ON, RECIPE, RULES, Study, markdown, mean_error, signed, tested

SELECTION: Final = ("wikipedia", "kanji", "scene15", "smartwatch")
"""Data sets on splits of whose training data the formulation was first chosen. Its last change was chosen on splits of
the training data of all eight, after their test sets had been read with the formulation before."""


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
        "Test accuracy (%), mean over five seeds, learning rate chosen on validation samples for each row (3 or 9 "
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
        "inputs, one modality at a time, and over five seeds. The networks are those of the table without corruption; "
        "only the dynamic rule is fitted on corrupted samples. The last columns compare with joint training under the "
        "same rule."
    )
    header = ["method", "rule", *study.sets, "to joint", "below joint"]
    return markdown("One modality corrupted", text, header, score_lines(study, "damaged"))


def comparisons(study: Study, pairs: Sequence[tuple[str, str]]) -> list[list[str]]:
    """Return a line per pair of rows and rule: the differences on every data set, their mean, and where it is below."""
    body = []
    for ours, theirs in pairs:
        sets = study.complete(ours, theirs)
        for rule in RULES:
            gains = {d: study.gain(d, ours, theirs, f"test:{rule}") for d in sets}
            below = [d for d in sets if mean_error(gains[d])[0] < -mean_error(gains[d])[1]]
            cells = [signed(gains[d]) if d in sets else "" for d in study.sets]
            mean = tested(study, sets, ours, theirs, rule)
            body.append([f"{NAMES[ours]} less {NAMES[theirs]}", rule, *cells, mean, ", ".join(below) or "none"])
    return body


def aim(study: Study, same: Study) -> str:
    on_off = [(ON, CONTROL), (RECIPE, "separated-experts[fusion=false]")]
    text = (
        "Points of test accuracy, paired by seed. Single data sets: mean ± standard error over seeds. Means over data "
        "sets: standard error over seeds and test samples, two-sided p. Asymmetry on against off: both rows at one "
        "rate per data set, so that nothing else differs; below that, and against joint training, each row at the rate "
        "that validation chose for it with one seed, where part of a difference can be the luck of that choice. "
        f"The formulation was first chosen on splits of the training data of {', '.join(SELECTION)}, and its last "
        "change on such splits of all eight, after their test sets had been read with the formulation before: the "
        "change is confirmed on test samples that did not choose it, but none of the sets is blind."
    )
    header = ["comparison", "rule", *study.sets, "mean", "below by more than an error"]
    body = comparisons(same, on_off)
    own = comparisons(study, [*on_off, (ON, "joint"), (RECIPE, "joint")])
    return markdown("Asymmetry on against off", text, header, [*body, *([f"{x[0]}, own rates", *x[1:]] for x in own)])


def blind(study: Study, same: Study) -> str:
    """Return the comparisons on data sets that no formulation was chosen on."""
    pairs = [(ON, CONTROL), (ON, "joint"), (RECIPE, "joint")]
    text = (
        "The same on small data sets that no formulation of ARM was chosen on (`benchmarks/recommend/sets.py`). First "
        "rows: asymmetry on against off at one rate per data set; then each row at its own rate. The splits are the "
        "same for all seeds, and test sets have 36 to 360 samples, so that one sample is up to 2.8 points."
    )
    body = [*comparisons(same, pairs[:1]), *comparisons(study, pairs[1:])]
    return markdown("Blind", text, ["comparison", "rule", *study.sets, "mean", "below by more than an error"], body)


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
        "test accuracy, paired by seed, five seeds. Five switches: fusion, loss weights, re-sampling, separation, "
        "smoothing. All rows of a data set have the same learning rate, the one with the best mean validation score "
        f"over all rows (times the recipe's: {rates})."
    )
    return markdown("Ablation", text, ["switched on", "rule", *study.sets, "mean"], body)


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


def main() -> None:
    """Write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, default=HERE / "study.jsonl")
    parser.add_argument("--work", type=Path, default=None, help="folder that `study.py --work` filled")
    options = parser.parse_args()
    torch.set_num_threads(1)
    lines = known_lines(options.runs)
    study, same = (Study(lines, shared=shared) for shared in (False, True))
    unseen = [Study(lines, shared=shared, sets=BLIND) for shared in (False, True)]
    pages = {
        "scores": scores(study),
        "corrupted": corrupted(study),
        "aim": aim(study, same),
        "ablation": ablation(same),
        "acts": acts(same),
        "figures": figures(study),
        "blind": blind(*unseen),
    }
    for name, text in pages.items():
        (HERE / f"{name}.md").write_text(text, encoding="utf-8")
    if options.work is not None:
        (HERE / "ceiling.md").write_text(ceiling(study, same, options.work), encoding="utf-8")


if __name__ == "__main__":
    main()
