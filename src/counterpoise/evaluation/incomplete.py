r"""Scores of models on incomplete data: by pattern of presence, over rates of absence, and indices of equity.

- *Patterns*: the score of the samples that have exactly these modalities.
- *Severity curve*: the score as a function of the share of the samples that lack one modality (or all modalities, each
  at that rate), from 0 to .9. MuteBench (Zheng et al., arXiv 2605.15235) evaluates fusions at controlled levels of
  severity; the levels here are ours.
- *Modality equity index* (MEI), *modality learning index* (MLI): according to MissBench (Pham et al., arXiv
  2603.09874), MEI "measures how fairly different modalities contribute across missing-modality configurations" and MLI
  compares gradient norms of modalities. The formulas below are inferred from these sentences of its abstract; those
  of the paper may differ, so the numbers should not be compared with published ones.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor

from counterpoise.coalitions import subsets
from counterpoise.inference import Rule
from counterpoise.model import MultimodalClassifier
from counterpoise.records import Outputs
from counterpoise.tasks import Task

__all__ = [
    "RATES",
    "PatternScore",
    "SeverityScore",
    "configuration_scores",
    "masked_outputs",
    "modality_equity",
    "modality_learning",
    "pattern_equity",
    "pattern_scores",
    "severity_curve",
]

RATES: Final = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9)
"""Shares of the samples that lack a modality in a severity curve."""
MAX_LATTICE: Final = 5
"""Up to this number of modalities, all configurations are scored; with more, single modalities, all, and all but
one."""


@dataclass(frozen=True)
class PatternScore:
    """Score of the samples that have exactly some modalities.

    Attributes:
        present: Modalities that the samples have.
        n: Number of these samples.
        score: Score of these samples, as `Task.score`.
        low: Lower end of its 95 % interval; NaN if the score is not a mean over samples.
        high: Upper end of the interval.
    """

    present: tuple[str, ...]
    n: int
    score: float
    low: float
    high: float


@dataclass(frozen=True)
class SeverityScore:
    """Score at one rate of absence.

    Attributes:
        modality: The modality that samples lack; None for all modalities, each at that rate.
        rate: Share of the samples that lack it.
        score: The score, as `Task.score`.
    """

    modality: str | None
    rate: float
    score: float


def pattern_scores(
    task: Task, logits: Tensor, target: Tensor, present: Mapping[str, Tensor] | None, modalities: Sequence[str]
) -> list[PatternScore]:
    """Return the score of every pattern of presence, the most frequent pattern first.

    Args:
        task: The task.
        logits: Predictions ``(N, C)``.
        target: N targets.
        present: ``{m: (N,) bool}``; None if nothing is missing.
        modalities: Names of the modalities.

    Example:
        >>> from counterpoise.tasks import MultiClass
        >>> present = {"a": torch.tensor([True, True, False]), "b": torch.tensor([True, True, True])}
        >>> rows = pattern_scores(MultiClass(2), torch.eye(2)[[0, 1, 1]], torch.tensor([0, 1, 0]), present, ["a", "b"])
        >>> [(row.present, row.n, row.score) for row in rows]
        [(('a', 'b'), 2, 1.0), (('b',), 1, 0.0)]
    """
    masks = [torch.ones(len(target), dtype=torch.bool) if present is None else present[m] for m in modalities]
    patterns, which, counts = torch.stack(masks, 1).unique(dim=0, return_inverse=True, return_counts=True)
    rows = []
    for k in counts.argsort(descending=True, stable=True).tolist():
        names = tuple(m for m, has in zip(modalities, patterns[k].tolist(), strict=True) if has)
        rows.append(_pattern_score(task, names, logits[which == k], target[which == k]))
    return rows


def _pattern_score(task: Task, names: tuple[str, ...], logits: Tensor, target: Tensor) -> PatternScore:
    n, score = len(target), float(task.score(logits, target))
    each = task.sample_score(logits.double(), target)
    if not math.isclose(float(each.mean()), score, abs_tol=1e-9):  # R2, for example
        return PatternScore(names, n, score, math.nan, math.nan)
    # Wilson's interval is sensible for few samples and for scores of 0 and 1, where that of the spread has no width.
    z = 1.96
    centre, reach = score + z**2 / (2 * n), z * math.sqrt(max(score * (1 - score), 0.0) / n + (z / (2 * n)) ** 2)
    return PatternScore(names, n, score, (centre - reach) / (1 + z**2 / n), (centre + reach) / (1 + z**2 / n))


@torch.no_grad()
def masked_outputs(model: MultimodalClassifier, outputs: Outputs, masks: Mapping[str, Tensor]) -> Outputs:
    """Return the outputs of a model for samples from which modalities are taken away; no encoder runs again.

    Args:
        model: The model, in evaluation mode, with encoders that run by themselves (`separable`).
        outputs: Its outputs.
        masks: ``{m: (N,) bool}``, the modalities that stay. A sample keeps at least one that it has.
    """
    given = outputs.present
    present = {m: mask if given is None else mask & given[m] for m, mask in masks.items()}
    features = {m: z.masked_fill(~present[m].view(-1, *[1] * (z.ndim - 1)), 0) for m, z in outputs.features.items()}
    return model.decode(features, present=present)


def severity_curve(
    model: MultimodalClassifier,
    rule: Rule,
    outputs: Outputs,
    target: Tensor,
    *,
    rates: Sequence[float] = RATES,
    seed: int = 0,
) -> list[SeverityScore]:
    """Return scores over rates of absence, for each modality and for all modalities together.

    A modality that a sample lacks at a low rate is also absent at higher rates. A sample that would lose all its
    modalities keeps one of them, drawn at random.

    Args:
        model: See `masked_outputs`.
        rule: The fitted decision rule.
        outputs: Outputs of the model for the samples.
        target: Their targets.
        rates: Shares of the samples that lack a modality.
        seed: Seed of the masks, the same for every method.
    """
    names, n = model.modalities, len(target)
    generator = torch.Generator().manual_seed(seed)
    draws = {m: torch.rand(n, generator=generator) for m in names}
    rows = []
    for modality in (*names, None):
        for rate in rates:
            masks = {m: (draws[m] >= rate) | (modality not in (m, None)) for m in names}
            masks = _kept(masks, outputs, draws)
            value = task_score(rule, masked_outputs(model, outputs, masks), target)
            rows.append(SeverityScore(modality, float(rate), value))
    return rows


def _kept(masks: Mapping[str, Tensor], outputs: Outputs, draws: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return masks in which every sample keeps the modality with the largest draw among those that it has."""
    has = {m: torch.ones_like(mask) if outputs.present is None else outputs.present[m] for m, mask in masks.items()}
    empty = ~torch.stack([mask & has[m] for m, mask in masks.items()]).any(0)
    best = torch.stack([draws[m].masked_fill(~has[m], -1) for m in masks]).argmax(0)
    return {m: mask | (empty & (best == k)) for k, (m, mask) in enumerate(masks.items())}


