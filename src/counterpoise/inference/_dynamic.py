"""The dynamic rule: a product of experts whose exponents depend on the sample. It uses no label at inference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from counterpoise.inference._calibrated import Calibrated
from counterpoise.inference._density import SIZE, Density
from counterpoise.inference._patterns import expert_mask
from counterpoise.inference._rule import Rule
from counterpoise.records import Outputs
from counterpoise.tasks import Task

__all__ = ["Dynamic"]

SIGNALS = 2 * SIZE + 2
"""Signals of an expert: density on either side, and disagreement in both directions."""
HIDDEN = 16
"""Hidden units of the gate."""
CLEAN_WEIGHT = 0.6
"""Weight of the clean samples in the fit."""
ORDINARY_SHARE = 0.3
"""Share of the clean held-out samples without any signal."""
MIN_LOG_WEIGHT, MAX_LOG_WEIGHT = -8, 4
STEPS = 200
RATE = 0.05


class Dynamic(Rule):
    r"""The held-out calibrated product of experts, adjusted for samples that look out of distribution.

    The most reliable modality may change from sample to sample (a noisy recording, a missing image). Two signals of
    this need no label:

    - *density*: the distance of the encoder's output from those of its training samples (`Density`), on either side;
      for the fused head the largest over the modalities;
    - *disagreement*: :math:`\log(1 + KL)` in both directions between an expert and the mean of the (other) unimodal
      experts.

    Both are standardised on clean held-out samples, and only the part above the quantile q counts: :math:`s =
    \mathrm{relu}(\zeta - \zeta_q)`. The rule chooses q such that three in ten of these samples have no signal at all
    (q is about .9). A sample without a signal has exactly the exponents of `Calibrated`, because the gate has no bias.
    The gate, shared by all experts, maps an expert's signals, those of the others and those of the fused head to
    :math:`a_k(x) = \exp(\mathrm{clip}(\theta_k + t + \tanh(W x_k) \cdot (w + v_k), -8, 4))`, and the prediction is
    :math:`\sum_k a_k(x) \log p_k(y|x)`.

    :math:`\theta, t` are those of `Calibrated`. Then the gate is fitted once, with the network frozen, on the clean
    held-out samples (.6 of the weight) and on copies of them with one corrupted modality each (.4), by cross-entropy
    with a quadratic penalty. A prediction does not depend on the rest of the batch, and the rule is not given which
    modality is corrupted.

    The encoders continue to change after the fit, and then train on the held-out samples too: `refresh` computes the
    moments again, and shifts the standardisation with those of the training samples.

    A sample that lacks modalities has the exponents of `Calibrated` for its pattern of presence, adjusted in the same
    way; absent modalities have no signals, and disagreement is measured among the experts that there are.

    Derived for this library from ARM's premise that the dominant modality changes with the environment (Gao et al.,
    AAAI 2025); the paper has no such rule.

    Args:
        modalities: Names of the modalities, in the model's order.
        task: The likelihood. Without classes (multi-label, regression) the density has a single cloud of samples.
        feature_dims: D_m by modality.

    Example:
        >>> from counterpoise.tasks import MultiClass
        >>> Dynamic(("a", "b"), MultiClass(2), {"a": 4, "b": 4}).fitted
        tensor(False)
    """

    needs_holdout = True
    needs_training_samples = True
    copies = 8
    fitted: Tensor
    centre: Tensor
    offset: Tensor
    spread: Tensor
    high: Tensor
    low: Tensor
    usual: Tensor
    usual_spread: Tensor
    usual_high: Tensor

    def __init__(self, modalities: tuple[str, ...], task: Task, feature_dims: Mapping[str, int]) -> None:
        super().__init__(modalities, task)
        count, experts = len(modalities), len(modalities) + 1
        classes = task.num_outputs if task.has_classes else 1
        self.densities = nn.ModuleList(Density(feature_dims[m], classes) for m in modalities)
        self.calibrated = Calibrated(modalities, task)
        generator = torch.Generator().manual_seed(0)
        start = {
            **{name: torch.zeros(count, SIZE) for name in ("centre", "offset", "high", "low")},
            **{name: torch.zeros(experts, 2) for name in ("usual", "usual_high")},
            "spread": torch.ones(count, SIZE),
            "usual_spread": torch.ones(experts, 2),
            "mix": torch.randn(HIDDEN, 4 * SIGNALS, generator=generator) / (4 * SIGNALS) ** 0.5,
            "shared": torch.zeros(HIDDEN),
            "own": torch.zeros(experts, HIDDEN),
            "fitted": torch.tensor(False),
        }
        for name, value in start.items():
            self.register_buffer(name, value)

    @property
    def _gate(self) -> dict[str, Tensor]:
        return {k: getattr(self, k) for k in ("mix", "shared", "own")}

    # -- signals -------------------------------------------------------------------------------------------------------

    def _distances(self, outputs: Outputs) -> Tensor:
        """Return ``(M, B, 3)``."""
        return torch.stack([d(outputs.features[m]) for m, d in zip(self.modalities, self.densities, strict=True)])

    def _disagreement(self, outputs: Outputs) -> Tensor:
        """Return ``(M + 1, B, 2)``: KL divergence between each expert and the mean of the other unimodal ones.

        Both directions, as log(1 + KL).
        """
        experts = outputs.experts().to(self.usual.dtype)
        divergences = []
        for k, own in enumerate(experts):
            rest = experts.new_ones(len(experts)) if outputs.present is None else expert_mask(outputs).to(experts.dtype)
            rest[0] = rest[k] = 0
            others = self._product(experts, rest / rest.sum(0).clamp_min(1))
            divergences.append(torch.stack([self.task.kl(others, own), self.task.kl(own, others)], -1))
        return torch.stack(divergences).clamp_min(0).log1p()

    def _standardised(self, outputs: Outputs) -> tuple[Tensor, Tensor]:
        """Return density ``(M, B, 3)`` and disagreement ``(M + 1, B, 2)``, in spreads of the clean held-out samples.

        They are NaN if a sample lacks the modality, or has no other modality to disagree with.
        """
        density = (self._distances(outputs) - self.centre[:, None]) / self.spread[:, None]
        disagreement = (self._disagreement(outputs) - self.usual[:, None]) / self.usual_spread[:, None]
        density = density.clamp(-6, 12)
        if outputs.present is not None:
            absent, lonely = _without_signals(outputs)
            density = density.masked_fill(absent[..., None], torch.nan)
            disagreement = disagreement.masked_fill(lonely[..., None], torch.nan)
        return density, disagreement

    def _inputs(self, outputs: Outputs) -> Tensor:
        """Return the inputs of the gate ``(M + 1, B, 32)``, zeros where nothing is unusual."""
        zeta, kappa = self._standardised(outputs)
        density = torch.cat([(zeta - self.high[:, None]).relu(), (self.low[:, None] - zeta).relu()], -1)  # (M, B, 6)
        disagreement = (kappa - self.usual_high[:, None]).relu()
        if outputs.present is not None:
            density, disagreement = density.nan_to_num(0.0), disagreement.nan_to_num(0.0)
        density = torch.cat([density.amax(0, keepdim=True), density])
        signals = torch.cat([density, disagreement], -1).clamp_max(10)  # (M + 1, B, 8)
        means, maxima = [signals[1:].mean(0)], [signals[1:].amax(0)]
        for k in range(1, len(signals)):
            rest = torch.cat([signals[1:k], signals[k + 1 :]])
            means.append(rest.mean(0))
            maxima.append(rest.amax(0))
        return torch.cat([signals, torch.stack(means), torch.stack(maxima), signals[:1].expand_as(signals)], -1)

    def _score(self, gate: Mapping[str, Tensor], x: Tensor) -> Tensor:
        """Return ``(M + 1, B)``, the change of the log-exponents."""
        return (torch.tanh(x @ gate["mix"].T) * (gate["shared"] + gate["own"])[:, None]).sum(-1)

    def _weights(self, gate: Mapping[str, Tensor], x: Tensor, mask: Tensor | None) -> Tensor:
        """Return ``(M + 1, B)`` for the inputs of the gate and the experts ``(M + 1, B)`` of each sample."""
        if mask is None:
            logarithm = self.calibrated.theta[:, None] + self.calibrated.temperature + self._score(gate, x)
            return logarithm.clamp(MIN_LOG_WEIGHT, MAX_LOG_WEIGHT).exp()
        logarithm = self.calibrated.log_weights(mask) + self._score(gate, x)
        return logarithm.clamp(MIN_LOG_WEIGHT, MAX_LOG_WEIGHT).exp() * self.calibrated.used(mask)

    def expert_weights(self, outputs: Outputs) -> Tensor:
        """Return ``(M + 1, B)``."""
        mask = None if outputs.present is None else expert_mask(outputs)
        return self._weights(self._gate, self._inputs(outputs), mask)

    def baseline(self, outputs: Outputs) -> Tensor:
        """Return the logits of the label frequencies of the held-out samples."""
        return self.calibrated.baseline(outputs)

    @torch.no_grad()
    def expected_gains(self, outputs: Outputs) -> dict[str, Tensor]:
        """See `Rule.expected_gains`; the gains are those of the prediction of this rule."""
        return self.calibrated.gains_of(self(outputs), outputs)

    def fit_patterns(self, outputs: Outputs, target: Tensor, samples: int | None = None) -> None:
        """Fit the exponents of every pattern of presence; the gate stays."""
        self.calibrated.fit_patterns(outputs, target, samples)

    def exponents_without(self, outputs: Outputs) -> dict[str, Tensor]:
        """Return the exponents of `Calibrated`, distributed over the other experts in the proportions of the gate.

        Their sum stays the fitted one: with two modalities, the prediction without one is the other's calibrated head.
        """
        trust = self._score(self._gate, self._inputs(outputs)).clamp(MIN_LOG_WEIGHT, MAX_LOG_WEIGHT).exp()
        result = {}
        for m, weights in self.calibrated.exponents_without(outputs).items():
            weights = weights[:, None] if weights.ndim == 1 else weights
            shifted = weights * trust
            result[m] = shifted * (weights.sum(0) / shifted.sum(0).clamp_min(1e-30))
        return result

    # -- fitting -------------------------------------------------------------------------------------------------------

    @torch.enable_grad()
    def fit(self, outputs: Outputs, target: Tensor, corrupted: Sequence[Outputs] = ()) -> None:
        """Calibrate on held-out samples, then fit the gate on them and on corrupted copies; call `refresh` first."""
        self.calibrated.fit(outputs, target)
        with torch.no_grad():
            self._standardise(outputs)
            views = [outputs, *corrupted]
            x = torch.cat([self._inputs(v) for v in views], 1)
            mask = None if outputs.present is None else torch.cat([expert_mask(v) for v in views], 1)
            experts = self.task.normalise(torch.cat([v.experts().to(x.dtype) for v in views], 1))
            n = len(target)
            share = x.new_full((len(views),), (1 - CLEAN_WEIGHT) / max(len(corrupted), 1))
            share[0] = CLEAN_WEIGHT if corrupted else 1.0
            weight = share.repeat_interleave(n) / n
            y = target.repeat(len(views), *[1] * (target.ndim - 1))
        gate = {name: value.clone().requires_grad_() for name, value in self._gate.items()}
        optimizer = torch.optim.Adam(gate.values(), lr=RATE)
        for _ in range(STEPS):
            optimizer.zero_grad()
            nll = -self.task.log_likelihood(self.task.combine(experts, self._weights(gate, x, mask)), y)
            size = gate["mix"].square().sum() + gate["shared"].square().sum() + 3 * gate["own"].square().sum()
            (weight @ nll + 2 / n * size).backward()
            optimizer.step()
        for name, value in gate.items():
            getattr(self, name).copy_(value.detach())
        self.fitted.fill_(True)

    def _standardise(self, outputs: Outputs) -> None:
        """Estimate location, spread and the threshold of every signal from clean held-out samples."""
        distances, kappa = self._distances(outputs), self._disagreement(outputs)
        has, agrees = (None, None) if outputs.present is None else tuple(~x for x in _without_signals(outputs))
        self.offset.copy_(_mean(distances, has) - self.centre)
        self.centre.add_(self.offset)
        self.spread.copy_(_spread(distances, has))
        self.usual.copy_(_mean(kappa, agrees))
        self.usual_spread.copy_(_spread(kappa, agrees))
        zeta, standard = self._standardised(outputs)
        if outputs.present is not None:  # an absent signal counts as ordinary
            zeta, standard = (_filled(signal) for signal in (zeta, standard))
        signals = torch.cat([zeta, -zeta], -1).transpose(1, 2).flatten(0, 1)
        signals = torch.cat([signals, standard.transpose(1, 2).flatten(0, 1)])  # (all signals, n)
        # A sample is ordinary if none of its signals exceeds the quantile q, that is, if its largest rank is below q.
        ranks = signals.argsort(1).argsort(1) / max(signals.shape[1] - 1, 1)
        edge = ranks.amax(0).quantile(ORDINARY_SHARE).item()
        self.high.copy_(zeta.quantile(edge, 1))
        self.low.copy_(zeta.quantile(1 - edge, 1))
        self.usual_high.copy_(standard.quantile(edge, 1))

    @torch.no_grad()
    def refresh(self, outputs: Outputs, target: Tensor) -> None:
        """Compute the moments of training samples under the current encoders."""
        classes = target if self.task.has_classes else target.new_zeros(len(target), dtype=torch.long)
        for m, density in zip(self.modalities, self.densities, strict=True):
            assert isinstance(density, Density)
            rows = outputs.mask(m)
            z = outputs.features[m]
            density.fit(z if rows is None else z[rows], classes if rows is None else classes[rows.to(classes.device)])
        has = None if outputs.present is None else ~_without_signals(outputs)[0]
        self.centre.copy_(_mean(self._distances(outputs), has) + self.offset)


def _without_signals(outputs: Outputs) -> tuple[Tensor, Tensor]:
    """Return where there is no density ``(M, B)``, and no disagreement ``(M + 1, B)``."""
    mask = expert_mask(outputs)
    alone = mask[1:].sum(0) <= 1
    lonely = ~mask
    lonely[1:] |= alone
    return ~mask[1:], lonely


def _mean(signals: Tensor, has: Tensor | None) -> Tensor:
    """Return the means ``(K, S)`` of signals ``(K, B, S)`` over the samples that have them."""
    if has is None:
        return signals.mean(1)
    weight = has[..., None].to(signals.dtype)
    return (signals * weight).sum(1) / weight.sum(1).clamp_min(1)


def _spread(signals: Tensor, has: Tensor | None) -> Tensor:
    """Return the standard deviations ``(K, S)`` of signals ``(K, B, S)`` over the samples that have them."""
    if has is None:
        return signals.std(1).clamp_min(1e-6)
    weight = has[..., None].to(signals.dtype)
    square = ((signals - _mean(signals, has)[:, None]).square() * weight).sum(1)
    return (square / (weight.sum(1) - 1).clamp_min(1)).sqrt().clamp_min(1e-6)


def _filled(signals: Tensor) -> Tensor:
    """Return signals ``(K, B, S)`` whose gaps hold the median of the others (0 if there are none)."""
    return torch.where(signals.isnan(), signals.nanmedian(1, keepdim=True).values.nan_to_num(0.0), signals)
