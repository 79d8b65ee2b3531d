"""`diagnose_retrieval`: contrastive models with two towers, such as CLIP without a head."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from counterpoise._files import json_safe
from counterpoise._notes import Notes
from counterpoise.diagnosis import Progress, adapt
from counterpoise.errors import DataError, ModelError
from counterpoise.valuation import Estimate
from counterpoise.vision_language._numbers import mean_of

__all__ = ["RetrievalDiagnosis", "diagnose_retrieval"]

DEPTHS: Final = (1, 5, 10)
SCALES: Final = (0.0, *np.geomspace(0.1, 1000, 41).tolist())
LABELS: Final = ("label", "labels", "target", "targets", "y")


@dataclass(frozen=True, repr=False)
class RetrievalDiagnosis:
    """Result of `diagnose_retrieval`: the information that two towers share, and the contribution of each to retrieval.

    Attributes:
        n: Number of pairs; a retrieval by chance finds the partner first in 1/n.
        modalities: Names of the towers.
        recall: ``{"image->text": {1: ..., 5: ..., 10: ...}, "text->image": ...}``.
        bound: InfoNCE lower bound of the information that the towers share, in nats. It is at most log n.
        frozen: Recall at 1 (mean of both directions) with one tower replaced by its mean: chance, 1/n.
        frozen_class: The same with one tower replaced by its mean over each class; empty without labels.
        gap: Distance between the means of the normalised embeddings (the modality gap); NaN if only similarities are
            known.
        notes: Assumptions and limits.
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
        """Return plain data for JSON."""
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
    progress: bool | None = None,
) -> RetrievalDiagnosis:
    r"""Measure the retrieval of two towers, the information that they share, and the contribution of each.

    The bound is :math:`\log n + \frac1n \sum_i \log \mathrm{softmax}_j(s\, u_i \cdot v_j)_i`, the mean of both
    directions (van den Oord et al., 2018), with the scale s chosen on the other half of the pairs.

    Args:
        model: Function that returns two embeddings ``(B, D)``, or an output with ``image_embeds`` and ``text_embeds``,
            or one with ``logits_per_image`` only. The latter runs on each batch of images with each batch of texts.
        loader: Batches of pairs: mappings, ``(x1, x2)`` or ``((x1, x2), label)``.
        modalities: Names of the two towers, in the order of the embeddings.
        groups: Inputs of each tower, ``{"image": ["pixel_values"], "text": ["input_ids", "attention_mask"]}``; all
            inputs of a mapping are passed on by default.
        output: Function that selects the two embeddings from the model's return value.
        limit: Maximum number of pairs, of which the first are used; retrieval compares each with all others.
        confidence: Level of the intervals.
        seed: Seed of the halves.
        progress: Whether to show progress; None shows it in a terminal and in a notebook.

    Raises:
        DataError: For fewer than ten pairs.
        ModelError: If the model does not return two embeddings.

    Example:
        >>> x = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
        >>> diagnosis = diagnose_retrieval(lambda image, text: (image, text), [{"image": x, "text": x}])
        >>> diagnosis.recall["image->text"][1].value, round(diagnosis.bound.value, 3) == round(math.log(50), 3)
        (1.0, True)
    """
    if len(modalities) != 2:
        raise DataError(f"A retrieval has two modalities. Found {len(modalities)}: {', '.join(modalities)}.")
    first, second = modalities
    if groups is not None and set(groups) != set(modalities):
        raise DataError(f"`groups` should name the inputs of {first} and {second}. Found {', '.join(groups)}.")
    with Progress(progress) as show:
        towers, labels = _Reader(model, modalities, groups, output, limit, show).read(loader)
    n = towers.n
    if n < 10:
        raise DataError(f"A retrieval needs at least ten pairs. Found {n}.")
    recall = {
        f"{first}->{second}": _recalls(towers.similarity, confidence),
        f"{second}->{first}": _recalls(towers.similarity.T, confidence),
    }
    notes = Notes()
    bound = notes.optional("the bound", _bound, towers.similarity, confidence, seed) or _UNKNOWN
    frozen = {m: _recall_at_one(towers.frozen(k, torch.zeros(n, dtype=torch.long))) for k, m in enumerate(modalities)}
    by_class: dict[str, float] = {}
    if labels is not None:
        of_class = notes.optional("the class means", towers.by_class, labels)
        by_class = {} if of_class is None else dict(zip(modalities, of_class, strict=True))
    if bound.high > math.log(n) - 0.5:
        notes.append(f"the bound is near log n = {math.log(n):.2f} nats, so there may be more: give more pairs")
    return RetrievalDiagnosis(n, (first, second), recall, bound, frozen, by_class, towers.gap, tuple(notes))


_UNKNOWN = Estimate(math.nan, math.nan, 0.0, math.nan, "lower")


@dataclass(frozen=True)
class _Embedded:
    """Normalised embeddings ``(N, D)`` of the two towers."""

    u: Tensor
    v: Tensor

    @property
    def n(self) -> int:
        return len(self.u)

    @property
    def similarity(self) -> Tensor:
        """Similarities ``(N, N)``, those of pairs on the diagonal."""
        return self.u @ self.v.T

    @property
    def gap(self) -> float:
        """Distance between the means of the towers."""
        return float((self.u.mean(0) - self.v.mean(0)).norm())

    def frozen(self, tower: int, place: Tensor) -> Tensor:
        """Return similarities with the embeddings of a tower replaced by their means over groups ``(N,)``."""
        u, v = self.u, self.v
        if tower == 0:
            u = nn.functional.normalize(_group_means(u, place), dim=1)
        else:
            v = nn.functional.normalize(_group_means(v, place), dim=1)
        return u @ v.T

    def by_class(self, labels: Tensor) -> list[float]:
        """Return recall at 1 with each tower replaced by its means over the classes."""
        place = labels.unique(return_inverse=True)[1]
        return [_recall_at_one(self.frozen(k, place)) for k in range(2)]


