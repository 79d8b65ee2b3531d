"""Which samples a page shows, and what it says of them: a few of each kind, with pictures, within a budget."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from counterpoise.data import Kind, Modality
from counterpoise.evaluation.sample_lists import SampleLists
from counterpoise.gallery import caption, picture
from counterpoise.tasks import Task

__all__ = ["BUDGET", "answers", "choose", "described", "make_gallery"]

BUDGET: Final = 60_000
"""Bytes of a gallery, as JSON."""
PER_GROUP: Final = 3
HANG_ON: Final = 6
"""Samples that depend on one modality, over all modalities."""

KINDS: Final[dict[int, Kind]] = {2: "vector", 3: "sequence", 4: "image", 5: "video"}
"""By the number of axes, the samples' among them."""

Answer = dict[str, Any]


def choose(
    lists: SampleLists, truth: Sequence[str], position: Mapping[int, int], right: Sequence[bool] = ()
) -> list[tuple[int, str]]:
    """Return (position in the loader, group) of the clearest samples of each group, different classes first.

    The first of every group come first, so that a budget cuts all groups alike.

    Args:
        lists: what `sample_lists` found.
        truth: of every sample that was looked at, its label in words.
        position: where a position in the loader is among them.
        right: Whether the model predicts each sample correctly. Correct ones come first in groups that explain on
            which modalities the model relies; the order is kept otherwise.
    """
    each = max(HANG_ON // max(len(lists.hang_on), 1), 1)
    groups = {f"hang_on:{m}": (rows, each) for m, rows in lists.hang_on.items()}
    groups |= {"need_several": (lists.need_several, PER_GROUP), "conflict": (lists.conflict, PER_GROUP)}
    taken: set[int] = set()
    chosen: dict[str, list[int]] = {}
    for group, (rows, most) in groups.items():
        free = [int(i) for i in rows if int(i) not in taken]
        if right and group != "conflict":
            free.sort(key=lambda i: not right[position[i]])
        chosen[group] = _different_first(free, [truth[position[i]] for i in free])[:most]
        taken |= set(chosen[group])
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
    """Return the prediction for each sample, and the truth, in words.

    A prediction has ``answer``; ``right`` where it can be right or wrong, and ``sure``, its probability, where it is a
    single class.

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


def make_gallery(
    lists: SampleLists,
    *,
    task: Task,
    index: np.ndarray,
    target: Tensor,
    model: Tensor,
    alone: Mapping[str, Tensor],
    contributions: Mapping[str, tuple[np.ndarray, np.ndarray]],
    modalities: Sequence[Modality],
    inputs: Callable[[list[int]], Mapping[str, Any]],
    class_names: Sequence[str] = (),
    moments: Mapping[str, tuple[np.ndarray, np.ndarray]] | None = None,
    captions: Mapping[str, np.ndarray] | None = None,
    source: str = "",
    budget: int = BUDGET,
) -> dict[str, Any]:
    """Return the gallery of some samples as JSON (see `counterpoise.gallery.Gallery`).

    Args:
        lists: which samples are of which kind, as positions in the loader.
        task: the task.
        index: ``(N,)`` positions in the loader of the samples that were looked at.
        target: ``(N,)`` or ``(N, C)``.
        model: ``(N, C)`` logits of the model.
        alone: ``{m: (N, C)}`` logits of each modality alone.
        contributions: ``{m: (alone, added)}``, ``(N,)`` nats each.
        modalities: what they look like.
        inputs: gives the inputs of some positions in the loader, one array ``(n, ...)`` per modality.
        class_names: C names.
        moments: mean and standard deviation ``(D,)`` of vectors, by modality; their bars are then relative to these.
        captions: Texts ``(N,)`` of the loader's samples, by modality, that are shown instead of its numbers.
        source: in words, what the answers of single modalities are.
        budget: bytes; samples beyond are left out.
    """
    position = {int(i): row for row, i in enumerate(index)}
    counts = {f"hang_on:{m}": len(rows) for m, rows in lists.hang_on.items()}
    counts |= {"need_several": len(lists.need_several), "conflict": len(lists.conflict)}
    gallery: dict[str, Any] = {"n": len(index), "counts": counts, "cards": [], "source": source}
    predictions, truth = answers(task, model, target, class_names)
    chosen = choose(lists, truth, position, [bool(row.get("right", True)) for row in predictions])
    if not chosen:
        return gallery
    rows = [position[i] for i, _ in chosen]
    at = torch.tensor(rows)
    said = {m: answers(task, x[at], target[at], class_names)[0] for m, x in (("", model), *alone.items())}
    arrays = inputs([i for i, _ in chosen])
    positions = [i for i, _ in chosen]
    shown = {
        m.name: views
        for m in modalities
        if (views := _views(m, arrays, positions, (captions or {}).get(m.name), (moments or {}).get(m.name)))
    }
    cards = [
        {
            "index": i,
            "group": group,
            "truth": truth[rows[k]],
            "views": {m: views[k] for m, views in shown.items()},
            "model": said[""][k],
            "said": {m: said[m][k] | _rounded(contributions[m], rows[k]) for m in alone},
        }
        for k, (i, group) in enumerate(chosen)
    ]
    order = {group: n for n, group in enumerate(counts)}
    affordable = _affordable(cards, budget - len(json.dumps(gallery)))
    gallery["cards"] = sorted(affordable, key=lambda card: order[card["group"]])
    return gallery


def _views(
    modality: Modality,
    arrays: Mapping[str, Any],
    positions: Sequence[int],
    texts: np.ndarray | None,
    moments: tuple[np.ndarray, np.ndarray] | None,
) -> list[Any]:
    """Return the views of a modality, one per sample, or none if its input is neither a tensor nor an array."""
    if texts is not None:
        return [caption(str(texts[i])) for i in positions]
    values = arrays[modality.name]
    if not isinstance(values, Tensor | np.ndarray):
        return []
    mean, std = moments or (None, None)
    return [picture(modality, value, mean=mean, std=std) for value in np.asarray(values)]


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
    """Return what the inputs of a loader look like, by what is known or by their shapes, and the moments of vectors.

    Example:
        >>> modalities, _ = described({"photo": torch.zeros(4, 3, 8, 8), "title": torch.zeros(4, 7, dtype=torch.long)})
        >>> [m.kind for m in modalities]
        ['image', 'tokens']
    """
    names = {m.name: m for m in known}
    found = []
    for m, value in inputs.items():
        if isinstance(value, Tensor) and value.ndim <= max(KINDS):
            found.append(names.get(m) or Modality(m, _kind(value), tuple(value.shape[1:])))
    vectors = [m.name for m in found if m.kind == "vector"]
    moments = {m: (x.mean(0).numpy(), x.std(0, correction=0).numpy()) for m in vectors for x in [inputs[m].double()]}
    return found, moments
