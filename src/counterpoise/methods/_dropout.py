"""Training with missing or corrupted modalities."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from counterpoise import corruptions, distributed
from counterpoise._tree import Nested, take, where, zeros_like
from counterpoise.methods.base import Backward, Hyperparameter, Interval, Method, Options, backward, joint_step
from counterpoise.model import MultimodalClassifier
from counterpoise.records import Batch, Inputs, StepRecord

__all__ = ["Corruption", "ModalityDropout", "drop_modalities"]

ZEROS = corruptions.Corruption("zeros")


def drop_modalities(uniform: Tensor, rate: float) -> Tensor:
    """Return which modalities are dropped, ``(B, M)`` bool: each with probability ``rate``, but never all modalities of
    a sample.

    The modality with the largest draw is always kept, which matters only if all would be dropped.

    Args:
        uniform: ``(B, M)`` uniform draws.
        rate: Probability, in [0, 1].

    Example:
        >>> drop_modalities(torch.tensor([[0.1, 0.9], [0.1, 0.2]]), rate=0.5)
        tensor([[ True, False],
                [ True, False]])
    """
    return (uniform < rate) & (uniform < uniform.amax(-1, keepdim=True))


class ModalityDropout(Method):
    r"""Modality dropout: joint training in which inputs of single modalities are missing (zeros).

    The model is trained on :math:`b_m x_m` with :math:`b_m \sim \mathrm{Bernoulli}(1 - p)` instead of :math:`x_m`.
    ModDrop of Neverova, Wolf, Taylor, Nebout, "ModDrop: adaptive multi-modal gesture recognition", TPAMI 2016. Each
    modality of each sample is missing with probability p, independently; here one of them always stays. The input is
    set to zeros, as in a test with a missing modality; masks stay, and nothing is rescaled. With ``dropped="absent"``
    the sample lacks the modality instead: its encoder does not process the sample, and the fusion treats the modality
    as absent.

    Args:
        strength: Probability p, in [0, 1].
        dropped: Input of a dropped modality: "zeros" or "absent".

    Example:
        >>> ModalityDropout(strength=0.1, dropped="absent")
        ModalityDropout(strength=0.1, dropped='absent')
    """

    strength = Hyperparameter(0.2, Interval(0, 1, "[]"))
    dropped = Hyperparameter("zeros", Options(("zeros", "absent")))

    def steps(
        self, model: MultimodalClassifier, batch: Batch, *, backward: Backward = backward
    ) -> Iterator[StepRecord]:
        """See `Method.steps`."""
        if self.strength:
            uniform = torch.rand(len(batch), len(model.modalities), device=batch.target.device)
            if batch.present is not None:  # absent modalities are dropped first, so that one of the others stays
                uniform = uniform.masked_fill(~torch.stack([batch.present[m] for m in model.modalities], -1), -1)
            dropped = drop_modalities(uniform, self.strength)
            rows = dict(zip(model.modalities, dropped.T, strict=True))
            batch = _without(batch, rows) if self.dropped == "absent" else _with_zeros(batch, rows)
        yield from joint_step(model, batch, backward)


def _with_zeros(batch: Batch, rows: Mapping[str, Tensor]) -> Batch:
    """Return a batch with zeros for the dropped modalities, ``{m: (B,) bool}``."""
    rows = {m: distributed.local_rows(dropped) for m, dropped in rows.items()}
    inputs = {
        m: where(rows[m], corruptions.apply(value, ZEROS), value) if m in rows else value
        for m, value in batch.inputs.items()
    }
    return replace(batch, inputs=inputs)


def _without(batch: Batch, rows: Mapping[str, Tensor]) -> Batch:
    """Return a batch whose samples lack the dropped modalities, ``{m: (B,) bool}``."""
    present = batch.present or {m: torch.ones_like(dropped) for m, dropped in rows.items()}
    return replace(batch, present={m: mask & ~rows[m] for m, mask in present.items()})


class Corruption(Method):
    r"""Training with input corruptions: one modality of a sample is corrupted, in one of five ways.

    The model is trained on :math:`c(x_m)` instead of :math:`x_m` for one random modality m of a sample, with
    probability p. The corruption c replaces the input: by itself plus normal noise (probability .3, log-uniform in [.3,
    3] standard deviations of each column, or of the whole input if it has more axes), by zeros (.15), by itself with a
    random share of its entries set to zero (.15), by that of another sample (.15), or by itself plus [.3, 3] times that
    of another sample (.25). It is a robustness baseline of this library. Noise and mixture are undefined for token ids,
    which are replaced by those of another sample instead. Modalities that a sample lacks stay absent, and their inputs
    are given to no other sample.

    Args:
        strength: Probability p, in [0, 1].

    Example:
        >>> Corruption(strength=0.4)
        Corruption(strength=0.4)
    """

    strength = Hyperparameter(0.5, Interval(0, 1, "[]"))

    def steps(
        self, model: MultimodalClassifier, batch: Batch, *, backward: Backward = backward
    ) -> Iterator[StepRecord]:
        """See `Method.steps`."""
        if self.strength:
            inputs = {m: batch.inputs[m] for m in model.modalities}
            masks = {m: batch.mask(m) for m in inputs}

            def corrupted(whole: Inputs) -> Inputs:
                filled = {m: _replenished(value, masks[m]) for m, value in whole.items()}
                return {**filled, **corruptions.corrupt_one(filled, self.strength)}

            batch = replace(batch, inputs=distributed.on_all_rows(corrupted, inputs))
        yield from joint_step(model, batch, backward)


def _replenished(value: Nested, mask: Tensor | None) -> Nested:
    """Return inputs in which absent modalities are replaced by those of other samples, or by zeros."""
    if mask is None:
        return value
    rows = mask.nonzero().flatten()
    if not len(rows):
        return zeros_like(value)
    own = torch.arange(len(mask), device=mask.device)
    return take(value, torch.where(mask, own, rows[own % len(rows)]))
