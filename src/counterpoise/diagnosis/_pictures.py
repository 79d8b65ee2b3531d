"""Pictures of some samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from counterpoise.data import Modality
from counterpoise.diagnosis._calls import BATCH_BYTES
from counterpoise.diagnosis._samples import concat_rows, each_leaf, named_leaves, take_rows
from counterpoise.diagnosis._used import Points, Used
from counterpoise.evaluation.sample_gallery import Inputs, Predictions, described, make_gallery
from counterpoise.evaluation.sample_lists import SampleLists

SHOWN = 512
"""Largest number of samples from which the display of the inputs is chosen."""


def pictures_of(
    lists: SampleLists, used: Used, contributions: Points, names: Sequence[str], display: Sequence[Modality]
) -> dict[str, Any]:
    """Return some of the samples with pictures of their inputs."""
    samples = used.predictor.samples
    place = {int(i): row for row, i in enumerate(samples.index)}

    def rows(chosen: list[int]) -> dict[str, Any]:
        single = [samples.store.row(place[i]) for i in chosen]
        return {m: each_leaf(_floats, _stacked([one[m] for one in single])) for m in used.modalities}

    count = max(2, min(SHOWN, BATCH_BYTES // samples.store.bytes_per_sample))
    some = next(iter(samples.store.batches(count)))[1]
    shown = {m: each_leaf(_floats, take_rows(v, slice(0, count))) for m, v in some.items()}
    modalities, moments = described(shown, display)
    alone, added = contributions
    return make_gallery(
        lists,
        Predictions(
            task=used.problem.task,
            index=samples.index.numpy(),
            target=used.problem.target,
            model=used.logits,
            alone=used.alone,
            contributions={m: (alone[m], added[m]) for m in alone},
            class_names=names or [str(c) for c in used.problem.classes],
        ),
        Inputs(modalities, rows, moments),
        source="A modality alone: the model's prediction with all other modalities averaged out.",
    )


def _floats(_: str, leaf: Any) -> Any:
    return leaf.float() if isinstance(leaf, Tensor) and leaf.is_floating_point() else leaf


def _stacked(values: list[Any]) -> Any:
    """Join single samples; those of differing length are not shown."""
    sizes = {
        tuple(tuple(leaf.shape[1:]) for leaf in named_leaves(v).values() if isinstance(leaf, Tensor)) for v in values
    }
    return concat_rows(values) if len(sizes) == 1 else None
