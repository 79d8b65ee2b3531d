"""MLA: the projection by NumPy, alternation, entropy weights; the released code's silent no-op fails here."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from counterpoise.errors import ModelError
from counterpoise.inference import predict
from counterpoise.methods import MLA, EpochContext
from counterpoise.methods._mla import EntropyWeightedHead, _projected, entropy_weights, update_projection
from counterpoise.model import MultimodalClassifier


def numpy_projection(p: np.ndarray, r: np.ndarray, ridge: float) -> np.ndarray:
    k = p @ r
    p = p - np.outer(k, k) / (ridge + r @ k)
    return p / np.sqrt((p**2).sum())


@pytest.mark.parametrize("modalities", [2, 3])
def test_one_batch_by_numpy(modalities: int, make_model: Any, make_batches: Any, tools: Any) -> None:
    """Each modality's head gradient is (softmax - onehot)^T h / B, times the running P; encoders move one at a time."""
    model, batches = make_model(modalities, dtype=torch.float64), make_batches(modalities, dtype=torch.float64)
    method = tools.prepare(MLA(), model, batches)
    method.on_epoch_start(model, EpochContext(0, 5))
    batch, y = batches[0], batches[0].target.numpy()
    p, onehot = np.eye(8), np.eye(3)[y]
    weight, bias = (q.detach().numpy().copy() for q in model.fusion.parameters())
    features = tools.features(model, batch)
    seen = []
    for m, record in zip(model.modalities, method.steps(model, batch), strict=True):
        h = features[m]
        z = h @ weight.T + bias
        p = numpy_projection(p, h.mean(0), 0.1)
        raw = (tools.softmax(z) - onehot).T @ h / len(y)
        np.testing.assert_allclose(model.fusion.head.weight.grad.numpy(), raw @ p.T, rtol=1e-8, atol=1e-12)
        assert record.parts[f"shared:{m}"].item() == pytest.approx(tools.nll(z, y).mean())
        shared = nn.functional.cross_entropy(model.fusion.head(model.encoder(m)(batch.inputs[m])), batch.target)
        by_autograd = torch.autograd.grad(shared, list(model.encoder(m).parameters()))
        torch.testing.assert_close(tools.grads(model, m), list(by_autograd))  # nothing of the unimodal head's
        own = (tools.softmax(tools.heads(model, batch)[m]) - onehot).T @ h / len(y)
        np.testing.assert_allclose(model.head(m).weight.grad.numpy(), own, rtol=1e-8, atol=1e-12)
        for other in model.modalities:
            assert bool(tools.grads(model, other)) == (other == m)
        seen.append(m)
        model.zero_grad()
    assert seen == list(model.modalities)
    np.testing.assert_allclose(method.projection.numpy(), p, rtol=1e-8)


def test_the_ridge_falls_within_an_epoch(make_model: Any, make_batches: Any, tools: Any) -> None:
    model, batches = make_model(2, dtype=torch.float64), make_batches(2, dtype=torch.float64, batches=4)
    method = tools.prepare(MLA(), model, batches)
    method.on_epoch_start(model, EpochContext(0, 5))
    list(method.steps(model, batches[0]))
    before = method.projection.numpy().copy()
    features = tools.features(model, batches[1])
    next(iter(method.steps(model, batches[1])))
    expected = numpy_projection(before, features["a"].mean(0), 0.1 ** (1 + 1 / 4))
    np.testing.assert_allclose(method.projection.numpy(), expected, rtol=1e-8)


def test_a_projected_update_leaves_the_mean_features_logits_alone(
    make_model: Any, make_batches: Any, tools: Any
) -> None:
    """The released plugin looks for a parameter named `module.weight`, gets `weight`, and does nothing."""
    changes = {}
    for project in (True, False):
        model, batches = make_model(2, dtype=torch.float64), make_batches(2, dtype=torch.float64)
        with torch.no_grad():  # features with a mean far from 0
            model.encoder("a")[2].bias.fill_(3.0)
        method = tools.prepare(MLA(ridge=1e-4, project=project), model, batches)
        mean = model.encoder("a")(batches[0].inputs["a"]).mean(0).detach()
        next(iter(method.steps(model, batches[0])))
        gradient = model.fusion.head.weight.grad
        changes[project] = ((gradient @ mean).norm() / gradient.norm() / mean.norm()).item()
    assert changes[True] < 1e-3
    assert changes[False] > 0.5

    def released(p: torch.Tensor, r: torch.Tensor, ridge: float) -> torch.Tensor:  # element-wise denominator
        k = p @ r
        return p - torch.outer(k, k) / (ridge + torch.outer(k, r))

    r = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    right, wrong = update_projection(torch.eye(3).double(), r, 1e-6) @ r, released(torch.eye(3).double(), r, 1e-6) @ r
    assert right.norm() < 1e-5 < wrong.norm()


