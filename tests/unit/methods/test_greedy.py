"""Greedy: speeds by NumPy, curation as a small state machine, running gates that are each modality's own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from counterpoise.methods import EpochContext, Greedy
from counterpoise.methods._greedy import TransferFusion


def test_one_step_by_numpy(make_model: Any, make_batches: Any, tools: Any) -> None:
    model, batches = make_model(2, dtype=torch.float64), make_batches(2, dtype=torch.float64)
    method = tools.prepare(Greedy(), model, batches)
    batch, y = batches[0], batches[0].target.numpy()
    f = model.fusion
    with torch.no_grad():
        f.bias.copy_(torch.linspace(-1, 1, len(f.bias)))
        for p in model.encoder("a").parameters():
            p.mul_(0.2)
    h = tools.features(model, batch)
    squeeze = {m: f.squeeze[f"squeeze_{m}"].detach().numpy() for m in "ab"}
    e = np.maximum(sum(h[m] @ squeeze[m].T for m in "ab") + f.bias.detach().numpy(), 0)
    branches = {}
    for m in "ab":
        gate = 1 / (1 + np.exp(-e @ f.gates[f"gate_{m}"].detach().numpy().T))
        branches[m] = (h[m] * gate) @ f.heads[f"head_{m}"].detach().numpy().T
    (record,) = method.steps(model, batch)
    for m in "ab":
        assert record.parts[f"branch:{m}"].item() == pytest.approx(tools.nll(branches[m], y).mean())

    def speed(parameters: Any) -> float:
        parameters = list(parameters)
        return sum(float((p.grad.numpy() ** 2).sum()) for p in parameters) / sum(
            float((p.detach().numpy() ** 2).sum()) for p in parameters
        )

    for k, m in enumerate("ab"):
        bypass = speed([f.gates[f"gate_{m}"], f.squeeze["squeeze_a"], f.squeeze["squeeze_b"], f.bias])
        main = speed(model.encoder(m).parameters())
        assert method.speeds[:, k].tolist() == pytest.approx([bypass, main])
        assert record.coefficients[f"bdr:{m}"].item() == pytest.approx(np.log10(bypass / main))
    np.testing.assert_allclose(f(model.encode(batch.inputs)).detach().numpy(), (branches["a"] + branches["b"]) / 2)


def test_each_running_gate_is_its_own(make_model: Any, make_batches: Any, tools: Any) -> None:
    """The released code updates the second gate's mean with the first gate; a toolkit resets it at every forward."""
    model, batches = make_model(2), make_batches(2)
    method = tools.prepare(Greedy(), model, batches)
    gates: dict[str, list[torch.Tensor]] = {"a": [], "b": []}
    for batch in batches:
        features = model.encode(batch.inputs)
        f = model.fusion
        e = (sum(features[m] @ f.squeeze[f"squeeze_{m}"].T for m in "ab") + f.bias).relu()
        for m, values in gates.items():
            values.append((e @ f.gates[f"gate_{m}"].T).sigmoid().mean(0).detach())
        list(method.steps(model, batch))
    for m, values in gates.items():
        torch.testing.assert_close(getattr(model.fusion, f"mean_{m}"), torch.stack(values).mean(0))
    with torch.no_grad():
        model.fusion.gates["gate_a"].mul_(2)
    method = tools.prepare(Greedy(), model, batches)
    for batch in batches:
        list(method.steps(model, batch))
    assert not torch.allclose(model.fusion.mean_a, model.fusion.mean_b)


def test_a_curated_branch_hears_no_other_modality(make_model: Any, make_batches: Any, tools: Any) -> None:
    model, batches = make_model(2), make_batches(2)
    tools.prepare(Greedy(), model, batches)
    x = model.encode(batches[0].inputs)
    y = {"a": x["a"], "b": x["b"] + 1.0}
    assert not torch.equal(model.fusion.branch_logits(x)["a"], model.fusion.branch_logits(y)["a"])
    model.fusion.curated.copy_(torch.tensor([True, False]))
    assert torch.equal(model.fusion.branch_logits(x)["a"], model.fusion.branch_logits(y)["a"])
    assert not torch.equal(model.fusion.branch_logits(x)["b"], model.fusion.branch_logits(y)["b"])


def test_the_modality_with_the_larger_ratio_is_curated_for_exactly_the_window(
    make_model: Any, make_batches: Any, tools: Any
) -> None:
    model, batches = make_model(2), make_batches(2, batches=10)
    method = tools.prepare(Greedy(window=3, epsilon=0.01, start=0), model, batches)
    method.speeds.copy_(torch.tensor([[1e6, 1e-6], [1.0, 1.0]]))  # a leans on its bypass
    history, speeds = [], []
    for batch in batches[:8]:
        (record,) = method.steps(model, batch)
        history.append((record.coefficients["curated:a"].item(), record.coefficients["curated:b"].item()))
        speeds.append(method.speeds.clone())
        model.zero_grad()
    assert history[0] == (0, 0), "the decision is for the steps after it"
    assert history[1:4] == [(1, 0)] * 3
    for during in speeds[1:4]:
        assert torch.equal(during, speeds[0])
    assert history[4] == (0, 0), "a step of all branches, by which the speeds go on"
    assert (speeds[4] > speeds[0])[:, 1].all()
    assert history[5:8] == [(1, 0)] * 3, "a leans on its bypass still"


