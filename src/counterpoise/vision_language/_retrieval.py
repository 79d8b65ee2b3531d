"""`diagnose_retrieval`: contrastive models with two towers, such as CLIP without a head."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from counterpoise._files import json_safe
from counterpoise.diagnosis import adapt
from counterpoise.errors import DataError, ModelError
from counterpoise.valuation import Estimate
from counterpoise.vision_language._numbers import mean_of

__all__ = ["RetrievalDiagnosis", "diagnose_retrieval"]

DEPTHS: Final = (1, 5, 10)
SCALES: Final = (0.0, *np.geomspace(0.1, 1000, 41).tolist())
LABELS: Final = ("label", "labels", "target", "targets", "y")


@dataclass(frozen=True, repr=False)
class RetrievalDiagnosis:
    """What two towers know of each other, and what each gives to a retrieval.

    Attributes:
        n: Number of pairs; a retrieval by chance finds the partner first in 1/n.
        modalities: Names of the towers.
        recall: ``{"image->text": {1: ..., 5: ..., 10: ...}, "text->image": ...}``.
        bound: InfoNCE lower bound of the information that the towers share, in nats. It is at most log n.
        frozen: Recall at 1 (mean of both directions) with one tower replaced by its mean: chance, 1/n.
        frozen_class: The same with one tower replaced by its mean over each class; empty without labels.
        gap: Distance between the means of the normalised embeddings (the modality gap).
        notes: Remarks for the reader.
    """

    n: int
    modalities: tuple[str, str]
    recall: Mapping[str, Mapping[int, Estimate]]
    bound: Estimate
    frozen: Mapping[str, float]
    frozen_class: Mapping[str, float]
    gap: float
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON."""
        return json_safe(
            {
                "n": self.n,
                "modalities": list(self.modalities),
                "recall": {d: {str(k): e.to_dict() for k, e in r.items()} for d, r in self.recall.items()},
                "bound": self.bound.to_dict(),
                "frozen": dict(self.frozen),
                "frozen_class": dict(self.frozen_class),
                "gap": self.gap,
                "notes": list(self.notes),
            }
        )

    def __repr__(self) -> str:
        lines = [
            f"n = {self.n} pairs; shared information at least {self.bound:.3f} nats of at most {math.log(self.n):.3f}"
        ]
        for direction, recall in self.recall.items():
            lines.append(f"{direction}  " + "  ".join(f"recall at {k}: {e:.3f}" for k, e in recall.items()))
        for m in self.modalities:
            classes = f", at its class means {self.frozen_class[m]:.3f}" if m in self.frozen_class else ""
            lines.append(f"recall at 1 with {m} at its mean: {self.frozen[m]:.3f}{classes}")
        lines.append(f"modality gap: {self.gap:.3f}")
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])


