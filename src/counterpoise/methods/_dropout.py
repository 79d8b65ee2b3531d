"""Training with missing or corrupted modalities."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from counterpoise import corruptions, distributed
from counterpoise._tree import where
from counterpoise.methods.base import Backward, Hyperparameter, Interval, Method, backward, joint_step
from counterpoise.model import MultimodalClassifier
from counterpoise.records import Batch, StepRecord

__all__ = ["Corruption", "ModalityDropout", "drop_modalities"]

ZEROS = corruptions.Corruption("zeros")


def drop_modalities(uniform: Tensor, rate: float) -> Tensor:
    """Return which modalities are dropped, ``(B, M)`` bool: each with probability ``rate``, never all of a sample.

    The modality with the largest draw always stays, which matters only where all would be dropped.

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
    """Modality dropout: joint training in which inputs of single modalities are missing (zeros).

    ModDrop of Neverova, Wolf, Taylor, Nebout, "ModDrop: adaptive multi-modal gesture recognition", TPAMI 2016. Each
    modality of each sample is missing with probability p, independently; here one of them always stays. The input is
    set to zeros, as in a test with a missing modality; masks stay, and nothing is rescaled.

    Args:
        strength: p, in [0, 1].

    Example:
        >>> ModalityDropout(strength=0.1)
        ModalityDropout(strength=0.1)
    """

    strength = Hyperparameter(0.2, Interval(0, 1, "[]"))

    def steps(
        self, model: MultimodalClassifier, batch: Batch, *, backward: Backward = backward
    ) -> Iterator[StepRecord]:
        """See `Method.steps`."""
        if self.strength:
            uniform = torch.rand(len(batch), len(model.modalities), device=batch.target.device)
            dropped = drop_modalities(uniform, self.strength)
            rows = dict(zip(model.modalities, distributed.local_rows(dropped).T, strict=True))
            inputs = {
                m: where(rows[m], corruptions.apply(value, ZEROS), value) if m in rows else value
                for m, value in batch.inputs.items()
            }
            batch = Batch(inputs, batch.target, batch.index)
        yield from joint_step(model, batch, backward)


class Corruption(Method):
    r"""Training with input corruptions: one modality of a sample is corrupted, in one of five ways.

    With probability p the input of one random modality of a sample is replaced: by itself plus normal noise
    (probability .3, log-uniform in [.3, 3] standard deviations of each column, or of the whole input if it has more
    axes), by zeros (.15), by itself with a random share of its entries set to zero (.15), by that of another sample
    (.15), or by itself plus [.3, 3] times that of another sample (.25). A baseline for robustness, ours. Token ids take
    no noise or mixture: that of another sample replaces them.

    Args:
        strength: p, in [0, 1].

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
            inputs |= distributed.on_all_rows(lambda x: corruptions.corrupt_one(x, self.strength), inputs)
            batch = Batch(inputs, batch.target, batch.index)
        yield from joint_step(model, batch, backward)
