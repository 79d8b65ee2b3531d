"""What each part of ARM does to encoders, samples and contributions in the course of a training."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from course import POINTS
from trainings import CONTROL, ON, PARTS, Study, markdown, mean_error, signed, with_p

from counterpoise.methods.arm import ModalityState

__all__ = ["acts"]

Runs = Mapping[int, Mapping[str, Any]]
CENT = 100
"""Contributions are shown in hundredths of a nat."""


def acts(study: Study) -> str:
    """Return the tables: the sizes that ARM's parts act with, and what each part alone does to the contributions."""
    pages = [sizes(study), weak_table(study, "fusion"), weak_table(study, "loss weights"), drawn_table(study)]
    return "\n".join(pages)


def section(title: str, text: str, header: list[str], body: list[list[str]]) -> str:
    """Return a table with a bold title, so that it can stand below any heading."""
    return markdown(title, text, header, body).replace(f"# {title}", f"**{title}**", 1)


def modalities(runs: Runs) -> list[str]:
    """Return the names of the modalities in their order."""
    return [k.removeprefix("head:") for k in next(iter(runs.values()))["scores"] if k.startswith("head:")]


def course(runs: Runs, name: str) -> str:
    """Return a coefficient after a quarter and after half of the training, when the last decision is made, as text."""
    curves = np.array([x["curves"][name] for x in runs.values()])
    count = curves.shape[1]
    quarter, half = (curves[:, min(count - 1, round(p * count))].mean() for p in (0.25, 0.5))
    return f"{quarter:.2f} / {half:.2f}"


def sizes(study: Study) -> str:
    """Return the state of each modality and the sizes that ARM acts with."""
    body = []
    for d in study.complete(ON, CONTROL):
        runs = study.runs(d, ON)
        often = np.mean([max(x["curves"]["frequency"]) for x in runs.values()])
        for m in modalities(runs):
            states = [ModalityState(round(x["curves"][f"state:{m}"][-1])).name.lower() for x in runs.values()]
            gain = signed(study.gain(d, ON, CONTROL, f"head:{m}"))
            coefficients = [course(runs, f"{letter}:{m}") for letter in ("mu", "w", "c", "lambda")]
            body.append([d, m, max(set(states), key=states.count), *coefficients, f"{often:.2f}", gain])
    text = (
        "What ARM acts with, mean over seeds, after a quarter and after half of the training, from when on the last "
        "decisions are kept: state of each modality (the most frequent one at the end), memorised share that is acted "
        "on, weight in the fused head, share of the fused gradient that reaches the encoder, scale of the encoder's "
        "updates; and the largest frequency of a sample relative to one that is not reinforced. Last column: accuracy "
        "of the modality's own head less that in uniform training, in points."
    )
    header = ["data", "modality", "state", "μ", "w", "c", "λ", "frequency", "head: arm"]
    return markdown("What the parts do", text, header, body)


def known(run: Mapping[str, Any]) -> np.ndarray:
    """Return what each modality's head knows about the test samples, ``(points, modalities)`` in nats."""
    return np.array(run["held"]["alone"])


def dominant(study: Study, d: str) -> int:
    """Return the modality that knows most by itself at the end of uniform training."""
    return int(np.mean([known(x)[-1] for x in study.runs(d, CONTROL).values()], axis=0).argmax())