def test_weights_are_per_sample_over_classes_and_favour_the_confident() -> None:
    logits = torch.tensor([[[9.0, 0.0, 0.0], [0.0, 0.0, 0.0]], [[0.0, 0.0, 0.0], [9.0, 0.0, 0.0]]])
    weights = entropy_weights(logits)
    assert weights[0, 0] > weights[1, 0]
    assert weights[0, 1] < weights[1, 1]
    torch.testing.assert_close(weights.sum(0), torch.ones(2))
    entropy = -(logits.softmax(-1) * logits.log_softmax(-1)).sum(-1)
    expected = (entropy.max(0).values - entropy).exp()
    torch.testing.assert_close(weights, expected / expected.sum(0))
    assert torch.equal(entropy_weights(logits[:, :1]), weights[:, :1]), "no batch statistics, unlike the released code"


def test_the_shared_head_starts_as_the_mean_of_the_unimodal_heads_without_random_numbers(
    make_model: Any, make_batches: Any, tools: Any
) -> None:
    model, batches = make_model(3), make_batches(3)
    state = torch.get_rng_state()
    tools.prepare(MLA(), model, batches)
    assert torch.equal(state, torch.get_rng_state())
    assert isinstance(model.fusion, EntropyWeightedHead)
    torch.testing.assert_close(
        model.fusion.head.weight, torch.stack([model.head(m).weight for m in model.modalities]).mean(0)
    )


@pytest.mark.parametrize("modalities", [2, 3])
def test_the_prediction_by_numpy(modalities: int, make_model: Any, make_batches: Any, tools: Any) -> None:
    model, batches = make_model(modalities, dtype=torch.float64), make_batches(modalities, dtype=torch.float64)
    tools.prepare(MLA(), model, batches)
    weight, bias = (q.detach().numpy() for q in model.fusion.parameters())
    z = np.stack([h @ weight.T + bias for h in tools.features(model, batches[0]).values()])
    p = tools.softmax(z)
    w = np.exp((p * np.log(p)).sum(-1))
    expected = ((w / w.sum(0))[..., None] * z).sum(0)
    np.testing.assert_allclose(predict(model, batches[0].inputs).numpy(), expected)


def test_the_ridge_stays_where_it_is_at_the_end_of_an_epoch(
    make_model: Any, make_batches: Any, tools: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A loop may take more batches than expected, or start without an epoch."""
    model, batches = make_model(2), make_batches(2, batches=1)
    method = tools.prepare(MLA(), model, batches)
    ridges: list[float] = []
    monkeypatch.setattr(
        "counterpoise.methods._mla.update_projection",
        lambda projection, mean, ridge: ridges.append(ridge) or projection,
    )
    for _ in range(3):
        list(method.steps(model, batches[0]))
    assert ridges[::2] == pytest.approx([0.1, 0.01, 0.01])


def test_the_projection_is_not_of_lower_precision_under_autocast(
    make_model: Any, make_batches: Any, tools: Any
) -> None:
    model, batches = make_model(2), make_batches(2)
    method = tools.prepare(MLA(), model, batches)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mean = model.encoder("a")(batches[0].inputs["a"]).mean(0).detach().float()
        next(iter(method.steps(model, batches[0])))
    torch.testing.assert_close(method.projection, update_projection(torch.eye(8), mean, 0.1))
    gradient = torch.randn(3, 8, generator=torch.Generator().manual_seed(0))
    expected = gradient @ method.projection.T
    with torch.autocast("cpu", dtype=torch.bfloat16):
        projected = _projected(method.projection)(gradient)
    torch.testing.assert_close(projected, expected)


def test_a_method_has_the_precision_of_its_model(make_model: Any, make_batches: Any) -> None:
    model, batches = make_model(2, dtype=torch.float64), make_batches(2, dtype=torch.float64)
    method = MLA()
    model.fusion = method.prepare(model, torch.zeros(128, dtype=torch.long)).fusion
    list(method.steps(model, batches[0]))
    assert method.projection.dtype == torch.float64
    assert model.fusion.head.weight.grad.dtype == torch.float64


def test_a_projection_of_nothing_is_finite() -> None:
    """Features of mean zero leave it as it was but for its length; in one dimension nothing remains."""
    eye = torch.eye(4)
    torch.testing.assert_close(update_projection(eye, torch.zeros(4), ridge=0.0), eye / 2)
    assert update_projection(torch.eye(1), torch.ones(1), ridge=0.0) == 0


def test_modalities_take_turns_in_the_order_of_the_alphabet(make_model: Any, make_batches: Any, tools: Any) -> None:
    model, batches = make_model(("b", "a")), make_batches(("b", "a"))
    records = tools.prepare(MLA(), model, batches).steps(model, batches[0])
    assert [next(iter(r.parts)) for r in records] == ["shared:a", "shared:b"]


def test_a_task_without_classes_is_refused(make_model: Any) -> None:
    with pytest.raises(ModelError, match="multiclass"):
        MLA().prepare(make_model(2, task="regression"), torch.zeros(4, 3))


def test_unequal_feature_dimensions_are_refused() -> None:
    model = MultimodalClassifier({"a": nn.Linear(2, 3), "b": nn.Linear(2, 4)}, num_outputs=2)
    with pytest.raises(ModelError, match="same dimension"):
        MLA().prepare(model, torch.zeros(3, dtype=torch.long))