@torch.no_grad()
def task_score(rule: Rule, outputs: Outputs, target: Tensor) -> float:
    """Return the score of a rule's predictions."""
    return float(rule.task.score(rule(outputs), target))


def configuration_scores(
    model: MultimodalClassifier, rule: Rule, outputs: Outputs, target: Tensor
) -> dict[frozenset[str], float]:
    """Return the score of every configuration: all samples, with some of the modalities and without the others.

    Only samples that have all modalities are used, so that configurations differ in nothing else. The empty
    configuration has the score of the constant prediction.

    Args:
        model: See `masked_outputs`.
        rule: The fitted decision rule.
        outputs: Outputs of the model for the samples.
        target: Their targets.
    """
    names = model.modalities
    rows = torch.arange(len(target))
    if outputs.present is not None:
        rows = torch.stack([outputs.present[m] for m in names]).all(0).nonzero().flatten()
    if not len(rows):
        return {}
    target = target[rows]
    features = {m: z[rows] for m, z in outputs.features.items()}
    unimodal = {m: z[rows] for m, z in outputs.unimodal_logits.items()}
    complete = Outputs(features, outputs.logits[rows], unimodal)
    prior = rule.task.prior_logits(target).expand(len(target), -1)
    values = {frozenset[str](): float(rule.task.score(prior, target))}
    sizes = range(1, len(names) + 1) if len(names) <= MAX_LATTICE else (1, len(names) - 1, len(names))
    for subset in subsets(len(names)):
        if len(subset) in sizes:
            kept = {names[k] for k in subset}
            masks = {m: torch.full((len(target),), m in kept) for m in names}
            values[frozenset(kept)] = task_score(rule, masked_outputs(model, complete, masks), target)
    return values


