"""Contributions per epoch: quick, cross-fitted estimates from the validation features while a model trains."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

import torch
from torch import Tensor

from counterpoise.methods import balance_of, non_conflict_of
from counterpoise.model import MultimodalClassifier
from counterpoise.records import Outputs
from counterpoise.runs import CurveId, Metric
from counterpoise.tasks import Task
from counterpoise.valuation.heads.linear import LinearHeads, standardise

__all__ = ["contributions", "gradient_curves"]

SAMPLES: Final = 500
"""Maximum number of validation samples that are used."""
FEWEST: Final = 20
"""Minimum number of complete validation samples for estimates of contributions."""
PENALTIES: Final = (3.0, 30.0, 300.0)
"""Candidate penalties for every subset of modalities, in pseudo-observations; the label frequencies are a candidate as
well."""
SMOOTHING: Final = 0.5
"""Pseudo-observations per class, or per value of a label, in the frequencies of the other half."""


def gradient_curves(
    model: MultimodalClassifier, outputs: Outputs, target: Tensor, history: Mapping[CurveId, Sequence[float]]
) -> dict[CurveId, float]:
    r"""Return the balance and the non-conflict of gradients of the current epoch, for any method.

    :math:`g_m` is the gradient of the fused loss by the features of m, on at most 500 validation samples. ``energy`` is
    :math:`\lVert g_m \rVert^2`, ``balance`` that of the energies of all epochs so far, and ``non-conflict`` the mean
    cosine of the gradients (see `counterpoise.methods.RGM`). For features of different widths the cosine is undefined,
    and the result is empty.

    Args:
        model: Model.
        outputs: Outputs of the model on the validation set, on the CPU.
        target: Targets of the validation set.
        history: Curves so far.
    """
    if len(set(model.feature_dims.values())) != 1:
        return {}
    rows = torch.randperm(len(target), generator=torch.Generator().manual_seed(0))[:SAMPLES]
    reference = next(model.parameters())
    with torch.enable_grad():
        leaves = {
            m: z[rows].to(reference.device, reference.dtype).requires_grad_() for m, z in outputs.features.items()
        }
        present = None
        if outputs.present is not None:
            present = {m: mask[rows].to(reference.device) for m, mask in outputs.present.items()}
        loss = model.task.loss(model.fusion.fuse(leaves, present), target[rows].to(reference.device))
        grads = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
    g = torch.stack([torch.zeros_like(z) if x is None else x for z, x in zip(leaves.values(), grads, strict=True)])
    g = g.flatten(1).double().cpu()
    energy = g.square().sum(1)
    earlier = [math.fsum(filter(math.isfinite, history.get(CurveId("gradient", "energy", m), ()))) for m in leaves]
    reached = {CurveId("gradient", "energy", m): float(e) for m, e in zip(leaves, energy, strict=True)}
    reached[CurveId("gradient", "balance")] = float(balance_of(energy + torch.tensor(earlier, dtype=energy.dtype)))
    reached[CurveId("gradient", "non-conflict")] = float(non_conflict_of(g))
    return reached


def contributions(outputs: Outputs, target: Tensor, task: Task) -> tuple[Metric, ...]:
    r"""Return :math:`\phi_{MI}` of all features and of each modality, and :math:`\phi_{CMI}` of each modality, in nats.

    Linear heads are fitted on one half and evaluated on the other, and vice versa, in about a tenth of a second. These
    estimates are for curves; the final record holds a full valuation on the test set. If samples lack modalities, only
    complete samples are used; with fewer than `FEWEST` of them, the result is empty.

    Args:
        outputs: Outputs on the validation set.
        target: Targets of the validation set.
        task: The likelihood.
    """
    rows = torch.randperm(len(target), generator=torch.Generator().manual_seed(0))
    if outputs.present is not None:
        rows = rows[torch.stack(list(outputs.present.values())).all(0)[rows]]
        if len(rows) < FEWEST:
            return ()
    rows = rows[:SAMPLES]
    target = target[rows]
    half = torch.arange(len(rows)) % 2 == 0
    train = torch.stack([half, ~half])
    blocks = {m: standardise(z[rows].float()) for m, z in outputs.features.items()}
    names = outputs.modalities

    prior = _held_out_prior(target, train, half, task)
    nll: dict[frozenset[str], float] = {}
    penalties = torch.tensor(PENALTIES).repeat_interleave(2)
    for subset in sorted({names, *((m,) for m in names), *(_rest(names, m) for m in names)}, key=len):
        heads = LinearHeads([blocks[m] for m in subset], target, task)
        weights = heads.fit(train.repeat(len(PENALTIES), 1), penalties, iterations=20, tolerance=1e-3)
        logits = heads.logits(weights).unflatten(1, (len(PENALTIES), 2)).double()
        own = logits[torch.arange(len(rows)), :, half.long()]  # (N, penalties, C), from the head of the other half
        losses = [-task.log_likelihood(own[:, p], target).mean().item() for p in range(len(PENALTIES))]
        # A subset carries at least the information of its parts.
        smaller = [value for s, value in nll.items() if s < set(subset)]
        nll[frozenset(subset)] = min([prior, *losses, *smaller])
    return _metrics(nll, prior, names)


def _metrics(nll: Mapping[frozenset[str], float], prior: float, names: tuple[str, ...]) -> tuple[Metric, ...]:
    """Return the contributions from the cross-entropy of every subset."""

    def value(subset: tuple[str, ...]) -> float:
        return nll[frozenset(subset)]

    joint = [Metric("phi_mi", prior - value(names))]
    alone = [Metric("phi_mi", prior - value((m,)), m) for m in names]
    added = [Metric("phi_cmi", value(_rest(names, m)) - value(names), m) for m in names]
    return (*joint, *alone, *added)


def _rest(names: tuple[str, ...], m: str) -> tuple[str, ...]:
    return tuple(k for k in names if k != m)


def _held_out_prior(target: Tensor, train: Tensor, half: Tensor, task: Task) -> float:
    """Return the cross-entropy of the labels under the other half's frequencies (smoothed)."""
    logits = task.prior_logits(target, SMOOTHING, train)
    return -task.log_likelihood(logits[half.long()], target).mean().item()
