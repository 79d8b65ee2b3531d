"""AGM: Shapley shares by hand, coefficients by NumPy, the reversed sign of a published toolkit."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from counterpoise.coalitions import shapley_weights, subsets
from counterpoise.errors import ModelError
from counterpoise.methods import AGM
from counterpoise.methods._agm import adaptive_coefficients, strength_ratio
from counterpoise.methods.replicas.toolkit import AGMToolkit
from counterpoise.model import MultimodalClassifier
from counterpoise.records import Batch


@pytest.mark.parametrize("count", [2, 3, 4, 5])
def test_shapley_weights_are_the_mean_over_all_orders_of_arrival(count: int) -> None:
    values = torch.randn(2**count, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    position = {s: i for i, s in enumerate(subsets(count))}
    expected = np.zeros(count)
    orders = list(permutations(range(count)))
    for order in orders:
        for k, m in enumerate(order):
            before, after = tuple(sorted(order[:k])), tuple(sorted(order[: k + 1]))
            expected[m] += (values[position[after]] - values[position[before]]).item() / len(orders)
    shapley_values = shapley_weights(count) @ values
    assert shapley_values.tolist() == pytest.approx(expected.tolist())
    assert shapley_values.sum().item() == pytest.approx((values[-1] - values[0]).item()), "they sum to v(all) - v(none)"


def test_shares_of_two_modalities_are_the_papers_formula(make_model: Any, make_batches: Any) -> None:
    model, batch = make_model(2, dtype=torch.float64), make_batches(2, dtype=torch.float64)[0]
    zero = {m: torch.zeros(1, 6, dtype=torch.float64) for m in "ab"}
    features = model.encode(batch.inputs)
    absent = model.encode(zero)
    a, v = features["a"], features["b"]
    a0, v0 = absent["a"].expand_as(a), absent["b"].expand_as(v)

    def f(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return model.fusion({"a": x, "b": y})

    shares = AGM.shares(model, features, AGM._absent(model, batch))
    torch.testing.assert_close(shares[0], 0.5 * (f(a, v) - f(a0, v) + f(a, v0)))
    torch.testing.assert_close(shares[1], 0.5 * (f(a, v) - f(a, v0) + f(a0, v)))
    torch.testing.assert_close(shares.sum(0), f(a, v))


@pytest.mark.parametrize("fusion", ["concat", "film", "gated"])
@pytest.mark.parametrize("modalities", [2, 3, 4])
def test_shares_sum_to_the_fused_logits(modalities: int, fusion: str, make_model: Any, make_batches: Any) -> None:
    model = make_model(modalities, dtype=torch.float64, fusion=fusion)
    batch = make_batches(modalities, dtype=torch.float64)[0]
    features = model.encode(batch.inputs)
    shares = AGM.shares(model, features, AGM._absent(model, batch))
    torch.testing.assert_close(shares.sum(0), model.fusion(features))


@pytest.mark.parametrize("modalities", [2, 3])
def test_coefficients_by_numpy_and_gradients_by_autograd(
    modalities: int, make_model: Any, make_batches: Any, tools: Any
) -> None:
    model, batches = make_model(modalities, dtype=torch.float64), make_batches(modalities, dtype=torch.float64)
    method = tools.prepare(AGM(strength=0.8, cap=0.4), model, batches)
    method.usual.copy_(torch.linspace(0.3, 2.0, modalities, dtype=torch.float64))
    method.count.fill_(4)
    batch = batches[0]
    shares = AGM.shares(model, model.encode(batch.inputs), AGM._absent(model, batch))
    s = tools.nll(shares.detach().numpy(), batch.target.numpy()).mean(-1)
    usual = np.linspace(0.3, 2.0, modalities)  # of the earlier steps: this one is added afterwards
    scale = modalities / (modalities - 1)
    r, hat = np.exp(scale * (s.mean() - s)), np.exp(scale * (usual.mean() - usual))
    kappa = np.exp(0.8 * np.minimum(hat - r, 0.4))
    if modalities == 2:
        assert r[0] == pytest.approx(np.exp(s[1] - s[0]))
    (record,) = method.steps(model, batch)
    coefficients = [record.coefficients[f"kappa:{m}"].item() for m in model.modalities]
    assert coefficients == pytest.approx(kappa.tolist(), rel=1e-9)
    assert method.usual.tolist() == pytest.approx(((usual * 4 + s) / 5).tolist())
    assert record.loss.item() == pytest.approx(sum(value.item() for value in record.parts.values()))
    assert set(record.parts) == {"fused", *model.modalities}
    # d L / d theta = sum_m kappa_m (dz_m / d theta)^T dL/dz: by hand through the chain rule
    z = shares.sum(0).detach().requires_grad_()
    (outer,) = torch.autograd.grad(nn.functional.cross_entropy(z, batch.target), z)
    scaled = (torch.from_numpy(kappa).view(-1, 1, 1) * shares * outer).sum()
    for m in model.modalities:
        expected = torch.autograd.grad(scaled, list(model.encoder(m).parameters()), retain_graph=True)
        for g, e in zip(tools.grads(model, m), expected, strict=True):
            torch.testing.assert_close(g, e)


def test_stronger_than_usual_is_slowed_not_sped_up() -> None:
    """A published toolkit has s_m minus the mean in the exponent, which reverses every coefficient."""
    scores, usual = torch.tensor([0.2, 1.5]), torch.tensor([1.0, 1.0])
    kappa = adaptive_coefficients(scores, usual, alpha=1.0)
    assert kappa[0] < 1 < kappa[1]

    def released(scores: torch.Tensor) -> torch.Tensor:
        return (len(scores) / (len(scores) - 1) * (scores - scores.mean())).exp()

    reversed_kappa = (released(usual) - released(scores)).exp()
    assert reversed_kappa[0] > 1
    assert strength_ratio(scores)[0] > strength_ratio(scores)[1]


def test_the_first_step_is_compared_with_equal_modalities_and_the_cap_holds(
    make_model: Any, make_batches: Any, tools: Any
) -> None:
    """The mean of no steps is 0 for every modality, so the usual ratios are 1."""
    model, batches = make_model(2, dtype=torch.float64), make_batches(2, dtype=torch.float64)
    (record,) = tools.prepare(AGM(strength=0.8), model, batches).steps(model, batches[0])
    shares = AGM.shares(model, model.encode(batches[0].inputs), AGM._absent(model, batches[0])).detach().numpy()
    s = tools.nll(shares, batches[0].target.numpy()).mean(-1)
    expected = np.exp(0.8 * np.minimum(1 - np.exp(s[::-1] - s), 10))
    assert [v.item() for v in record.coefficients.values()] == pytest.approx(expected.tolist())
    kappa = adaptive_coefficients(torch.tensor([9.0, 0.0]), torch.tensor([0.0, 9.0]), alpha=0.1)
    assert kappa.max().item() == pytest.approx(np.exp(1.0))


@pytest.mark.parametrize("toolkit", [False, True])
def test_scores_that_differ_by_hundreds_of_nats_give_finite_coefficients(
    toolkit: bool, make_model: Any, make_batches: Any, tools: Any
) -> None:
    model, batches = make_model(2), make_batches(2)
    method = tools.prepare(AGMToolkit() if toolkit else AGM(strength=8.0), model, batches)
    for usual in ([0.0, 0.0], [900.0, 1.0], [1.0, 900.0]):
        method.usual.copy_(torch.tensor(usual))
        for scores in ([500.0, 1.0], [1.0, 500.0], [1e30, 0.0]):
            assert method.coefficients(torch.tensor(scores)).isfinite().all()


def test_a_step_whose_scores_are_not_finite_leaves_no_mark(make_model: Any, make_batches: Any, tools: Any) -> None:
    model, batches = make_model(2), make_batches(2)
    method = tools.prepare(AGM(), model, batches)
    list(method.steps(model, batches[0]))
    before = method.usual.clone()
    broken = Batch({m: x * float("nan") for m, x in batches[1].inputs.items()}, batches[1].target, batches[1].index)
    list(method.steps(model, broken))
    assert torch.equal(method.usual, before)


def test_the_zero_pass_leaves_batch_norm_alone_and_a_step_costs_two_passes_per_encoder(make_batches: Any) -> None:
    calls: list[int] = []

    class Counting(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            calls.append(len(x))
            return super().forward(x)

    batches = make_batches(3)
    model = MultimodalClassifier({m: nn.Sequential(Counting(6, 4), nn.BatchNorm1d(4)) for m in "abc"}, num_outputs=3,
                                 feature_dims=dict.fromkeys("abc", 4))  # fmt: skip
    method = AGM()
    model.fusion = method.prepare(model, batches[0].target).fusion
    list(method.steps(model, batches[0]))
    assert sorted(calls) == [1, 1, 1, 32, 32, 32]
    list(method.steps(model, batches[0]))
    assert model.encoder("a")[1].num_batches_tracked == 2, "the encoder is in training mode again"
    model.encoder("a").eval()
    list(method.steps(model, batches[0]))
    assert not model.encoder("a").training, "one that was in evaluation mode stays so"


def test_ten_modalities_are_taken_and_eleven_refused() -> None:
    encoders = {f"m{i}": nn.Linear(2, 2) for i in range(11)}
    AGM().prepare(MultimodalClassifier(dict(list(encoders.items())[:10]), num_outputs=2), torch.zeros(3))
    model = MultimodalClassifier(encoders, num_outputs=2)
    with pytest.raises(ModelError, match="at most 10 modalities"):
        AGM().prepare(model, torch.zeros(3, dtype=torch.long))
