r"""A product of experts whose weights depend on the sample: the dynamic rule. No label is read at inference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from counterpoise.inference._density import SIZE, Density
from counterpoise.inference._rules import Calibrated, Rule
from counterpoise.records import Outputs
from counterpoise.tasks import Task

__all__ = ["Dynamic"]

SIGNS = 2 * SIZE + 2
HIDDEN = 16
CLEAN = 0.6
"""Weight of the clean samples in the fit."""
ORDINARY = 0.3
"""Share of the clean held-out samples that have no sign at all."""
STEPS = 200
RATE = 0.05


class Dynamic(Rule):
    r"""The held-out calibrated product of experts, until something is unusual about a sample.

    Which modality to trust may change from sample to sample (a noisy recording, a missing image). Two label-free signs tell:

    - *density*: is the encoder's output unlike those of its training samples (`Density`), on either side; the largest of all modalities for the
      fused head;
    - *disagreement*: :math:`\log(1 + KL)` in both directions between an expert and the mean of the (other) unimodal ones.

    Both are standardised on clean held-out samples, and only what exceeds the quantile q there counts: :math:`s = \mathrm{relu}(\zeta - \zeta_q)`, with q
    such that three in ten of them have no sign at all, however many modalities there are (q is about .9). A
    sample without unusual signs has exactly the weights of `Calibrated`, and an ordinary one nearly. A small gate without bias, shared by all experts, turns an expert's signs, those of the
    others and those of the fused head into :math:`a_k(x) = \exp(\mathrm{clip}(\theta_k + t + \tanh(W x_k) \cdot (w + v_k), -8, 4))`, and the prediction is
    :math:`\sum_k a_k(x) \log p_k(y|x)`.

    :math:`\theta, t` are those of `Calibrated`; then the gate is fitted once, with the network frozen, on the clean held-out samples (.6 of the weight) and
    on copies of them with one damaged modality each (.4), by cross-entropy with a quadratic penalty. Nothing depends on the batch, and nothing says
    what is damaged.

    The encoders go on changing after the fit, and train on what was held out: `refresh` takes the moments again, and moves the
    standardisation along with the training samples.

    Derived for this library from ARM's premise that the dominant modality changes with the environment (Gao et al., AAAI 2025); the paper has no such rule.

    Args:
        modalities: their names.
        task: the likelihood. Without classes (multi-label, regression) the density knows one cloud of samples only.
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
    theta: Tensor
    temperature: Tensor
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
        experts = len(modalities) + 1
        classes = task.num_outputs if task.name == "multiclass" else 1
        self.densities = nn.ModuleList(Density(feature_dims[m], classes) for m in modalities)
        for name in ("centre", "offset", "high", "low"):
            self.register_buffer(name, torch.zeros(len(modalities), SIZE, dtype=torch.float64))
        for name in ("usual", "usual_high"):
            self.register_buffer(name, torch.zeros(experts, 2, dtype=torch.float64))
        self.register_buffer("spread", torch.ones(len(modalities), SIZE, dtype=torch.float64))
        self.register_buffer("usual_spread", torch.ones(experts, 2, dtype=torch.float64))
        self.register_buffer("fitted", torch.tensor(False))
        generator = torch.Generator().manual_seed(0)
        start = {
            "theta": torch.zeros(experts),
            "temperature": torch.tensor(-float(torch.tensor(experts).log())),
            "mix": torch.randn(HIDDEN, 4 * SIGNS, generator=generator) / (4 * SIGNS) ** 0.5,
            "shared": torch.zeros(HIDDEN),
            "own": torch.zeros(experts, HIDDEN),
        }
        for name, value in start.items():
            self.register_buffer(name, value.double())

    @property
    def _gate(self) -> dict[str, Tensor]:
        return {k: getattr(self, k) for k in ("mix", "shared", "own")}

    # -- signs ---------------------------------------------------------------------------------------------------------

    def _distances(self, outputs: Outputs) -> Tensor:
        """Return ``(M, B, 3)``."""
        return torch.stack([d(outputs.features[m]) for m, d in zip(self.modalities, self.densities, strict=True)])

    def _disagreement(self, outputs: Outputs) -> Tensor:
        """Return ``(M + 1, B, 2)``: how far each expert is from the mean of the (other) unimodal ones, and they from it."""
        experts = outputs.experts().double()
        found = []
        for k, own in enumerate(experts):
            rest = torch.ones(len(experts), dtype=torch.float64)
            rest[0] = rest[k] = 0
            others = self._product(experts, rest / rest.sum())
            found.append(torch.stack([self.task.kl(others, own), self.task.kl(own, others)], -1))
        return torch.stack(found).clamp_min(0).log1p()

    def _standardised(self, outputs: Outputs) -> tuple[Tensor, Tensor]:
        """Return density ``(M, B, 3)`` and disagreement ``(M + 1, B, 2)``, in spreads of the clean held-out samples."""
        density = (self._distances(outputs) - self.centre[:, None]) / self.spread[:, None]
        disagreement = (self._disagreement(outputs) - self.usual[:, None]) / self.usual_spread[:, None]
        return density.clamp(-6, 12), disagreement

    def _inputs(self, outputs: Outputs) -> Tensor:
        """Return what the gate sees: ``(M + 1, B, 32)``, zeros where nothing is unusual."""
        zeta, kappa = self._standardised(outputs)
        density = torch.cat([(zeta - self.high[:, None]).relu(), (self.low[:, None] - zeta).relu()], -1)  # (M, B, 6)
        density = torch.cat([density.amax(0, keepdim=True), density])
        signs = torch.cat([density, (kappa - self.usual_high[:, None]).relu()], -1).clamp_max(10)  # (M + 1, B, 8)
        means, maxima = [signs[1:].mean(0)], [signs[1:].amax(0)]
        for k in range(1, len(signs)):
            rest = torch.cat([signs[1:k], signs[k + 1 :]])
            means.append(rest.mean(0))
            maxima.append(rest.amax(0))
        return torch.cat([signs, torch.stack(means), torch.stack(maxima), signs[:1].expand_as(signs)], -1)

    def _weights(self, gate: Mapping[str, Tensor], x: Tensor) -> Tensor:
        """Return ``(M + 1, B)``."""
        score = (torch.tanh(x @ gate["mix"].T) * (gate["shared"] + gate["own"])[:, None]).sum(-1)
        return (self.theta[:, None] + self.temperature + score).clamp(-8, 4).exp()

    def expert_weights(self, outputs: Outputs) -> Tensor:
        """Return ``(M + 1, B)``."""
        return self._weights(self._gate, self._inputs(outputs))

    # -- fitting -------------------------------------------------------------------------------------------------------

    @torch.enable_grad()
    def fit(self, outputs: Outputs, target: Tensor, damaged: Sequence[Outputs] = ()) -> None:
        """Calibrate on held-out samples, then fit the gate on them and on damaged copies; call `refresh` first."""
        calibrated = Calibrated(self.modalities, self.task)
        calibrated.fit(outputs, target)
        self.theta.copy_(calibrated.theta)
        self.temperature.copy_(calibrated.temperature)
        with torch.no_grad():
            self._standardise(outputs)
            views = [outputs, *damaged]
            x = torch.cat([self._inputs(v) for v in views], 1).float()  # single precision: a third of the time
            experts = self._normalised(torch.cat([v.experts().float() for v in views], 1))
            n = len(target)
            share = torch.full((len(views),), (1 - CLEAN) / max(len(damaged), 1))
            share[0] = CLEAN if damaged else 1.0
            weight = share.repeat_interleave(n) / n
            y = target.repeat(len(views), *[1] * (target.ndim - 1))
        gate = {name: value.float().requires_grad_() for name, value in self._gate.items()}
        optimizer = torch.optim.Adam(gate.values(), lr=RATE)
        for _ in range(STEPS):
            optimizer.zero_grad()
            nll = -self.task.log_likelihood(self._combine(experts, self._weights(gate, x)), y)
            size = gate["mix"].square().sum() + gate["shared"].square().sum() + 3 * gate["own"].square().sum()
            (weight @ nll + 2 / n * size).backward()
            optimizer.step()
        for name, value in gate.items():
            getattr(self, name).copy_(value.detach())
        self.fitted.fill_(True)

    def _standardise(self, outputs: Outputs) -> None:
        """Take from clean held-out samples what is usual, and from where on it is unusual."""
        found, kappa = self._distances(outputs), self._disagreement(outputs)
        self.offset.copy_(found.mean(1) - self.centre)
        self.centre.add_(self.offset)
        self.spread.copy_(found.std(1).clamp_min(1e-6))
        self.usual.copy_(kappa.mean(1))
        self.usual_spread.copy_(kappa.std(1).clamp_min(1e-6))
        zeta, standard = self._standardised(outputs)
        signs = torch.cat([zeta, -zeta], -1).transpose(1, 2).flatten(0, 1)
        signs = torch.cat([signs, standard.transpose(1, 2).flatten(0, 1)])  # (all signs, n)
        ranks = signs.argsort(1).argsort(1) / max(signs.shape[1] - 1, 1)
        edge = ranks.amax(0).double().quantile(ORDINARY).item()
        self.high.copy_(zeta.quantile(edge, 1))
        self.low.copy_(zeta.quantile(1 - edge, 1))
        self.usual_high.copy_(standard.quantile(edge, 1))

    @torch.no_grad()
    def refresh(self, outputs: Outputs, target: Tensor) -> None:
        """Take the moments of training samples under the encoders as they are now."""
        classes = target if self.task.name == "multiclass" else torch.zeros(len(target), dtype=torch.long)
        for m, density in zip(self.modalities, self.densities, strict=True):
            assert isinstance(density, Density)
            density.fit(outputs.features[m], classes)
        self.centre.copy_(self._distances(outputs).mean(1) + self.offset)
