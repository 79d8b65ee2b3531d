"""One step of OGM-GE against an independent NumPy derivation, and the traps of published implementations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from counterpoise.methods import OGMGE, Joint
from counterpoise.methods._ogm import _noisy, discrepancy_ratio, modulation
from counterpoise.model import MultimodalClassifier
from counterpoise.records import Batch

Make = Callable[..., Any]


def ready(model: MultimodalClassifier, batch: Batch, **arguments: Any) -> OGMGE:
    method = OGMGE(**arguments)
    method.prepare(model, batch.target)
    return method


def numpy_kappa(model: Any, batch: Any, alpha: float) -> dict[str, float]:
    """Scores from W_m h_m + b/M by plain NumPy, ratios and tanh by hand."""
    weight = model.fusion.head.weight.detach().numpy()
    bias = model.fusion.head.bias.detach().numpy()
    y = batch.target.numpy()
    start, scores = 0, {}
    for m in model.modalities:
        h = model.encoder(m)(batch.inputs[m]).detach().numpy()
        z = h @ weight[:, start : start + h.shape[1]].T + bias / len(model.modalities)
        start += h.shape[1]
        p = np.exp(z - z.max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        scores[m] = sum(p[i, y[i]] for i in range(len(y)))
    kappa = {}
    for m, s in scores.items():
        rho = s / np.mean([v for k, v in scores.items() if k != m])
        kappa[m] = 1 - np.tanh(alpha * rho) if rho > 1 else 1.0
    return kappa


@pytest.mark.parametrize("modalities", [2, 3, 4])
def test_gradients_are_the_joint_ones_times_kappa(modalities: int, make_model: Make, make_batches: Make) -> None:
    batch = make_batches(modalities, dtype=torch.float64)[0]
    joint, ogm = make_model(modalities, dtype=torch.float64), make_model(modalities, dtype=torch.float64)
    kappa = numpy_kappa(ogm, batch, alpha=0.4)
    assert 0 < min(kappa.values()) < 1
    (record,) = ready(ogm, batch, strength=0.4, noise=False).steps(ogm, batch)
    list(Joint().steps(joint, batch))
    for m in ogm.modalities:
        assert record.coefficients[f"kappa:{m}"].item() == pytest.approx(kappa[m], rel=1e-10)
        for p, q in zip(ogm.encoder(m).parameters(), joint.encoder(m).parameters(), strict=True):
            torch.testing.assert_close(p.grad, kappa[m] * q.grad)
    for p, q in zip(ogm.fusion.parameters(), joint.fusion.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad)


def test_the_dominant_modality_is_slowed_and_no_other(make_model: Make, make_batches: Make) -> None:
    """On a world where `a` is easy, once the model has learned: kappa_a < 1 and kappa_b = 1, not the other way."""
    model, batches = make_model(2), make_batches(2)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for batch in batches * 20:
        for _ in Joint().steps(model, batch):
            optimizer.step()
            optimizer.zero_grad()
    (record,) = ready(model, batches[0], noise=False).steps(model, batches[0])
    assert record.coefficients["kappa:a"] < 1
    assert record.coefficients["kappa:b"] == 1


def test_each_ratio_is_taken_of_the_scores_not_of_ratios() -> None:
    """A released toolkit divides in place, so that the second ratio is s2^2/s1; ours is s2/s1."""
    scores = torch.tensor([3.0, 2.0])
    kept = scores.clone()
    assert discrepancy_ratio(scores).tolist() == pytest.approx([1.5, 2 / 3])
    assert torch.equal(scores, kept)
    three = discrepancy_ratio(torch.tensor([6.0, 2.0, 1.0]))
    assert three.tolist() == pytest.approx([6 / 1.5, 2 / 3.5, 1 / 4])


def test_modulation_is_at_most_one_and_falls_with_alpha() -> None:
    ratio = torch.tensor([0.5, 1.0, 1.5, 4.0])
    kappa = modulation(ratio, 0.3)
    assert kappa.tolist() == pytest.approx([1, 1, 1 - np.tanh(0.45), 1 - np.tanh(1.2)])
    assert (modulation(ratio, 0.6) <= kappa).all()


def test_noise_has_the_standard_deviation_of_the_unmodulated_gradient(make_model: Make, make_batches: Make) -> None:
    batch = make_batches(2)[0]
    clean = make_model(2)
    (record,) = ready(clean, batch, noise=False).steps(clean, batch)
    differences: dict[str, list[torch.Tensor]] = {"a": [], "b": []}
    for draw in range(300):
        noisy = make_model(2)
        torch.manual_seed(draw)
        list(ready(noisy, batch, noise=True).steps(noisy, batch))
        for m, tensors in differences.items():
            tensors.append(noisy.encoder(m)[0].weight.grad - clean.encoder(m)[0].weight.grad)
        for p, q in zip(noisy.encoder("a").parameters(), clean.encoder("a").parameters(), strict=True):
            if p.ndim == 1:
                assert torch.equal(p.grad, q.grad)
    for m, tensors in differences.items():
        unmodulated = clean.encoder(m)[0].weight.grad / record.coefficients[f"kappa:{m}"]
        noise = torch.stack(tensors)
        assert noise.std().item() == pytest.approx(unmodulated.std(correction=0).item(), rel=0.02)
        assert abs(noise.mean().item()) < 4 * noise.std().item() / noise.numel() ** 0.5


def test_epochs_outside_the_window_are_joint_training(make_model: Make, make_batches: Make) -> None:
    from counterpoise.methods import EpochContext

    model, batches = make_model(2), make_batches(2)
    method = ready(model, batches[0], start=2, end=3)
    modulated = []
    for epoch in range(4):
        method.on_epoch_start(model, EpochContext(epoch, 4))
        (record,) = method.steps(model, batches[0])
        modulated.append(bool(record.coefficients))
    assert modulated == [False, False, True, False]


def test_noise_is_as_large_as_the_population_deviation_and_of_no_steps_after(
    make_model: Make, make_batches: Make
) -> None:
    """Exactly std(g) / kappa times what is drawn; the next method's gradients have none of it."""
    gradient, kappa = torch.tensor([[1.0, 4.0]]), torch.tensor(0.25)
    torch.manual_seed(0)
    drawn = torch.randn_like(gradient)
    torch.manual_seed(0)
    torch.testing.assert_close(_noisy(kappa)(gradient), gradient + drawn * 1.5 / 0.25)
    one, two, batch = make_model(2), make_model(2), make_batches(2)[0]
    list(ready(one, batch).steps(one, batch))
    one.zero_grad()
    list(Joint().steps(one, batch))
    list(Joint().steps(two, batch))
    assert all(torch.equal(p.grad, q.grad) for p, q in zip(one.parameters(), two.parameters(), strict=True))
