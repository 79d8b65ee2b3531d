"""ARM: asymmetric reinforcing against multimodal representation bias (Gao et al., AAAI 2025)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import ClassVar, Final

import torch
from torch import Tensor

from counterpoise.errors import ModelError
from counterpoise.methods.arm._cache import Cache
from counterpoise.methods.arm._fusion import AsymmetricFusion, fusion_weights, gradient_shares
from counterpoise.methods.arm._heldout import (
    HeldOutContributions,
    held_out_contributions,
    held_out_experts,
    significance,
)
from counterpoise.methods.arm._minmax import BalancedMinMaxLoss, fused_share
from counterpoise.methods.arm._resampler import ContributionResampler, learnable_information
from counterpoise.methods.arm._states import ModalityState, memorised_share, modality_states, rising, update_scales
from counterpoise.methods.base import (
    STRENGTH,
    Backward,
    EpochContext,
    Hyperparameter,
    Interval,
    Method,
    NamedTensors,
    backward,
    by_modality,
    detached,
    joint_step,
    require_fusion,
    unimodal_losses,
)
from counterpoise.methods.logits import modality_means, presence_masks
from counterpoise.methods.passes import iterate_batches
from counterpoise.model import MultimodalClassifier, scale_gradient
from counterpoise.records import Batch, StepRecord

__all__ = ["ARM", "AsymmetricTraining"]

MIN_ENTROPY: Final = 1e-6
"""Entropy in nats below which all labels count as equal."""
MIN_SAMPLES: Final = 8
"""Number of held-out samples below which nothing is measured."""
MIN_STEPS: Final = 40
"""Number of steps in which separated encoders learn from their unimodal losses only."""


class AsymmetricTraining(Method):
    """Base of `ARM` and `SeparatedExperts`: five components that can be switched on and off, driven by contributions on
    held-out samples.

    Args:
        strength: Strength of the asymmetry; 0 is joint training bit for bit.
        separate: Whether encoders learn from their own losses, with a share of the fused gradient only.
        smoothing: Share of the unimodal heads' labels that is spread over all classes.
        loss_weights: Whether the updates of the encoders are scaled.
        fusion: Whether features are weighted before the fused head.
        resampling: Whether samples are drawn more often if weak modalities have little information about them.
        tau: Exponent of the fusion weights.
        gamma: Weight of the contribution gap.
        rate: Largest addition to the frequency of a sample.
    """

    strength = Hyperparameter(1.0, STRENGTH)
    separate = Hyperparameter(False)
    smoothing = Hyperparameter(0.0, Interval(0, 1))
    loss_weights = Hyperparameter(True)
    fusion = Hyperparameter(True)
    resampling = Hyperparameter(True)
    tau = Hyperparameter(2.0, Interval(0))
    gamma = Hyperparameter(1.0, Interval(0))
    rate = Hyperparameter(0.5, Interval(0))
    parts: ClassVar[tuple[str, ...]] = ("fusion", "loss_weights", "resampling")
    needs_held_out = True
    releases_held_out = True
    prior: Tensor
    rho: Tensor
    marginal: Tensor
    share: Tensor
    states: Tensor
    best: Tensor
    learned: Tensor
    target: Tensor
    seen: Tensor

    def setup(self, model: MultimodalClassifier, target: Tensor) -> MultimodalClassifier:
        """Wrap the fusion, and register the state of each modality."""
        task, count = model.task, len(model.modalities)
        self.entropy = task.information_scale(target)
        if self.entropy <= MIN_ENTROPY:
            raise ModelError(
                f"`{type(self).__name__}` compares contributions with the entropy of the labels. Found an entropy of "
                "0: all training samples have the same label. There is nothing to learn; use joint training."
            )
        self.register_buffer("prior", task.prior_logits(target).float())
        self.register_buffer("target", target.clone(), persistent=False)
        for name in ("marginal", "share", "best"):
            self.register_buffer(name, torch.zeros(count))
        self.register_buffer("states", torch.full((count,), int(ModalityState.LEARNING)))
        self.register_buffer("rho", torch.tensor(0.0 if self.separate else 1.0))
        self.register_buffer("learned", torch.zeros(count + 1))
        self.register_buffer("seen", torch.zeros((), dtype=torch.long))
        self._coefficients: Cache[NamedTensors] = Cache()
        self._ignorance: Cache[Tensor] = Cache()
        self.loss = BalancedMinMaxLoss(count)
        self.resampler = ContributionResampler(len(target), count, self.rate * self.strength * self.resampling)
        return model.with_fusion(AsymmetricFusion(model.fusion))

    def on_epoch_start(self, model: MultimodalClassifier, epoch: EpochContext) -> None:
        """Measure contributions on the held-out samples, and update the weights of each modality for the next epoch.

        Once the held-out samples have joined the training, the last weights are kept.

        Raises:
            DataError: If the loop passes no held-out samples in the first epoch.
        """
        if not self.strength:
            return
        self.loss.synchronise()
        require_fusion(self, model, AsymmetricFusion).synchronise()
        if epoch.number == 0:
            iterate_batches(self, epoch, "held_out")  # raises if there are none
            self.learned.zero_()
        elif epoch.held_out is not None:
            experts, target, masks = held_out_experts(model, iterate_batches(self, epoch, "held_out"))
            if len(target) >= MIN_SAMPLES and bool(experts.isfinite().all()):
                self._decide(model, held_out_contributions(model.task, experts, target, self.prior, masks))
            self.learned.zero_()

    @torch.no_grad()
    def _decide(self, model: MultimodalClassifier, known: HeldOutContributions) -> None:
        """Update the states of the modalities and what depends on them."""
        train = self.learned[:-1] / self.learned[-1].clamp_min(1)
        # Information that only several modalities together have counts for each of them.
        held_out = torch.maximum(known.alone, known.marginal)
        error = torch.where(known.alone >= known.marginal, known.alone_error, known.marginal_error)
        overfit = significance(train - held_out, error)
        adds = significance(known.marginal, known.marginal_error)  # those that add are not slowed
        self.marginal.copy_(known.marginal)
        memorised = memorised_share(held_out, train, self.entropy)
        # A modality that still learns to generalise is held back by half.
        share = memorised * overfit * (1 - adds) * (1 - rising(held_out, self.best) / 2)
        # A single good measurement, perhaps the last one, does not restore the trust in a modality at once.
        self.share.copy_(torch.maximum(share, self.share / 2))
        self.states.copy_(modality_states(held_out, error, train, self.best, self.entropy))
        self.best.copy_(torch.maximum(self.best, held_out))
        gaps, errors = known.gaps
        weak = significance(gaps, errors)
        reinforced = weak * (self.states == int(ModalityState.LEARNING))
        synergy = fused_share(known, self.entropy)
        if self.loss_weights:
            informative, gamma = significance(held_out, error), self.gamma * self.strength
            behind = weak * gaps / self.entropy
            self.loss.update(update_scales(self.states, behind, memorised, self.share, informative, gamma))
        if self.fusion:
            fusion = require_fusion(self, model, AsymmetricFusion)
            weights = fusion_weights(self.share, self.tau * self.strength)
            # What only all modalities together know is learned from the fused gradient.
            fusion.update(weights, gradient_shares(reinforced * (1 - synergy), self.strength))
        if self.separate and int(self.seen) >= MIN_STEPS:
            self.rho.copy_(synergy)
        if self.resampling:
            learnable = learnable_information(model.task, known.own, known.target, self.target, known.masks)
            self.resampler.update(learnable, reinforced, self.entropy)

    def resample(self, order: Tensor, generator: torch.Generator) -> Tensor:
        """See `Method.resample`."""
        return self.resampler.draw(order, generator) if self.strength else order

    def steps(
        self, model: MultimodalClassifier, batch: Batch, *, backward: Backward = backward
    ) -> Iterator[StepRecord]:
        """See `Method.steps`; the updates of the encoders are scaled after the step."""
        if not self.strength:
            yield from joint_step(model, batch, backward)
            return
        fusion = require_fusion(self, model, AsymmetricFusion)
        features = model.encode(batch.inputs, batch.present)
        read = {m: scale_gradient(z, self.rho if self.separate else 1.0) for m, z in features.items()}
        outputs = model.decode(features, 1.0, batch.present, fused_features=read)
        fused = model.task.loss(outputs.logits, batch.target)
        unimodal = unimodal_losses(model, outputs, batch.target, self.smoothing)
        self._observe(model, torch.stack(list(outputs.unimodal_logits.values())).detach(), batch)
        backward(fused + torch.stack(list(unimodal.values())).sum())
        parts = detached({"fused": fused, **unimodal})
        coefficients = self._recorded(model, fusion)
        with self.loss.scaled_step(model):
            yield StepRecord(self.loss(parts["fused"], {m: parts[m] for m in unimodal}), parts, coefficients)

    def _recorded(self, model: MultimodalClassifier, fusion: AsymmetricFusion) -> NamedTensors:
        """Return the coefficients of a step, which change between epochs only."""
        vectors = {"phi": self.marginal, "mu": self.share, "state": self.states, "lambda": self.loss.weights}
        vectors |= {"w": fusion.weights, "c": fusion.gradients}
        scalars = {"rho": self.rho, "frequency": self.resampler.largest}

        def copied() -> NamedTensors:
            named: NamedTensors = {}
            for letter, x in vectors.items():
                named |= by_modality(model, letter, x.to(self.share) if letter == "state" else x.clone())
            return named | {name: x.clone() for name, x in scalars.items()}

        return dict(self._coefficients.get([*vectors.values(), *scalars.values()], copied))

    @torch.no_grad()
    def _observe(self, model: MultimodalClassifier, logits: Tensor, batch: Batch) -> None:
        """Add up the information of each modality about its training samples.

        Args:
            model: Model.
            logits: Logits of the unimodal heads, ``(M, B, C)``.
            batch: Samples.
        """
        known = (
            model.task.log_likelihood(logits, batch.target) - self._from_frequencies(model, logits.dtype)[batch.index]
        )
        masks = presence_masks(model.modalities, batch.present)
        total = known.sum(-1) if masks is None else len(batch) * modality_means(known, masks)
        self.learned.add_(torch.cat([total, known.new_full((1,), len(batch))]).to(self.learned.dtype))
        # An absent modality cannot learn about the sample, so its information counts as complete.
        self.resampler.observe(batch.index, (known if masks is None else known.masked_fill(~masks, math.inf)).T)
        self.seen.add_(1)

    def _from_frequencies(self, model: MultimodalClassifier, dtype: torch.dtype) -> Tensor:
        """Return the log-likelihood of every training sample under the label frequencies, ``(N,)``."""

        def computed() -> Tensor:
            logits = self.prior.to(dtype)
            return model.task.log_likelihood(logits.expand(len(self.target), len(logits)), self.target)

        value = self._ignorance.get([self.prior, self.target], computed)
        return value if value.dtype == dtype else computed()


class ARM(AsymmetricTraining):
    r"""Asymmetric reinforcing: weak modalities are reinforced to the extent that held-out samples show that they can
    still learn.

    Gao, Cao, Zhu, Wang, Hu, "Asymmetric Reinforcing against Multi-modal Representation Bias", AAAI 2025 (arXiv
    2501.01240). The principles of the paper, and their implementation here:

    - *Mutual information bounds the joint contribution, conditional mutual information is each modality's marginal
      contribution.* Both are measured before every epoch on samples that the encoders have not been trained on
      (`held_out_contributions`), per sample and with standard errors. A difference within 1.64 standard errors has no
      effect. Held-out and training information together give each modality a `ModalityState`. A modality that memorises
      is slowed down, unless it adds significantly to the others.
    - *Dynamic feature-level fusion* (``fusion``): features enter the fused head with the weights
      :math:`w_m \propto (1 - \mu_m)^\tau`, see `fusion_weights`. The fused gradient returns to the encoders through
      these weights, and only a small share of it to those of weak modalities, see `gradient_shares`.
    - *Balanced min-max loss* (``loss_weights``): the joint contribution is maximised, and the gap to the strongest
      modality is closed by strengthening the weak ones (`BalancedMinMaxLoss`). Its weights :math:`\lambda_m` multiply
      the update of an encoder after the optimizer's step, because Adam cancels a factor of the gradient.
    - *Dynamic sample-level re-sampling* (``resampling``): a training sample is drawn up to ``1 + rate`` times as often
      if a weak modality has less information about it than about held-out samples of its class
      (`ContributionResampler`).

    Without all three it is uniform training bit for bit. ``separate`` and ``smoothing`` are not part of the paper: they
    exist for ablations, and are switched on in `SeparatedExperts`.

    A tenth of the training samples is held out during the first half of the epochs. After that it is trained on, and
    the last weights are kept. A loop of your own passes held-out samples as `EpochContext.held_out`.

    Differs from the paper: its formulas for the valuation, the min-max loss and the re-sampling were not accessible;
    these are derived from its stated principles. Differs from the authors' code, which weights two branches by the
    ratio of their confidence in the *true* class, also at test time: here no label reaches a prediction, and the
    conditional contribution estimates a conditional mutual information.

    Args:
        strength: Strength of the asymmetry; multiplies ``tau``, ``gamma`` and ``rate``. 0 is joint training bit for
            bit.
        separate: Whether encoders learn from their own losses, with the share :math:`\rho` of the fused gradient that
            is synergy.
        smoothing: Share of the unimodal heads' labels that is spread over all classes (real targets stay as they are).
        loss_weights: Whether to use the min-max loss's weights.
        fusion: Whether to use the dynamic fusion.
        resampling: Whether to use the re-sampling.
        tau: Exponent of the fusion weights.
        gamma: Weight of the contribution gap.
        rate: Largest addition to the frequency of a sample.

    Raises:
        ModelError: (by `prepare`) if all training samples have the same label.

    Example:
        >>> ARM(resampling=False, loss_weights=False).hyperparameters["loss_weights"]
        False
    """


class SeparatedExperts(AsymmetricTraining):
    r"""The library's own recipe: each encoder is an expert that learns from its own smoothed loss.

    :math:`L = CE(z(\mathrm{sg}_\rho\, h), y) + \sum_m CE_\epsilon(u_m, y)`, read by the dynamic decision rule:

    - ``separate``: the gradient of the fused loss is small where the *other* modalities already predict the label, so
      that a dominant modality leaves little gradient for the others. Encoders therefore receive only the share
      :math:`\rho` of it that is due to synergy: held-out information of the fused head that the unimodal heads together
      do not have. The share is 0 for the first `MIN_STEPS` steps, and 1 if no modality is informative alone (parity).
    - ``smoothing``: a head that is less confident on training samples is also less confident on corrupted ones, and the
      dynamic rule weights experts by their confidence.
    - ``fusion`` as in `ARM`: the fused head relies less on modalities that memorise, according to held-out samples. No
      gradient of it enters the encoders here.

    ``loss_weights`` and ``resampling`` are off, because they improved nothing on the splits on which the recipe was
    chosen.

    The recipe is not taken from a paper. Without asymmetry, smoothing and synergy, it is `SeparatedGradients` bit for
    bit.

    Args:
        strength: Strength of the asymmetry; multiplies ``tau``, ``gamma`` and ``rate``. 0 is joint training bit for
            bit.
        separate: Whether encoders learn from their own losses.
        smoothing: Share of the unimodal heads' labels that is spread over all classes (real targets stay as they are).
        loss_weights: Whether to use the min-max loss's weights.
        fusion: Whether to use the dynamic fusion.
        resampling: Whether to use the re-sampling.
        tau: Exponent of the fusion weights.
        gamma: Weight of the contribution gap.
        rate: Largest addition to the frequency of a sample.

    Raises:
        ModelError: (by `prepare`) if all training samples have the same label.

    Example:
        >>> SeparatedExperts().smoothing
        0.1
    """

    separate = Hyperparameter(True)
    smoothing = Hyperparameter(0.1, Interval(0, 1))
    loss_weights = Hyperparameter(False)
    resampling = Hyperparameter(False)
    default_rule = "dynamic"
    parts = ("separate", "fusion")