def test_nothing_is_curated_before_the_start_or_within_epsilon(make_model: Any, make_batches: Any, tools: Any) -> None:
    model, batches = make_model(2), make_batches(2)
    method = tools.prepare(Greedy(start=2), model, batches)
    method.speeds.copy_(torch.tensor([[1e6, 1e-6], [1.0, 1.0]]))
    method.on_epoch_start(model, EpochContext(1, 9))
    list(method.steps(model, batches[0]))
    assert not model.fusion.curated.any()
    method.on_epoch_start(model, EpochContext(2, 9))
    list(method.steps(model, batches[0]))
    assert model.fusion.curated.tolist() == [True, False]
    model.fusion.curated.fill_(False)
    method = tools.prepare(Greedy(start=0, epsilon=100.0), model, batches)
    method.speeds.copy_(torch.tensor([[1e6, 1e-6], [1.0, 1.0]]))
    list(method.steps(model, batches[0]))
    assert not model.fusion.curated.any()


def test_the_new_fusion_draws_no_global_random_numbers_and_is_symmetric() -> None:
    state = torch.get_rng_state()
    fusion = TransferFusion({"a": 3, "b": 3}, num_outputs=2)
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(fusion.gates["gate_a"], fusion.gates["gate_b"])


@pytest.mark.parametrize(("epsilon", "begins"), [(5.9, True), (6.1, False)])
def test_curation_begins_where_the_largest_ratio_exceeds_the_mean_by_half_of_epsilon(
    epsilon: float, begins: bool, make_model: Any, make_batches: Any, tools: Any
) -> None:
    """Ratios of 10^4 and 10^-2: they differ by 6."""
    model, batches = make_model(2), make_batches(2)
    method = tools.prepare(Greedy(start=0, epsilon=epsilon), model, batches)
    method.speeds.copy_(torch.tensor([[1e13, 1e7], [1e9, 1e9]]))
    (record,) = method.steps(model, batches[0])
    assert [record.coefficients[f"bdr:{m}"].item() for m in "ab"] == pytest.approx([4, -2], abs=1e-4)
    assert model.fusion.curated.tolist() == [begins, False]
    assert method.remaining == (5 if begins else 0)


def test_the_new_fusion_is_half_as_wide_as_all_features_and_its_gates_rest_at_a_half() -> None:
    fusion = TransferFusion({"a": 36, "b": 64}, num_outputs=40)
    assert fusion.bias.shape == (50,)
    assert (fusion.bias == 0).all()
    assert (fusion.mean_a == 0.5).all()
    assert (fusion.mean_b == 0.5).all()
    blocks = ((fusion.squeeze["squeeze_a"], 100), (fusion.gates["gate_b"], 50), (fusion.heads["head_b"], 64))
    for p, fan_in in blocks:
        assert p.abs().max().item() == pytest.approx(fan_in**-0.5, rel=0.05)
        assert p.abs().max() <= fan_in**-0.5
        assert abs(p.mean().item()) < 0.1 * fan_in**-0.5
    assert TransferFusion({"a": 1}, num_outputs=2).bias.shape == (1,)


def test_no_one_is_curated_among_equals(make_model: Any, make_batches: Any, tools: Any) -> None:
    model, batches = make_model(2), make_batches(2)
    method = tools.prepare(Greedy(start=0, epsilon=0.0), model, batches)
    method.speeds.copy_(torch.tensor([[1e25, 1e25], [1e20, 1e20]]))  # one step is lost in rounding
    (record,) = method.steps(model, batches[0])
    assert record.coefficients["bdr:a"] == record.coefficients["bdr:b"]
    assert not model.fusion.curated.any()


def test_a_long_curation_is_counted_exactly_in_half_precision(make_model: Any, make_batches: Any, tools: Any) -> None:
    """bfloat16 has no number between 256 and 258."""
    model, batches = make_model(2, dtype=torch.bfloat16), make_batches(2, dtype=torch.bfloat16)
    method = tools.prepare(Greedy(start=0, window=257), model, batches)
    method.speeds.copy_(torch.tensor([[1e6, 1e-6], [1.0, 1.0]]))
    list(method.steps(model, batches[0]))
    assert method.remaining.item() == 257


def test_what_is_frozen_has_no_speed(make_model: Any, make_batches: Any, tools: Any) -> None:
    """And its ratio is finite: speeds count as at least 1e-30."""
    model, batches = make_model(2, dtype=torch.float64), make_batches(2, dtype=torch.float64)
    method = tools.prepare(Greedy(), model, batches)
    model.encoder("a").requires_grad_(False)
    (record,) = method.steps(model, batches[0])
    assert method.speeds[1, 0] == 0
    assert record.coefficients["bdr:a"].item() == pytest.approx(np.log10(method.speeds[0, 0].item()) + 30)
    model.zero_grad()
    for p in model.fusion.bypass_parameters("b"):
        p.requires_grad_(False)
    method = tools.prepare(Greedy(), model, batches)
    (record,) = method.steps(model, batches[0])
    assert method.speeds[0, 1] == 0
    assert record.coefficients["bdr:b"].item() == pytest.approx(-30 - np.log10(method.speeds[1, 1].item()))


def test_parameters_that_start_at_zero_have_a_finite_speed(make_model: Any, make_batches: Any, tools: Any) -> None:
    model, batches = make_model(2), make_batches(2)
    method = tools.prepare(Greedy(), model, batches)
    with torch.no_grad():
        for p in model.encoder("b").parameters():
            p.zero_()
    list(method.steps(model, batches[0]))
    assert method.speeds[1, 1] > 1e20
    assert torch.isfinite(method.speeds).all()
