"""MSLR: modality-specific learning rates (Yao & Mihalcea, Findings of ACL 2022)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor

from counterpoise._validation import check_keys
from counterpoise.errors import ConfigError
from counterpoise.methods.base import (
    STRENGTH,
    Backward,
    EpochContext,
    Hyperparameter,
    Interval,
    Method,
    Options,
    backward,
    by_modality,
    joint_step,
)
from counterpoise.methods.hyperparameters import Rates
from counterpoise.methods.objective import scaled_updates
from counterpoise.methods.passes import head_losses, iterate_batches, trained_alone
from counterpoise.model import MultimodalClassifier
from counterpoise.records import Batch, StepRecord

__all__ = ["MSLR", "progress_factor", "relative_rates", "rescaled_steps"]

STEP, STEPS_PER_SIDE = 10**0.5, 4
"""Ratio of neighbouring learning rates of the search, and their number on either side of the middle one."""

BOUND = math.log(2)


def best_rate(loss: Callable[[float], float], middle: float) -> float:
    """Return the learning rate with the least loss, of nine that are half a decade apart.

    The minimum is refined by a parabola in the logarithm of the rate.

    Args:
        loss: Loss of a learning rate; NaN counts as infinite.
        middle: Middle one of the rates.

    Example:
        >>> best_rate(lambda rate: (math.log10(rate) + 1.7) ** 2, middle=1e-3)
        0.0199...
    """
    losses = [loss(middle * STEP**k) for k in range(-STEPS_PER_SIDE, STEPS_PER_SIDE + 1)]
    losses = [x if math.isfinite(x) else math.inf for x in losses]
    place = min(range(len(losses)), key=lambda k: (losses[k], abs(k - STEPS_PER_SIDE)))
    shift = 0.0
    if 0 < place < len(losses) - 1:
        below, here, above = losses[place - 1 : place + 2]
        curvature = below - 2 * here + above
        shift = (below - above) / (2 * curvature) if 0 < curvature < math.inf else 0.0
    return middle * STEP ** (place - STEPS_PER_SIDE + shift)


def relative_rates(rates: Tensor) -> Tensor:
    """Return learning rates ``(M,)`` relative to their geometric mean, so that the loop's rate remains the overall
    scale.

    Args:
        rates: ``(M,)``, positive.

    Example:
        >>> relative_rates(torch.tensor([0.001, 0.1]))
        tensor([ 0.1000, 10.0000])
    """
    return (rates.log() - rates.log().mean()).exp()


def progress_factor(loss: Tensor, history: Tensor) -> Tensor:
    r"""Return :math:`\exp(\bar L_m - L_m)`, in [1/2, 2]: above 1 if the held-out loss is below its mean.

    Args:
        loss: ``(M,)`` held-out losses now, nats.
        history: ``(epochs, M)`` losses of the epochs before; an empty history gives 1.

    Example:
        >>> progress_factor(torch.tensor([0.5, 0.9]), torch.tensor([[0.6, 0.8], [0.6, 0.8]]))
        tensor([1.1052, 0.9048])
    """
    return (history.mean(0) - loss).clamp(-BOUND, BOUND).exp() if len(history) else torch.ones_like(loss)


def rescaled_steps(
    model: MultimodalClassifier, records: Iterator[StepRecord], factors: Mapping[str, float | Tensor], shown: Tensor
) -> Iterator[StepRecord]:
    r"""Yield the records, and multiply each encoder's update by its factor after every step.

    See `counterpoise.methods.objective.scaled_updates`.

    Args:
        model: Model.
        records: Records of a method's steps.
        factors: :math:`\kappa_m` by modality.
        shown: The same as ``(M,)``, for the record.
    """
    for record in records:
        with scaled_updates(model, factors):
            yield StepRecord(record.loss, record.parts, dict(record.coefficients) | by_modality(model, "rate", shown))


class MSLR(Method):
    r"""Modality-specific learning rates: joint training in which every encoder has the learning rate that is best for
    it alone.

    Yao, Mihalcea, "Modality-specific Learning Rates for Effective Multimodal Additive Late-fusion", Findings of ACL
    2022. The learning rate of encoder m is :math:`\eta\, \kappa_m^s`, where :math:`\eta` is the loop's rate and
    :math:`r_m` is the best learning rate of modality m by itself over the geometric mean of all:

    - ``keep``: :math:`\kappa_m = r_m`;
    - ``smooth``: :math:`\kappa_m = \sqrt{r_m}`, halfway between its own rate and the common one;
    - ``dynamic``: :math:`\kappa_m = r_m` times the `progress_factor` of the head's held-out loss, from epoch to epoch.

    The update that the optimizer made is multiplied by :math:`\kappa_m` after the step, which equals another learning
    rate for every optimizer whose step is proportional to it (SGD, Adam, AdamW with their momenta and decays; a test).
    Gradients are those of joint training.

    Inferred (the abstract could be read, the formulas could not): what "smooth" and "dynamic" compute, and the
    geometric mean. Differs from the paper: encoders start with the loop's initial weights (there from fine-tuned
    unimodal models); the fused head keeps the loop's rate; any fusion (there a sum of unimodal predictions). Without
    ``rates``, a search finds them before the first epoch: the encoder and head of each modality are trained by AdamW
    with nine learning rates, and the one with the smallest held-out loss is used (`best_rate`). No samples are held out
    if ``rates`` are given and the strategy is not "dynamic".

    Args:
        strength: Strength s, in [0, inf); 0 is joint training, 1 the method.
        strategy: "keep", "smooth" or "dynamic".
        rates: Best learning rate of each modality alone, if known; only their ratios count.
        window: Number of earlier epochs with which "dynamic" compares.
        inner_epochs: Number of epochs of each trial of the search.
        inner_lr: Middle one of the learning rates that the search tries; they span a hundredth to a hundred times of
            it.

    Raises:
        ConfigError: (by `prepare`) if ``rates`` does not hold a positive number for each modality.

    Example:
        >>> MSLR(strategy="smooth", rates={"text": 1e-5, "image": 1e-3}).strategy
        'smooth'
    """

    strength = Hyperparameter(1.0, STRENGTH)
    strategy = Hyperparameter("keep", Options(("keep", "smooth", "dynamic")))
    rates = Hyperparameter[Mapping[str, float] | None](None, Rates())
    window = Hyperparameter(5, Interval(1, integer=True))
    inner_epochs = Hyperparameter(2, Interval(1, integer=True))
    inner_lr = Hyperparameter(1e-3, Interval(0, ends="()"))
    relative: Tensor
    history: Tensor
    known: Tensor
    _shown: Tensor
    """The factors as a tensor, for the record."""

    needs_held_out = True

    def validate(self) -> None:
        """Decide whether samples must be held out: not if the rates are given and do not change."""
        self.needs_held_out = self.rates is None or self.strategy == "dynamic"

    def setup(self, model: MultimodalClassifier, target: Tensor) -> MultimodalClassifier:
        """Register the rates, and the losses that "dynamic" compares with."""
        count = len(model.modalities)
        self.factors: dict[str, float] = {}
        relative = torch.ones(count)
        if self.rates is not None:
            check_keys("the rates of `MSLR`", self.rates, model.modalities)
            if len(self.rates) < count:
                raise ConfigError(
                    "Parameter `rates` of `MSLR` should hold a positive number for each of "
                    f"{', '.join(model.modalities)}. Found {dict(self.rates)}."
                )
            relative = relative_rates(torch.tensor([float(self.rates[m]) for m in model.modalities]))
        self.register_buffer("relative", relative)
        self.register_buffer("history", torch.zeros(self.window, count))
        self.register_buffer("known", torch.zeros((), dtype=torch.long))
        return model

    def on_epoch_start(self, model: MultimodalClassifier, epoch: EpochContext) -> None:
        """Search the rates before the first epoch; then follow the strategy."""
        if not self.strength:
            return
        if epoch.number == 0 and self.rates is None:
            best = torch.tensor([self._best_rate(model, epoch, m) for m in model.modalities])
            self.relative.copy_(relative_rates(best))
        kappa = self.relative.sqrt() if self.strategy == "smooth" else self.relative
        if self.strategy == "dynamic":
            loss = head_losses(model, iterate_batches(self, epoch, "held_out"))[1:].to(self.history)
            kappa = kappa * progress_factor(loss, self.history[: int(self.known)])
            self.history.copy_(torch.cat([loss.unsqueeze(0), self.history[:-1]]))
            self.known.add_(1).clamp_(max=self.window)
        self._shown = kappa**self.strength
        self.factors = dict(zip(model.modalities, self._shown.tolist(), strict=True))

    def _best_rate(self, model: MultimodalClassifier, epoch: EpochContext, m: str) -> float:
        """Return the learning rate with which the modality alone has the least held-out loss."""
        place = 1 + model.modalities.index(m)

        def loss(rate: float) -> float:
            batches = (iterate_batches(self, epoch) for _ in range(self.inner_epochs))
            clone = trained_alone(model, batches, m, lr=rate, seed=epoch.number)
            return head_losses(clone, iterate_batches(self, epoch, "held_out"))[place].item()

        return best_rate(loss, self.inner_lr)

    def steps(
        self, model: MultimodalClassifier, batch: Batch, *, backward: Backward = backward
    ) -> Iterator[StepRecord]:
        """See `Method.steps`; after the step the updates of the encoders are rescaled."""
        records = joint_step(model, batch, backward)
        yield from rescaled_steps(model, records, self.factors, self._shown) if self.factors else records
