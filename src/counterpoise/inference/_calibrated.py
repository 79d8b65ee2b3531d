"""The calibrated rule: exponents that are fitted on held-out samples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

from counterpoise.inference._exponents import equal_exponents, fit_exponents, fit_without
from counterpoise.inference._patterns import PatternWeights, entropy, expert_mask, masked_copies
from counterpoise.inference._rule import Rule
from counterpoise.records import Outputs
from counterpoise.tasks import Task

MAX_CLASSES: Final = 256
"""Maximum number of classes for which a rule stores how often each head predicts each class."""


class Calibrated(Rule):
    r"""Held-out calibrated product of experts.

    :math:`a_k = \exp(t + \theta_k)`, fitted once on held-out samples by minimising the cross-entropy of the product
    plus :math:`\frac{2}{n}|\theta|^2`. The exponents of the predictions without one modality, from which
    `contributions` follow, are fitted in the same way, on the unimodal heads of the other modalities. Before the fit
    all exponents are :math:`1/(M+1)`.

    **Samples that lack modalities** have exponents of their own for every pattern of presence (`PatternWeights`). They
    are fitted by `fit_patterns` on held-out samples with the patterns of the data; without it, `fit` masks the unimodal
    experts of complete held-out samples, and the fused head, whose reliability with absent modalities is unknown, has
    exponent 0. A complete sample has the exponents above.

    `expected_gains` estimates how much each absent modality would help. With :math:`p(s|y)`, the frequencies of the
    class s that the head of modality m predicts for held-out samples of class y, it is

    .. math:: \lambda_m \, I_q(Y; S_m) = \lambda_m \sum_y q(y) \sum_s p(s|y) \log \frac{p(s|y)}{\sum_{y'} q(y') p(s|y')}

    of the prediction q: the expected reduction of its entropy if S and the modalities of the sample are independent
    given the class. They are dependent if modalities are redundant; :math:`\lambda_m` is the mean reduction that m
    brings to masked held-out samples, in units of that formula. For other tasks (and more than `MAX_CLASSES` classes)
    the expected gain is the mean contribution of m to held-out samples.

    Example:
        >>> from counterpoise.tasks import MultiClass
        >>> rule = Calibrated(("a", "b"), MultiClass(2))
        >>> y = torch.tensor([0, 1] * 50)
        >>> good, bad = 2.0 * torch.nn.functional.one_hot(y, 2) - 1, torch.zeros(100, 2)
        >>> rule.fit(Outputs({}, bad, {"a": good, "b": bad}), y)
        >>> bool(rule.weights[1] > rule.weights[0])
        True
    """

    needs_holdout = True
    theta: Tensor
    temperature: Tensor
    without: Tensor
    fitted: Tensor
    prior: Tensor
    fused_known: Tensor
    frequencies: Tensor
    gain: Tensor

    def __init__(self, modalities: tuple[str, ...], task: Task) -> None:
        super().__init__(modalities, task)
        experts, count = len(modalities) + 1, len(modalities)
        self.register_buffer("theta", torch.zeros(experts))
        self.register_buffer("temperature", torch.tensor(-math.log(experts)))
        self.register_buffer("without", equal_exponents(count))
        self.register_buffer("fitted", torch.tensor(False))
        self.register_buffer("prior", torch.zeros(task.num_outputs))
        self.register_buffer("fused_known", torch.tensor(False))
        classes = task.num_outputs if task.has_classes and task.num_outputs <= MAX_CLASSES else 0
        self.register_buffer("frequencies", torch.zeros(count, classes, classes))
        self.register_buffer("gain", torch.zeros(count))
        self.patterns = PatternWeights(count, fused=True)
        self.unimodal_patterns = PatternWeights(count, fused=False)
        self._saw_complete = True

    @property
    def weights(self) -> Tensor:
        """The experts' exponents ``(M + 1,)`` for complete samples; that of the fused head is the first."""
        return (self.temperature + self.theta).exp()

    def expert_weights(self, outputs: Outputs) -> Tensor:
        """Return the fitted exponents."""
        if outputs.present is None:
            return self.weights
        mask = expert_mask(outputs)
        return self.log_weights(mask).exp() * self.used(mask)

    def used(self, mask: Tensor) -> Tensor:
        """Return which of the experts ``(M + 1, B)`` that samples have are used."""
        used = mask.clone()
        used[0] &= self.fused_known | ~self.fitted | mask.all(0)
        return used

    def log_weights(self, mask: Tensor) -> Tensor:
        """Return the logarithms of the exponents ``(M + 1, B)`` for samples with the experts ``(M + 1, B)``."""
        known = bool(self.fused_known) or not bool(self.fitted)
        partial = (self.patterns if known else self.unimodal_patterns).logarithm(mask)
        return torch.where(mask.all(0), (self.temperature + self.theta)[:, None], partial)

    def exponents_without(self, outputs: Outputs) -> dict[str, Tensor]:
        """Return the exponents that were fitted without each modality."""
        complete = dict(zip(self.modalities, self.without, strict=True))
        if outputs.present is None:
            return complete
        mask, result = expert_mask(outputs), {}
        for k, m in enumerate(self.modalities, 1):
            rest = mask.clone()
            rest[k] = False
            result[m] = torch.where(mask.all(0), complete[m][:, None], self.unimodal_patterns(rest))
        return result

    def baseline(self, outputs: Outputs) -> Tensor:
        """Return the logits of the label frequencies of the held-out samples."""
        return self.prior

    def fit(self, outputs: Outputs, target: Tensor, corrupted: Sequence[Outputs] = ()) -> None:
        """Fit the exponents on held-out outputs (150 Adam steps in float64 on the CPU, well under a second)."""
        target = target.cpu()
        if outputs.present is None:
            experts = outputs.experts().detach().cpu().double()
            theta, temperature = fit_exponents(self.task, experts, target)
            self.theta.copy_(theta)
            self.temperature.copy_(temperature)
            self.without.copy_(fit_without(self.task, experts, target))
        self.prior.copy_(self.task.prior_logits(target, 0.5))
        masked, rows = masked_copies(outputs)
        self.unimodal_patterns.fit(self.task, masked, target[rows], samples=len(target))
        self._saw_complete = outputs.present is None
        self.fit_patterns(outputs, target)
        self._fit_gains(outputs, target)
        self.fitted.fill_(True)

    def fit_patterns(self, outputs: Outputs, target: Tensor, samples: int | None = None) -> None:
        """Fit the exponents of every pattern of presence, that of the fused head included."""
        if outputs.present is None:
            return
        self.patterns.fit(self.task, outputs, target, samples=samples)
        self.fused_known.fill_(True)
        if not self._saw_complete:
            self._take_complete()

    def _take_complete(self) -> None:
        """Copy the exponents of complete samples from those of all patterns, which were fitted together."""
        everything = torch.ones(len(self.theta), 1, dtype=torch.bool)
        logarithm = self.patterns.logarithm(everything)[:, 0]
        self.temperature.copy_(logarithm.mean())
        self.theta.copy_(logarithm - logarithm.mean())
        for k in range(len(self.modalities)):
            rest = everything.clone()
            rest[k + 1] = False
            self.without[k].copy_(self.unimodal_patterns(rest)[:, 0])

    # -- expected gains of absent modalities
    # ----------------------------------------------------------------------------

    @torch.no_grad()
    def expected_gains(self, outputs: Outputs) -> dict[str, Tensor]:
        """See `Rule.expected_gains`."""
        return self.gains_of(self(outputs), outputs)

    def gains_of(self, prediction: Tensor, outputs: Outputs) -> dict[str, Tensor]:
        """Return the expected gain of every absent modality for predictions ``(B, C)`` of these outputs."""
        if outputs.present is None:
            return {m: prediction.new_zeros(len(prediction)) for m in self.modalities}
        gains = self._raw_gains(prediction)
        return {m: gains[k].masked_fill(outputs.present[m], 0) for k, m in enumerate(self.modalities)}

    def _raw_gains(self, logits: Tensor) -> Tensor:
        """Return ``(M, B)``: the expected gain of every modality for predictions ``(B, C)``."""
        if not self.frequencies.numel():
            return self.gain[:, None].expand(-1, len(logits)).to(logits.dtype)
        return self.gain[:, None] * self._class_gains(logits)

    def _class_gains(self, logits: Tensor) -> Tensor:
        """Return I_q(Y; S_m) ``(M, B)``: H(S) - H(S|Y) under the prediction."""
        q = self.task.normalise(logits).exp().to(self.frequencies.dtype)
        shown = torch.einsum("bc,mcs->mbs", q, self.frequencies)
        within = torch.einsum("bc,mc->mb", q, -torch.special.xlogy(self.frequencies, self.frequencies).sum(-1))
        return (-torch.special.xlogy(shown, shown).sum(-1) - within).clamp_min(0)

    @torch.no_grad()
    def _fit_gains(self, outputs: Outputs, target: Tensor) -> None:
        """Count the predictions of each head for held-out samples of each class, and measure what it adds to the
        others.
        """
        outputs = Outputs({}, outputs.logits, outputs.unimodal_logits, outputs.present)
        if self.frequencies.numel():
            for k, (m, z) in enumerate(outputs.unimodal_logits.items()):
                self.frequencies[k].copy_(_class_frequencies(z, target, outputs.mask(m)))
        for k, m in enumerate(self.modalities):
            self.gain[k] = self._measured_gain(outputs, k, m)

    def _measured_gain(self, outputs: Outputs, k: int, m: str) -> float:
        """Return the mean gain of a modality over masked held-out samples, in units of the formula for classes."""
        before, rows = masked_copies(outputs, seed=k + 1)
        mask = expert_mask(before)
        had = torch.ones_like(mask[0]) if outputs.present is None else outputs.present[m].cpu()[rows]
        mask[k + 1] = False
        usable = had & mask[1:].any(0)
        if not usable.any():
            return 0.0
        after = mask.clone()
        after[k + 1] = True
        experts = outputs.experts().cpu()[:, rows][:, usable]
        poor, rich = (self._product(experts, self.unimodal_patterns(x[:, usable])) for x in (mask, after))
        if not self.frequencies.numel():
            return float(self.task.kl(rich, poor).mean())
        predicted = self._class_gains(poor)[k].mean()
        realised = (entropy(self.task, poor) - entropy(self.task, rich)).mean()
        return float((realised / predicted.clamp_min(1e-6)).clamp(0, 2))


def _class_frequencies(logits: Tensor, target: Tensor, mask: Tensor | None) -> Tensor:
    """Return p(s | y) ``(C, C)``: how often a head predicts class s for samples of class y, with one pseudo-sample."""
    classes = logits.shape[1]
    rows = torch.ones(len(target), dtype=torch.bool) if mask is None else mask.cpu()
    shown = torch.nn.functional.one_hot(logits.argmax(-1).cpu()[rows], classes).double()
    counts = shown.new_zeros(classes, classes).index_add_(0, target[rows], shown)
    overall = (shown.sum(0) + 1 / classes) / (len(shown) + 1)
    return (counts + overall) / (counts.sum(1, keepdim=True) + 1)