def modality_equity(values: Mapping[frozenset[str], float], modalities: Sequence[str]) -> float:
    r"""Return the modality equity index (MEI): 1 if all modalities contribute equally over configurations, 0 if one
    contributes everything.

    .. math:: c_m = \Big[\operatorname{mean}_{S \not\ni m} v(S \cup m) - v(S)\Big]_+, \qquad
        p_m = c_m / \sum_k c_k, \qquad \mathrm{MEI} = -\frac{1}{\log M} \sum_m p_m \log p_m

    with the score v(S) of the configuration S, over all S for which both scores are known. It is NaN if no modality
    contributes anything. The formula is inferred from the abstract of MissBench (Pham et al., arXiv
    2603.09874), and may differ from that of the paper.

    Args:
        values: Score by configuration, the empty one included.
        modalities: Names of the modalities.

    Example:
        >>> v = {frozenset(): 0.5, frozenset("a"): 0.7, frozenset("b"): 0.7, frozenset("ab"): 0.9}
        >>> round(modality_equity(v, "ab"), 6)
        1.0
        >>> v = {frozenset(): 0.5, frozenset("a"): 0.9, frozenset("b"): 0.5, frozenset("ab"): 0.9}
        >>> modality_equity(v, "ab")
        0.0
    """
    contributions = []
    for m in modalities:
        gains = [values[s | {m}] - v for s, v in values.items() if m not in s and s | {m} in values]
        contributions.append(max(float(np.mean(gains)), 0.0) if gains else 0.0)
    return _evenness(contributions)


def modality_learning(norms: Mapping[str, float]) -> float:
    r"""Return the modality learning index (MLI): 0 if the gradients of all modalities are equal, 1 if only one is not
    zero.

    .. math:: \mathrm{MLI} = 1 + \frac{1}{\log M} \sum_m p_m \log p_m, \qquad p_m = \bar g_m / \sum_k \bar g_k

    with the mean over training :math:`\bar g_m` of the norm of the loss's gradient by the features of m. The formula is
    inferred from the abstract of MissBench (Pham et al., arXiv 2603.09874), and may differ from that of the paper.

    Args:
        norms: Mean gradient norm by modality.

    Example:
        >>> modality_learning({"a": 2.0, "b": 2.0}), modality_learning({"a": 2.0, "b": 0.0})
        (0.0, 1.0)
    """
    return 1.0 - _evenness(list(norms.values()))


def _evenness(amounts: Sequence[float]) -> float:
    """Return the entropy of the shares in units of its maximum (Pielou's evenness)."""
    total = math.fsum(amounts)
    if not total > 0 or len(amounts) < 2:
        return math.nan
    shares = [a / total for a in amounts if a > 0]
    return max(0.0, -math.fsum(p * math.log(p) for p in shares)) / math.log(len(amounts))  # 0.0 first: never -0.0


def pattern_equity(values: Mapping[frozenset[str], float]) -> float:
    r"""Return the equity of the configurations' scores: 1 if all gain the same over the constant prediction.

    Jain's index :math:`(\sum_S g_S)^2 / (K \sum_S g_S^2)` of the gains :math:`g_S = [v(S) - v(\emptyset)]_+` of the K
    configurations that have a modality: 1 if they are equal, 1/K if only one gains anything.

    Args:
        values: Score by configuration, the empty one included.

    Example:
        >>> v = {frozenset(): 0.5, frozenset("a"): 0.9, frozenset("b"): 0.5, frozenset("ab"): 0.9}
        >>> round(pattern_equity(v), 3)
        0.667
    """
    gains = [max(v - values[frozenset()], 0.0) for s, v in values.items() if s]
    squares = math.fsum(g * g for g in gains)
    return math.fsum(gains) ** 2 / (len(gains) * squares) if squares > 0 else math.nan
