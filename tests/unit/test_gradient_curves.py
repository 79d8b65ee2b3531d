"""The plane of balance and non-conflict of gradients, against NumPy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from counterpoise.evaluation.collect import collect
from counterpoise.model import build_model
from counterpoise.runs import CurveId
from counterpoise.training.curves import gradient_curves

Make = Callable[..., Any]


@pytest.mark.parametrize("modalities", [2, 3])
def test_gradients_of_a_linear_head(modalities: int, make_model: Make, make_batches: Make) -> None:
    model, batches = make_model(modalities), make_batches(modalities)
    outputs, target = collect(model, batches)
    first = gradient_curves(model, outputs, target, {})
    p = outputs.logits.softmax(-1).numpy().astype(float)
    residual = (p - np.eye(3)[target.numpy()]) / len(target)
    weight = model.fusion.head.weight.detach().numpy()
    g = [(residual @ weight[:, 8 * k : 8 * k + 8]).ravel() for k in range(modalities)]
    pairs = [(i, j) for i in range(modalities) for j in range(modalities) if i != j]
    cosine = np.mean([g[i] @ g[j] / np.linalg.norm(g[i]) / np.linalg.norm(g[j]) for i, j in pairs])
    assert first[CurveId("gradient", "non-conflict")] == pytest.approx(cosine, rel=1e-5)
    energy = np.array([x @ x for x in g])
    for m, e in zip(model.modalities, energy, strict=True):
        assert first[CurveId("gradient", "energy", m)] == pytest.approx(e, rel=1e-5)

    def balance(total: np.ndarray) -> float:
        return float(np.mean([8 * total[i] * total[j] / (total[i] + total[j]) ** 2 - 1 for i, j in pairs]))

    assert first[CurveId("gradient", "balance")] == pytest.approx(balance(energy), rel=1e-5)
    history = {CurveId("gradient", "energy", "a"): [float("nan"), 1.0, 0.5]}
    later = gradient_curves(model, outputs, target, history)
    energy[0] += 1.5
    assert later[CurveId("gradient", "balance")] == pytest.approx(balance(energy), rel=1e-5)
    assert all(p.grad is None for p in model.parameters())


def test_features_of_different_widths_have_no_plane() -> None:
    model = build_model({"a": ("vector", (4,), 0), "b": ("vector", (6,), 0)}, num_outputs=2)
    outputs = model({"a": torch.zeros(5, 4), "b": torch.zeros(5, 6)})
    assert gradient_curves(model, outputs, torch.zeros(5, dtype=torch.long), {})
    model.feature_dims = {"a": 4, "b": 6}
    assert gradient_curves(model, outputs, torch.zeros(5, dtype=torch.long), {}) == {}