def diagnose_retrieval(
    model: Callable[..., Any],
    loader: Iterable[Any],
    modalities: Sequence[str] = ("image", "text"),
    *,
    groups: Mapping[str, Sequence[str]] | None = None,
    output: Callable[[Any], tuple[Tensor, Tensor]] | None = None,
    limit: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> RetrievalDiagnosis:
    r"""Measure how well two towers find each other, how much they share, and what each gives.

    The bound is :math:`\log n + \frac1n \sum_i \log \mathrm{softmax}_j(s\, u_i \cdot v_j)_i`, the mean of both
    directions (van den Oord et al., 2018), with the scale s chosen on the other half of the pairs.

    Args:
        model: Returns two embeddings ``(B, D)``, or an output with ``image_embeds`` and ``text_embeds``.
        loader: Batches of pairs: mappings, ``(x1, x2)`` or ``((x1, x2), label)``.
        modalities: Names of the two towers, in the order of the embeddings.
        groups: Inputs of each tower, ``{"image": ["pixel_values"], "text": ["input_ids", "attention_mask"]}``; all
            inputs of a mapping are passed on by default.
        output: Picks the two embeddings from what the model returns.
        limit: The first pairs that are used; retrieval compares each with all others.
        confidence: Level of the intervals.
        seed: Seed of the halves.

    Raises:
        DataError: For fewer than ten pairs.
        ModelError: If the model returns no two embeddings.

    Example:
        >>> x = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
        >>> diagnosis = diagnose_retrieval(lambda image, text: (image, text), [{"image": x, "text": x}])
        >>> diagnosis.recall["image->text"][1].value, round(diagnosis.bound.value, 3) == round(math.log(50), 3)
        (1.0, True)
    """
    if len(modalities) != 2:
        raise DataError(f"A retrieval has two modalities. Found {len(modalities)}: {', '.join(modalities)}.")
    first, second = modalities
    pairs, labels = _embed(model, loader, groups, output, limit)
    u, v = (torch.nn.functional.normalize(z.double(), dim=1) for z in pairs)
    n = len(u)
    if n < 10:
        raise DataError(f"A retrieval needs at least ten pairs. Found {n}.")
    similarity = u @ v.T
    recall = {
        f"{first}->{second}": _recalls(similarity, confidence),
        f"{second}->{first}": _recalls(similarity.T, confidence),
    }
    bound = _bound(similarity, confidence, seed)
    towers = {first: u, second: v}
    frozen = {m: _recall_at_one({**towers, m: towers[m].mean(0).expand_as(u)}, modalities) for m in modalities}
    by_class = {}
    if labels is not None:
        by_class = {m: _recall_at_one({**towers, m: _class_means(towers[m], labels)}, modalities) for m in modalities}
    notes = []
    if bound.high > math.log(n) - 0.5:
        notes.append(f"the bound is near log n = {math.log(n):.2f} nats, so there may be more: give more pairs")
    gap = float((u.mean(0) - v.mean(0)).norm())
    return RetrievalDiagnosis(n, (first, second), recall, bound, frozen, by_class, gap, tuple(notes))


def _embed(
    model: Callable[..., Any],
    loader: Iterable[Any],
    groups: Mapping[str, Sequence[str]] | None,
    output: Callable[[Any], tuple[Tensor, Tensor]] | None,
    limit: int,
) -> tuple[tuple[Tensor, Tensor], Tensor | None]:
    adapter = adapt(model)
    parts: tuple[list[Tensor], list[Tensor]] = ([], [])
    labels: list[Tensor] = []
    count = 0
    with adapter.evaluating():
        for item in loader:
            inputs, label = _split(item)
            wanted = [k for keys in groups.values() for k in keys] if groups else list(inputs)
            if not adapter.order:
                adapter = adapter.resolve(tuple(wanted), positional=not isinstance(item, Mapping))
            raw = adapter.raw({k: inputs[k] for k in wanted})
            for part, z in zip(parts, _pair(output(raw) if output else raw), strict=True):
                part.append(z.detach().float().cpu())
            labels += [] if label is None else [torch.as_tensor(label).cpu()]
            count += len(parts[0][-1])
            if count >= limit:
                break
    if not count:
        raise DataError("The loader yielded no pairs.")
    known = torch.cat(labels)[:limit] if labels else None
    return (torch.cat(parts[0])[:limit], torch.cat(parts[1])[:limit]), known


def _split(item: Any) -> tuple[dict[str, Any], Any]:
    if isinstance(item, Mapping):
        key = next((k for k in LABELS if k in item), None)
        return {k: v for k, v in item.items() if k != key}, None if key is None else item[key]
    if not isinstance(item, tuple | list) or len(item) not in (2, 3):
        raise DataError(
            f"A loader of pairs should yield mappings, (x1, x2) or (x1, x2, label). Found {type(item).__name__}."
        )
    if len(item) == 2 and isinstance(item[0], Mapping):
        return dict(item[0]), item[1]
    inputs, label = (item[0], item[1]) if _is_pair_with_label(item) else (item[:2], [*item, None][2])
    return {f"x{k}": x for k, x in enumerate(inputs)}, label


def _is_pair_with_label(item: Any) -> bool:
    """Tell whether an item is ((x1, x2), label)."""
    return len(item) == 2 and isinstance(item[0], tuple | list)


def _pair(raw: Any) -> tuple[Tensor, Tensor]:
    image, text = getattr(raw, "image_embeds", None), getattr(raw, "text_embeds", None)
    pair = (image, text) if image is not None and text is not None else raw
    if not isinstance(pair, tuple | list):
        raise ModelError(
            f"A contrastive model should return two embeddings (B, D). Found {type(raw).__name__}. Say which they are: "
            "output=lambda out: (out.image, out.text)."
        )
    matrices = [z for z in pair if isinstance(z, Tensor) and z.ndim == 2]
    if len(matrices) < 2 or matrices[0].shape != matrices[1].shape:
        raise ModelError(f"Two embeddings should have one shape (B, D). Found {[tuple(z.shape) for z in matrices]}.")
    return matrices[0], matrices[1]


def _chances(similarity: Tensor, k: int) -> Tensor:
    """Return the probability that each partner is among the first k, with ties broken at random."""
    own = similarity.diagonal().unsqueeze(1)
    close = (similarity - own).abs() <= 1e-12
    above, equal = ((similarity > own) & ~close).sum(1), close.sum(1)
    return ((k - above).clamp_min(0) / equal).clamp(max=1).double()


def _recalls(similarity: Tensor, confidence: float) -> dict[int, Estimate]:
    recalls = {}
    for k in DEPTHS:
        e = mean_of(_chances(similarity, k).numpy(), confidence=confidence)
        recalls[k] = Estimate(e.value, e.se, max(e.low, 0.0), min(e.high, 1.0))
    return recalls


def _recall_at_one(towers: Mapping[str, Tensor], modalities: Sequence[str]) -> float:
    u, v = (torch.nn.functional.normalize(towers[m], dim=1) for m in modalities)
    similarity = u @ v.T
    return float((_chances(similarity, 1).mean() + _chances(similarity.T, 1).mean()) / 2)


def _class_means(z: Tensor, labels: Tensor) -> Tensor:
    _, place = labels.unique(return_inverse=True)
    sums = z.new_zeros(int(place.max()) + 1, z.shape[1]).index_add_(0, place, z)
    return (sums / place.bincount().unsqueeze(1))[place]


def _bound(similarity: Tensor, confidence: float, seed: int) -> Estimate:
    n = len(similarity)
    half = torch.randperm(n, generator=torch.Generator().manual_seed(seed)) < n // 2
    values = torch.stack([_pointwise(s * similarity) for s in SCALES])  # (scales, N)
    pointwise = torch.empty(n, dtype=torch.float64)
    for part in (half, ~half):  # the scale is chosen on the other half
        pointwise[part] = values[values[:, ~part].mean(1).argmax()][part]
    e = mean_of(pointwise.numpy(), confidence=confidence)
    return Estimate(e.value, e.se, e.low, min(e.high, math.log(n)), "lower")


def _pointwise(logits: Tensor) -> Tensor:
    both = logits.log_softmax(1).diagonal() + logits.log_softmax(0).diagonal()
    return math.log(len(logits)) + both / 2
