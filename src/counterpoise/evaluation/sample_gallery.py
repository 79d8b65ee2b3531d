"""Choice of the samples that a page shows: a few of each kind, with pictures and predictions, within a budget."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from counterpoise.data import Kind, Modality
from counterpoise.evaluation.sample_lists import SampleLists
from counterpoise.gallery import caption, picture
from counterpoise.tasks import Task

__all__ = ["BUDGET", "Inputs", "Predictions", "answers", "choose", "described", "make_gallery"]

BUDGET: Final = 60_000
"""Maximum size of a gallery in bytes, as JSON."""
PER_GROUP: Final = 3
MAX_RELYING: Final = 6
"""Maximum number of samples that depend on one modality, over all modalities."""

KINDS: Final[dict[int, Kind]] = {2: "vector", 3: "sequence", 4: "image", 5: "video"}
"""By the number of axes, the samples' among them."""

Answer = dict[str, Any]


def choose(
    lists: SampleLists, truth: Sequence[str], position: Mapping[int, int], right: Sequence[bool] = ()
) -> list[tuple[int, str]]:
    """Return (position in the loader, group) of the clearest samples of each group, different classes first.

    The groups take turns, so that a budget shortens all groups equally.

    Args:
        lists: Result of `sample_lists`.
        truth: Labels, as text, of the samples that were examined.
        position: Row of each of these samples, by position in the loader.
        right: Whether the model predicts each sample correctly. Correct ones come first in groups that explain on
            which modalities the model relies; the order is kept otherwise.
    """
    each = max(MAX_RELYING // max(len(lists.relies_on), 1), 1)
    groups = {f"relies_on:{m}": (rows, each) for m, rows in lists.relies_on.items()}
    groups |= {"need_several": (lists.need_several, PER_GROUP), "conflict": (lists.conflict, PER_GROUP)}
    taken: set[int] = set()
    chosen: dict[str, list[int]] = {}
    for group, (rows, most) in groups.items():
        free = [int(i) for i in rows if int(i) not in taken]
        if right and group != "conflict":
            free.sort(key=lambda i: not right[position[i]])
        chosen[group] = _different_first(free, [truth[position[i]] for i in free])[:most]
        taken |= set(chosen[group])
    return _in_turn(chosen)


def _in_turn(chosen: Mapping[str, Sequence[int]]) -> list[tuple[int, str]]:
    """Return the first of every group, then the second of every group, and so on."""
    longest = max(map(len, chosen.values()), default=0)
    return [(rows[k], group) for k in range(longest) for group, rows in chosen.items() if k < len(rows)]


def _different_first(rows: Sequence[int], labels: Sequence[str]) -> list[int]:
    """Return rows with the first one of every label in front; the order is kept otherwise."""
    firsts: dict[str, int] = {}
    for i, label in zip(rows, labels, strict=True):
        firsts.setdefault(label, i)
    first = list(firsts.values())
    return [*first, *(i for i in rows if i not in set(first))]


def answers(task: Task, logits: Tensor, target: Tensor, names: Sequence[str]) -> tuple[list[Answer], list[str]]:
    """Return the prediction and the label of each sample as text.

    A prediction has ``answer``; ``right`` if it can be right or wrong; and ``sure``, its probability, if it is a single
    class.

    Args:
        task: The task.
        logits: Predictions ``(n, C)``.
        target: n targets.
        names: Names of the C classes or labels, or empty.

    Example:
        >>> from counterpoise.tasks import MultiClass
        >>> answers(MultiClass(2), torch.tensor([[0.0, 2.0]]), torch.tensor([0]), ["cat", "dog"])
        ([{'answer': 'dog', 'sure': 0.881, 'right': False}], ['cat'])
    """
    logits = logits.double()
    point, confidence = task.point(logits), task.confidence(logits)
    rows: list[Answer] = [{"answer": text} for text in task.describe(point, names)]
    if confidence is not None:
        right = (point == target).reshape(len(point), -1).all(1)
        for k, row in enumerate(rows):
            row |= {"sure": round(confidence[k].item(), 3)} if confidence.ndim == 1 else {}
            row["right"] = bool(right[k])
    return rows, task.describe(target, names)


@dataclass(frozen=True)
class Predictions:
    """Predictions for the samples that were examined, and the contributions of each modality to them.

    Attributes:
        task: The task.
        index: ``(N,)`` positions of the samples in the loader.
        target: ``(N,)`` or ``(N, C)``.
        model: ``(N, C)`` logits of the model.
        alone: ``{m: (N, C)}`` logits of each modality alone.
        contributions: ``{m: (alone, added)}``, ``(N,)`` nats each.
        class_names: C names.
    """

    task: Task
    index: np.ndarray
    target: Tensor
    model: Tensor
    alone: Mapping[str, Tensor]
    contributions: Mapping[str, tuple[np.ndarray, np.ndarray]]
    class_names: Sequence[str] = ()


@dataclass(frozen=True)
class Inputs:
    """Inputs of the samples of a loader, for pictures of them.

    Attributes:
        modalities: Kind of each modality.
        at: Function that returns the inputs at some positions in the loader, one array ``(n, ...)`` per modality.
        moments: Mean and standard deviation ``(D,)`` of vectors, by modality; their bars are relative to these.
        captions: Texts of the loader's samples, by modality, that are shown instead of its numbers.
    """

    modalities: Sequence[Modality]
    at: Callable[[list[int]], Mapping[str, Any]]
    moments: Mapping[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)
    captions: Mapping[str, np.ndarray] = field(default_factory=dict)

    def views(self, positions: list[int]) -> dict[str, list[Any]]:
        """Return the views of every modality that can be shown, one per position."""
        arrays = self.at(positions)
        views = {m.name: self._views(m, arrays, positions) for m in self.modalities}
        return {m: shown for m, shown in views.items() if shown}

    def _views(self, modality: Modality, arrays: Mapping[str, Any], positions: Sequence[int]) -> list[Any]:
        """Return one view per sample, or none if the input is neither a tensor nor an array."""
        texts = self.captions.get(modality.name)
        if texts is not None:
            return [caption(str(texts[i])) for i in positions]
        values = arrays[modality.name]
        if not isinstance(values, Tensor | np.ndarray):
            return []
        mean, std = self.moments.get(modality.name, (None, None))
        return [picture(modality, value, mean=mean, std=std) for value in np.asarray(values)]


def make_gallery(
    lists: SampleLists, predictions: Predictions, inputs: Inputs, *, source: str = "", budget: int = BUDGET
) -> dict[str, Any]:
    """Return the gallery of some samples as JSON (see `counterpoise.gallery.Gallery`).

    Args:
        lists: The samples of each kind, as positions in the loader.
        predictions: Predictions for the samples that were examined.
        inputs: Inputs of these samples.
        source: Description of the predictions of single modalities.
        budget: Maximum size in bytes; further samples are left out.
    """
    p = predictions
    position = {int(i): row for row, i in enumerate(p.index)}
    counts = {f"relies_on:{m}": len(rows) for m, rows in lists.relies_on.items()}
    counts |= {"need_several": len(lists.need_several), "conflict": len(lists.conflict)}
    gallery: dict[str, Any] = {"n": len(p.index), "counts": counts, "cards": [], "source": source}
    of_model, truth = answers(p.task, p.model, p.target, p.class_names)
    chosen = choose(lists, truth, position, [bool(row.get("right", True)) for row in of_model])
    if not chosen:
        return gallery
    rows = [position[i] for i, _ in chosen]
    views = inputs.views([i for i, _ in chosen])
    alone = _alone(p, rows)
    cards = [
        {
            "index": i,
            "group": group,
            "truth": truth[row],
            "views": {m: shown[k] for m, shown in views.items()},
            "model": of_model[row],
            "predictions": {m: answer[k] for m, answer in alone.items()},
        }
        for k, ((i, group), row) in enumerate(zip(chosen, rows, strict=True))
    ]
    affordable = _affordable(cards, budget - len(json.dumps(gallery)))
    gallery["cards"] = sorted(affordable, key=lambda card: list(counts).index(card["group"]))
    return gallery


def _alone(p: Predictions, rows: Sequence[int]) -> dict[str, list[Answer]]:
    """Return the prediction of each modality alone for some rows, with its contributions."""
    at = torch.tensor(rows)
    alone = {}
    for m, logits in p.alone.items():
        of_modality, _ = answers(p.task, logits[at], p.target[at], p.class_names)
        alone[m] = [answer | _rounded(p.contributions[m], row) for answer, row in zip(of_modality, rows, strict=True)]
    return alone


def _rounded(parts: tuple[np.ndarray, np.ndarray], row: int) -> dict[str, float]:
    return {name: round(float(part[row]), 3) for name, part in zip(("alone", "added"), parts, strict=True)}


def _affordable(cards: Sequence[dict[str, Any]], budget: int) -> list[dict[str, Any]]:
    """Return the first cards, as many as fit into a number of bytes as JSON."""
    sizes = np.cumsum([len(json.dumps(card)) + 2 for card in cards])
    return list(cards[: int(np.searchsorted(sizes, budget, side="right"))])


def _kind(value: Tensor) -> Kind:
    tokens = not value.is_floating_point() and value.ndim == 2 and value.dtype != torch.uint8
    return "tokens" if tokens else KINDS[max(value.ndim, 2)]


def described(inputs: Mapping[str, Any], known: Sequence[Modality] = ()) -> tuple[list[Modality], dict[str, Any]]:
    """Return descriptions of the inputs of a loader, given or inferred from their shapes, and the moments of vectors.

    Example:
        >>> modalities, _ = described({"photo": torch.zeros(4, 3, 8, 8), "title": torch.zeros(4, 7, dtype=torch.long)})
        >>> [m.kind for m in modalities]
        ['image', 'tokens']
    """
    names = {m.name: m for m in known}
    modalities = []
    for m, value in inputs.items():
        if isinstance(value, Tensor) and value.ndim <= max(KINDS):
            modalities.append(names.get(m) or Modality(m, _kind(value), tuple(value.shape[1:])))
    vectors = [m.name for m in modalities if m.kind == "vector"]
    moments = {m: (x.mean(0).numpy(), x.std(0, correction=0).numpy()) for m in vectors for x in [inputs[m].double()]}
    return modalities, moments