@dataclass(frozen=True)
class _Compared(_Embedded):
    """Towers of which only similarities are known; ``u`` holds them, ``v`` is empty. A mean embedding is a mean row."""

    @property
    def similarity(self) -> Tensor:
        return self.u

    @property
    def gap(self) -> float:
        return math.nan

    def frozen(self, tower: int, place: Tensor) -> Tensor:
        return _group_means(self.u, place) if tower == 0 else _group_means(self.u.T, place).T


class _Reader:
    """Reader of pairs, which runs the model on them."""

    def __init__(
        self,
        model: Callable[..., Any],
        modalities: Sequence[str],
        groups: Mapping[str, Sequence[str]] | None,
        output: Callable[[Any], tuple[Tensor, Tensor]] | None,
        limit: int,
        show: Progress,
    ) -> None:
        self.adapter, self.modalities, self.output, self.limit, self.show = (
            adapt(model),
            modalities,
            output,
            limit,
            show,
        )
        self.groups: dict[str, list[str]] | None = None if groups is None else {m: list(groups[m]) for m in modalities}

    def read(self, loader: Iterable[Any]) -> tuple[_Embedded, Tensor | None]:
        """Return the embeddings or similarities of the pairs, and the labels."""
        parts: tuple[list[Tensor], list[Tensor]] = ([], [])
        batches: list[dict[str, Any]] = []
        labels: list[Tensor] = []
        count = 0
        with self.adapter.evaluating():
            for item in loader:
                inputs, label = _split(item)
                self.show(f"embeddings, {count} pairs")
                inputs = self._resolved(inputs, positional=not isinstance(item, Mapping))
                raw = self.adapter.raw(inputs)
                labels += [] if label is None else [torch.as_tensor(label).cpu()]
                if self.output is None and _only_similarities(raw):
                    batches.append(inputs)
                    count += len(raw.logits_per_image)
                else:
                    for part, z in zip(parts, _pair(self.output(raw) if self.output else raw), strict=True):
                        part.append(z.detach().float().cpu())
                    count += len(parts[0][-1])
                if count >= self.limit:
                    break
            if not count:
                raise DataError("The loader yielded no pairs.")
            known = torch.cat(labels)[: self.limit] if labels else None
            if batches:
                similarity = self._blocks(batches)[: self.limit, : self.limit]
                return _Compared(similarity, similarity[:0]), known
        u, v = (nn.functional.normalize(torch.cat(z)[: self.limit].double(), dim=1) for z in parts)
        return _Embedded(u, v), known

    def _resolved(self, inputs: dict[str, Any], *, positional: bool) -> dict[str, Any]:
        wanted = [k for keys in self.groups.values() for k in keys] if self.groups else list(inputs)
        if not self.adapter.order:
            self.adapter = self.adapter.resolve(tuple(wanted), positional=positional)
        return {k: inputs[k] for k in wanted}

    def _blocks(self, batches: Sequence[dict[str, Any]]) -> Tensor:
        """Return similarities of all images with all texts: the model runs on each batch of images with each batch of
        texts.
        """
        names = list(batches[0])
        if self.groups is None and len(names) == 2:
            first, second = self.modalities
            ordered = [first, second] if set(names) == {first, second} else names
            self.groups = {m: [k] for m, k in zip(self.modalities, ordered, strict=True)}
        if self.groups is None:
            raise ModelError(
                f"Of a model that returns similarities only, the inputs of each tower should be known. Found "
                f"{', '.join(names)}. Set groups={{'image': ['pixel_values'], 'text': ['input_ids', ...]}}."
            )
        own, other = (self.groups[m] for m in self.modalities)
        rows = []
        for k, images in enumerate(batches):
            self.show(f"similarities, batch {k} of {len(batches)}")
            row = []
            for texts in batches:
                mixed = {**{key: images[key] for key in own}, **{key: texts[key] for key in other}}
                row.append(
                    self.adapter.raw({key: mixed[key] for key in names}).logits_per_image.detach().double().cpu()
                )
            rows.append(torch.cat(row, 1))
        return torch.cat(rows)


def _only_similarities(raw: Any) -> bool:
    image, text = getattr(raw, "image_embeds", None), getattr(raw, "text_embeds", None)
    return (image is None or text is None) and isinstance(getattr(raw, "logits_per_image", None), Tensor)


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
    """Return whether an item is ((x1, x2), label)."""
    return len(item) == 2 and isinstance(item[0], tuple | list)


def _pair(raw: Any) -> tuple[Tensor, Tensor]:
    image, text = getattr(raw, "image_embeds", None), getattr(raw, "text_embeds", None)
    pair = (image, text) if image is not None and text is not None else raw
    if not isinstance(pair, tuple | list):
        raise ModelError(
            f"A contrastive model should return two embeddings (B, D). Found {type(raw).__name__}. Select them with "
            f"output=lambda out: (out.image, out.text)."
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


def _recall_at_one(similarity: Tensor) -> float:
    return float((_chances(similarity, 1).mean() + _chances(similarity.T, 1).mean()) / 2)


def _group_means(z: Tensor, place: Tensor) -> Tensor:
    """Return each row of ``z`` replaced by the mean over its group."""
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
