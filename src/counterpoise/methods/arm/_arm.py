"""ARM: asymmetric reinforcing against multimodal representation bias (Gao et al., AAAI 2025)."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from counterpoise.errors import ModelError
from counterpoise.methods._probes import ContributionProbes
from counterpoise.methods.arm._fusion import AsymmetricFusion
from counterpoise.methods.arm._minmax import BalancedMinMaxLoss
from counterpoise.methods.arm._resampler import ContributionResampler
from counterpoise.methods.base import STRENGTH, Backward, Hyperparameter, Interval, Method, backward, unimodal_losses
from counterpoise.methods.logits import decode
from counterpoise.model import MultimodalClassifier, scale_gradient
from counterpoise.records import Batch, Outputs, StepRecord

__all__ = ["ARM"]


MIN_ENTROPY = 1e-6
"""Entropy in nats below which all labels count as equal."""


class ARM(Method):
    r"""Asymmetric reinforcing: modalities that contribute little get more weight in the loss and in the fusion.

    Gao, Cao, Zhu, Wang, Hu, "Asymmetric Reinforcing against Multi-modal Representation Bias", AAAI 2025 (arXiv
    2501.01240). Each step on a batch:

    1. Probes on detached features give the marginal contributions :math:`\hat\phi_m = CE(q_{-m}) - CE(q_\mathrm{all})`,
       an estimate of the conditional mutual information :math:`I(Z_m; Y | Z_{-m})` in nats; :math:`\phi_m \leftarrow
       .95 \phi_m + .05 \hat\phi_m`.
    2. `AsymmetricFusion`: features enter the fused head with weights that fall with :math:`\phi_m`.
    3. `BalancedMinMaxLoss`: :math:`CE(h) + \sum_m \lambda_m CE(u_m)`. Of the gradient of CE(h) the encoders get the
       share :math:`\rho` that is synergy: information of the fused head that no sum over modalities provides (of
       :math:`q_\mathrm{all}` and the product of the :math:`u_m`, the better one). The labels of the :math:`u_m` are
       smoothed, so that the confidence of an expert indicates how much to trust it on a sample.
    4. `ContributionResampler`: for a share of the samples, one modality is hidden from the fused head, drawn by
       :math:`\phi_m`.

    Differs from the paper: its formulas for the valuation, the min-max loss and the re-sampling could not be obtained;
    these are derived from its stated principles. Differs from the authors' code, which weights two branches by the
    ratio of their confidence in the *true* class, also at test time: here no label reaches a prediction, and the
    conditional mutual information is one.

    Args:
        strength: Strength of the asymmetry; multiplies ``tau``, ``gamma`` and ``rate``. 0 is joint training bit for
            bit.
        fusion: Whether to use the dynamic fusion.
        minmax: Whether to use the contribution-dependent weights of the loss, the share of the fused gradient and the
            smoothing.
        resampling: Whether to use the re-sampling.
        tau: Exponent of the fusion weights.
        gamma: Weight of the contribution gap in the loss.
        rate: Share of the samples from which a modality is hidden.
        decay: Decay of the moving averages.
        smoothing: Share of the unimodal heads' labels that is spread over all classes (real targets stay as they are).

    Raises:
        ModelError: (by `prepare`) if all training samples have the same label.

    Example:
        >>> ARM(resampling=False, minmax=False).hyperparameters["minmax"]
        False
    """

    strength = Hyperparameter(1.0, STRENGTH)
    fusion = Hyperparameter(True)
    minmax = Hyperparameter(True)
    resampling = Hyperparameter(True)
    tau = Hyperparameter(0.5, Interval(0))
    gamma = Hyperparameter(2.0, Interval(0))
    rate = Hyperparameter(0.3, Interval(0, 1, "[]"))
    decay = Hyperparameter(0.95, Interval(0, 1))
    smoothing = Hyperparameter(0.1, Interval(0, 1))
    default_rule = "dynamic"
    parts = ("fusion", "minmax", "resampling")
    phi: Tensor

    def setup(self, model: MultimodalClassifier, target: Tensor) -> MultimodalClassifier:
        """Wrap the fusion, build the probes and the memory of contributions."""
        self.entropy = model.task.information_scale(target)
        if self.entropy <= MIN_ENTROPY:
            raise ModelError(
                "`ARM` compares contributions with the entropy of the labels. Found an entropy of 0: all training "
                "samples have the same label. There is nothing to learn; use joint training."
            )
        self.probes = ContributionProbes(model)
        nothing = model.task.prior_logits(target).expand(len(target), -1)
        self.prior = model.task.loss(nothing, target).item()  # of a head that knows nothing; H(Y) for classes
        self.loss = BalancedMinMaxLoss(self.gamma * self.strength if self.minmax else 0.0, self.decay)
        self.resampler = ContributionResampler(min(self.rate * self.strength, 1.0) if self.resampling else 0.0)
        self.register_buffer("phi", torch.zeros(len(model.modalities)))
        if isinstance(model.fusion, AsymmetricFusion):
            return model
        return model.with_fusion(AsymmetricFusion(model.fusion))

    def steps(
        self, model: MultimodalClassifier, batch: Batch, *, backward: Backward = backward
    ) -> Iterator[StepRecord]:
        """See `Method.steps`."""
        features = model.encode(batch.inputs)
        nll = -model.task.log_likelihood(self.probes(model.vectors(features)), batch.target)  # (M + 1, B), nats
        weights = self._value(model, nll)
        rho = self._synergy()
        read = {m: scale_gradient(z, rho) for m, z in features.items()}
        shown = self.resampler(read, self.phi, entropy=self.entropy)
        outputs = decode(model, features, shown, head_gradient=weights)
        fused = model.task.loss(outputs.logits, batch.target)
        if self.separates:
            self._observe(model, outputs, nll[0].mean(), fused, batch.target)
        unimodal = unimodal_losses(model, outputs, batch.target, self.smoothing if self.separates else 0.0)
        probes = nll.mean(-1).sum()
        backward(fused + torch.stack(list(unimodal.values())).sum() + probes)
        parts = {"fused": fused.detach(), **{m: u.detach() for m, u in unimodal.items()}}
        reported = parts["fused"] + torch.stack([weights[m] * parts[m] for m in unimodal]).sum()
        yield StepRecord(
            reported,
            parts | {"probes": probes.detach()},
            {f"phi:{m}": p for m, p in zip(model.modalities, self.phi.clone(), strict=True)}
            | {f"lambda:{m}": torch.as_tensor(w) for m, w in weights.items()}
            | {f"w:{m}": w for m, w in self._fusion_weights(model).items()}
            | {"rho": rho},
        )

    @torch.no_grad()
    def _observe(
        self, model: MultimodalClassifier, outputs: Outputs, probe: Tensor, fused: Tensor, target: Tensor
    ) -> None:
        """Report to the loss the information of the better of two sums over modalities, and that of the fused head."""
        heads = torch.stack(list(outputs.unimodal_logits.values()))
        product = heads.mean(0) if model.task.is_gaussian else heads.sum(0)
        additive = torch.minimum(probe, model.task.loss(product, target))
        self.loss.observe(self.prior - additive, self.prior - fused, self.entropy)

    @property
    def separates(self) -> bool:
        """Whether encoders learn from their own, smoothed losses and get only a share of the fused gradient."""
        return self.minmax and self.strength > 0

    def _synergy(self) -> Tensor:
        """Return the share of the fused gradient that the encoders get, from the steps so far."""
        return self.loss.share() if self.separates else torch.ones_like(self.loss.known[0])

    @torch.no_grad()
    def _value(self, model: MultimodalClassifier, nll: Tensor) -> dict[str, Tensor | float]:
        """Update the contributions and what depends on them; return each modality's weight in the loss."""
        self.phi.lerp_((nll[1:] - nll[0]).mean(-1), 1 - self.decay)
        if self.fusion and self.strength and isinstance(model.fusion, AsymmetricFusion):
            model.fusion.update(self.phi, entropy=self.entropy, tau=self.tau * self.strength)
        if not self.strength:
            return dict.fromkeys(model.modalities, 0.0)
        return dict(zip(model.modalities, self.loss.weights(self.phi, self.entropy), strict=True))

    @staticmethod
    def _fusion_weights(model: MultimodalClassifier) -> dict[str, Tensor]:
        if not isinstance(model.fusion, AsymmetricFusion):
            return {}
        return dict(zip(model.modalities, model.fusion.weights.clone(), strict=True))