def gains(study: Study, d: str, row: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the gains over uniform training of the weak modalities, ``(seeds, points)``, and of the dominant one.

    Of several weak modalities it is the mean.
    """
    ours, theirs = study.runs(d, row), study.runs(d, CONTROL)
    top = dominant(study, d)
    gain = np.stack([known(ours[s]) - known(theirs[s]) for s in sorted(ours.keys() & theirs.keys())])
    return CENT * np.delete(gain, top, axis=2).mean(2), CENT * gain[:, :, top]


def count(values: list[np.ndarray], sign: int) -> tuple[int, int]:
    """Return on how many data sets the mean has a sign, and on how many by more than two standard errors."""
    pairs = [mean_error(v) for v in values]
    return sum(sign * m > 0 for m, _ in pairs), sum(sign * m > 2 * e for m, e in pairs)


def over_sets(values: list[np.ndarray]) -> str:
    """Return the mean over data sets, its standard error over seeds, and the two-sided p, as text."""
    means, errors = np.array([mean_error(v) for v in values]).T
    return with_p(means.mean(), math.sqrt(np.square(errors).sum()) / len(means), 1)


def summary(what: str, values: list[np.ndarray]) -> str:
    """Return how often a gain is positive and negative, as a sentence."""
    (up, sure_up), (down, sure_down) = count(values, 1), count(values, -1)
    return (
        f"{what} is higher on {up} of {len(values)} data sets (on {sure_up} by more than two standard errors) and "
        f"lower on {down} ({sure_down})."
    )


def weak_table(study: Study, part: str) -> str:
    """Return the gains of weak and dominant modalities with one part alone."""
    row, body = PARTS[part], []
    sets = study.complete(row, CONTROL)
    weak, top = zip(*(gains(study, d, row) for d in sets), strict=True)
    for d, w, t in zip(sets, weak, top, strict=True):
        names = modalities(study.runs(d, row))
        strong = names[dominant(study, d)]
        body.append([d, *(signed(w[:, p]) for p in range(w.shape[1])), strong, signed(t[:, -1])])
    means = [over_sets([w[:, p] for w in weak]) for p in range(len(POINTS))]
    body.append(["mean", *means, "", over_sets([t[:, -1] for t in top])])
    claim = {
        "fusion": "It gives the encoders of weak modalities less of the fused gradient, and the fused head less of "
        "modalities that memorise.",
        "loss weights": "It scales the updates of the encoders: up for weak modalities that generalise, down for those "
        "that memorise.",
    }[part]
    text = (
        f"{claim} Claimed: the weak modalities know more about new samples, and the dominant one not less. Change of "
        "the information of the unimodal heads about the test samples against uniform training, in hundredths of a "
        "nat, mean over the weak modalities and over seeds, in the course of the training. "
        f"{summary('At the end the information of the weak modalities', [w[:, -1] for w in weak])} "
        f"{summary('That of the dominant one', [t[:, -1] for t in top])}"
    )
    header = ["data", *(f"weak, {p:.0%}" for p in POINTS), "dominant", "dominant, 100%"]
    return section(f"Only the {part}", text, header, body)


def drawn(ours: Mapping[str, Any], theirs: Mapping[str, Any], top: int) -> float:
    """Return the gain of the weak modalities on classes that are drawn more often than average, less that on others.

    Classes are weighted by the size of their deviation from the mean frequency.
    """
    gain = np.delete(np.array(ours["held"]["by_class"]) - np.array(theirs["held"]["by_class"]), top, axis=1).mean(1)
    often = np.array(ours["frequency"]) - 1
    up, down = often.clip(min=0), (-often).clip(min=0)
    return CENT * float(gain @ up / up.sum() - gain @ down / down.sum())


def drawn_table(study: Study) -> str:
    """Return what re-sampling alone does to frequencies and to what weak modalities know."""
    row, body = PARTS["re-sampling"], []
    differences, all_weak, all_top = [], [], []
    for d in study.complete(row, CONTROL):
        ours, theirs = study.runs(d, row), study.runs(d, CONTROL)
        seeds = [s for s in sorted(ours.keys() & theirs.keys()) if ours[s]["frequency"]]
        if len(seeds) < 2:
            body.append([d, "1.00", "", "", "", ""])
            continue
        often = np.array([ours[s]["frequency"] for s in seeds])
        peak = np.mean([max(ours[s]["curves"]["frequency"]) for s in seeds])
        by_class = np.array([drawn(ours[s], theirs[s], dominant(study, d)) for s in seeds])
        weak, top = gains(study, d, row)
        differences.append(by_class)
        all_weak.append(weak[:, -1])
        all_top.append(top[:, -1])
        spread = f"{often.min(1).mean():.2f} to {often.max(1).mean():.2f}"
        body.append([d, f"{peak:.2f}", spread, signed(by_class), signed(weak[:, -1]), signed(top[:, -1])])
    if differences:
        columns = [over_sets(differences), over_sets(all_weak), over_sets(all_top)]
        body.append(["mean of those that are re-sampled", "", "", *columns])
    text = (
        "It draws samples more often that a weak modality knows less about than it could. Claimed: the frequencies "
        "differ, and the weak modalities gain where they are drawn more often. Largest frequency of a sample; "
        "frequency of a class relative to the mean; change of the weak modalities' information about test samples of "
        "the classes that are drawn more often, less that about the other classes; about all; and that of the dominant "
        "modality: against uniform training, at the end, in hundredths of a nat. "
        f"{summary('The difference between the classes', differences)} "
        f"{summary('The information of the weak modalities about all samples', all_weak)}"
    )
    header = [
        "data",
        "frequency of a sample",
        "of a class",
        "drawn more often less others",
        "weak, all",
        "dominant, all",
    ]
    return section("Only the re-sampling", text, header, body)
