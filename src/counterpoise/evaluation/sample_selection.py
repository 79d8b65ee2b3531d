"""Choice of the test samples that a run's page shows: samples that rely on one modality, need several, or have
conflicting modalities.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from counterpoise.data import MultimodalData
from counterpoise.evaluation.sample_gallery import Inputs, Predictions, make_gallery
from counterpoise.evaluation.sample_lists import sample_lists
from counterpoise.records import Outputs
from counterpoise.valuation import Valuation

__all__ = ["run_samples"]

MOMENTS = 2000
"""Maximum number of samples from which mean and standard deviation of vectors are computed."""


def run_samples(
    data: MultimodalData, test: Outputs, logits: Tensor, target: Tensor, value: Valuation
) -> dict[str, Any]:
    """Return a few test samples: pictures of their inputs, and the predictions of the model and of each modality.

    Args:
        data: The data set.
        test: The model's outputs on the test set.
        logits: ``(N, C)`` predictions of the rule.
        target: ``(N,)`` or ``(N, C)``.
        value: The held-out valuation of the features, with its samples.
    """
    points = value.per_sample
    if "mi" not in points:
        return {}
    names, rows = data.info.names, np.arange(len(target))
    if test.present is not None:  # what a modality adds is known for complete samples
        rows = rows[torch.stack(list(test.present.values())).all(0).numpy()]
    if not len(rows):
        return {}
    alone, added = ({m: points[f"{kind}:{m}"] for m in names} for kind in ("mi", "cmi"))
    first = np.arange(len(data.test))[:MOMENTS]
    moments = {}
    for m in data.info.modalities:
        if m.kind == "vector":
            some = np.asarray(data.test.arrays[m.name][first], dtype=np.float64)
            if data.test.present is not None:
                some = some[data.test.present[m.name][first]]
            moments[m.name] = (some.mean(0), some.std(0))
    return make_gallery(
        sample_lists({m: v[rows] for m, v in alone.items()}, {m: v[rows] for m, v in added.items()}, rows),
        Predictions(
            task=data.info.make_task(),
            index=np.arange(len(target)),
            target=target,
            model=logits,
            alone=test.unimodal_logits,
            contributions={m: (alone[m], added[m]) for m in names},
            class_names=data.info.class_names,
        ),
        Inputs(
            data.info.modalities,
            lambda chosen: data.test.batch(torch.tensor(chosen)).inputs,
            moments,
            data.test.captions,
        ),
        source="A modality alone: its own head in this model. Contributions: held-out heads on the features.",
    )
