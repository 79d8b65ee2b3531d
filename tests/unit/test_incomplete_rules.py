"""Decision rules where samples lack modalities: absent experts are dropped, and every pattern stays calibrated."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn.functional import one_hot

from counterpoise.errors import ModelError
from counterpoise.evaluation.metrics import calibration_error
from counterpoise.inference import RULES, Calibrated, Dynamic, Rule, make_rule, predict, what_would_help
from counterpoise.inference._patterns import PatternWeights, draw_masks, expert_mask, with_masks
from counterpoise.model import MultimodalClassifier, build_model
from counterpoise.records import Outputs
from counterpoise.tasks import MultiClass, MultiLabel, Regression, Task

TASK = MultiClass(3)


def experts(
    n: int, seed: int, strengths: dict[str, float], sharpness: dict[str, float]
) -> tuple[Outputs, torch.Tensor]:
    """Return experts of known strength whose logits are too sharp (or too flat) by a known factor."""
    generator = torch.Generator().manual_seed(seed)
    target = torch.randint(3, (n,), generator=generator)
    code = one_hot(target, 3).float()
    logits = {m: sharpness[m] * s * (s * code + torch.randn(n, 3, generator=generator)) for m, s in strengths.items()}
    features = {m: z.clone() for m, z in logits.items() if m != "fused"}
    return Outputs(features, logits["fused"], {m: z for m, z in logits.items() if m != "fused"}), target


STRENGTHS = {"fused": 2.0, "a": 1.5, "b": 1.0, "c": 0.5}
SHARPNESS = {"fused": 3.0, "a": 4.0, "b": 0.3, "c": 2.0}
NAMES = ("a", "b", "c")


def incomplete(n: int, seed: int) -> tuple[Outputs, torch.Tensor]:
    """Return experts of which three in four lack modalities, with a fused head that is noise for these samples."""
    outputs, target = experts(n, seed, STRENGTHS, SHARPNESS)
    generator = torch.Generator().manual_seed(seed + 1)
    lacking = torch.rand(n, generator=generator) < 0.75
    masks = draw_masks(torch.ones(3, n, dtype=torch.bool), generator) | ~lacking
    noise = 5 * torch.randn(n, 3, generator=generator)
    masked = with_masks(outputs, masks)
    complete = masks.all(0)
    return replace(masked, logits=torch.where(complete[:, None], outputs.logits, noise)), target


def rule_of(name: str, task: Task = TASK, modalities: tuple[str, ...] = NAMES) -> Rule:
    return make_rule(name, modalities, task, modality="a", feature_dims=dict.fromkeys(modalities, 3))


def fitted(name: str) -> Rule:
    rule = rule_of(name)
    outputs, target = incomplete(4000, 0)
    rule.refresh(outputs, target)
    rule.fit(outputs, target)
    return rule


@pytest.mark.parametrize("name", [name for name in RULES if name not in ("fused", "unimodal")])
def test_what_stands_in_absent_rows_changes_nothing(name: str) -> None:
    outputs, _ = incomplete(50, 1)
    rule = fitted(name) if name in ("calibrated", "dynamic") else rule_of(name)
    assert outputs.present is not None
    rubbish = {m: torch.where(outputs.present[m][:, None], z, 1e4) for m, z in outputs.unimodal_logits.items()}
    features = {m: torch.where(outputs.present[m][:, None], z, 1e4) for m, z in outputs.features.items()}
    other = Outputs(features, outputs.logits, rubbish, outputs.present)
    torch.testing.assert_close(rule(other), rule(outputs), rtol=0, atol=0)
    for m in NAMES:
        torch.testing.assert_close(rule.contributions(other)[m], rule.contributions(outputs)[m], rtol=0, atol=0)


@pytest.mark.parametrize("name", ["calibrated", "dynamic"])
def test_every_pattern_is_calibrated(name: str) -> None:
    rule = fitted(name)
    outputs, target = incomplete(8000, 2)
    codes = expert_mask(outputs)[1:].T
    for pattern in codes.unique(dim=0):
        rows = (codes == pattern).all(1)
        error = calibration_error(TASK, rule(outputs)[rows], target[rows])
        assert error is not None
        assert error < 0.06, f"{pattern.tolist()}: {error:.3f}"


def test_the_fused_head_is_trusted_by_pattern() -> None:
    """It is good on complete samples and noise on the others."""
    rule = fitted("calibrated")
    outputs, _ = incomplete(500, 3)
    weights, complete = rule.expert_weights(outputs), expert_mask(outputs).all(0)
    assert weights[0, complete].min() > 5 * weights[0, ~complete].max()
    assert (weights[1:][~expert_mask(outputs)[1:]] == 0).all()


def test_pattern_weights_are_near_the_optimum_of_their_objective() -> None:
    outputs, target = incomplete(400, 4)
    weights = PatternWeights(3, fused=True)
    weights.fit(TASK, outputs, target)
    mask = expert_mask(outputs)
    logits = TASK.normalise(outputs.experts().double())

    def objective(theta: torch.Tensor, t: torch.Tensor, own: torch.Tensor, own_t: torch.Tensor) -> torch.Tensor:
        exponents = weights._logarithm((theta, t, own, own_t), weights._pattern(mask), mask).exp() * mask
        product = torch.einsum("kb,kbc->bc", exponents, logits)
        squares = theta.square().sum() + own.square().sum() + own_t.square().sum()
        return TASK.loss(product, target) + 2 / len(target) * squares

    at = [
        p.double().requires_grad_() for p in (weights.theta, weights.temperature, weights.own, weights.own_temperature)
    ]
    reached = objective(*at)
    best = [p.detach().clone().requires_grad_() for p in at]
    optimizer = torch.optim.LBFGS(best, max_iter=500, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = objective(*best)
        loss.backward()
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    assert reached - objective(*best) < 2e-3


def test_a_rule_of_complete_samples_drops_absent_experts_and_the_fused_head() -> None:
    outputs, target = experts(2000, 0, STRENGTHS, SHARPNESS)
    rule = Calibrated(NAMES, TASK)
    rule.fit(outputs, target)
    test, _ = incomplete(300, 1)
    weights, mask = rule.expert_weights(test), expert_mask(test)
    complete = mask.all(0)
    assert (weights[0, ~complete] == 0).all()
    torch.testing.assert_close(weights[:, complete], rule.weights[:, None].expand(-1, int(complete.sum())))
    alone = Calibrated(("a", "b"), TASK)  # with two modalities one head remains: temperature scaling of it
    two = Outputs({}, outputs.logits, {m: outputs.unimodal_logits[m] for m in ("a", "b")})
    alone.fit(two, target)
    only = torch.tensor([[True], [True], [False]])
    torch.testing.assert_close(alone.unimodal_patterns(only)[1], alone.without[1, 1:2], rtol=0.15, atol=0)


def test_complete_samples_have_the_same_exponents_whether_others_lack_modalities_or_not() -> None:
    outputs, target = experts(500, 0, STRENGTHS, SHARPNESS)
    plain, further = Calibrated(NAMES, TASK), Calibrated(NAMES, TASK)
    plain.fit(outputs, target)
    further.fit(outputs, target)
    further.fit_patterns(*incomplete(500, 1))
    assert torch.equal(plain(outputs), further(outputs))
    everything = Outputs(outputs.features, outputs.logits, outputs.unimodal_logits, None)
    assert torch.equal(plain(outputs), further(everything))


@pytest.mark.parametrize("task", [MultiClass(3), MultiLabel(3), Regression(3)])
@pytest.mark.parametrize("name", ["ensemble", "fused+unimodal", "calibrated", "dynamic"])
def test_all_tasks(name: str, task: Task) -> None:
    outputs, labels = incomplete(300, 5)
    target = labels if task.has_classes else one_hot(labels, 3).float()
    rule = rule_of(name, task)
    rule.refresh(outputs, target)
    rule.fit(outputs, target)
    assert rule(outputs).isfinite().all()
    for m, values in rule.contributions(outputs).items():
        assert values.isfinite().all()
        assert (values >= -1e-4).all()
        assert (values[~outputs.present[m]] == 0).all()  # type: ignore[index]
    if name in ("calibrated", "dynamic"):
        gains = rule.expected_gains(outputs)
        assert all((gains[m][outputs.present[m]] == 0).all() for m in NAMES)  # type: ignore[index]
        assert all(gain.isfinite().all() for gain in gains.values())


def test_the_only_modality_contributes_what_it_tells_beyond_the_label_frequencies() -> None:
    rule = fitted("calibrated")
    outputs, _ = incomplete(500, 6)
    assert outputs.present is not None
    mask = expert_mask(outputs)
    alone = mask[1] & ~mask[2] & ~mask[3]
    expected = TASK.kl(rule(outputs)[alone], rule.prior.expand(int(alone.sum()), -1))  # type: ignore[operator]
    torch.testing.assert_close(rule.contributions(outputs)["a"][alone], expected)


def informative_world(n: int, seed: int) -> tuple[Outputs, torch.Tensor]:
    """Return four classes in two pairs: `a` tells the pair, `b` the class in the first pair, `c` that in the second."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.randint(4, (n,), generator=generator)
    pair = one_hot(y // 2, 2).float().repeat_interleave(2, 1)
    code = one_hot(y, 4).float()
    within = {"b": (y < 2)[:, None], "c": (y >= 2)[:, None]}
    logits = {"a": 6 * pair} | {m: torch.where(rows, 6 * code, 6 * pair) for m, rows in within.items()}
    logits = {m: z + 0.3 * torch.randn(n, 4, generator=generator) for m, z in logits.items()}
    return Outputs(dict(logits), logits["a"], logits), y


def test_what_would_help_ranks_the_absent_modalities_of_each_sample() -> None:
    task = MultiClass(4)
    rule = make_rule("calibrated", NAMES, task)
    rule.fit(*informative_world(2000, 0))
    outputs, y = informative_world(200, 1)
    absent = torch.zeros(200, dtype=torch.bool)
    present = {"a": ~absent, "b": absent, "c": absent}
    unimodal = {m: z.masked_fill(~present[m][:, None], 0) for m, z in outputs.unimodal_logits.items()}
    gains = rule.expected_gains(Outputs(outputs.features, outputs.logits, unimodal, present))
    first = y < 2
    assert (gains["b"] > gains["c"])[first].float().mean() > 0.95
    assert (gains["c"] > gains["b"])[~first].float().mean() > 0.95


def test_expected_gains_are_about_the_reductions_that_come() -> None:
    rule = fitted("calibrated")
    outputs, _ = experts(4000, 7, STRENGTHS, SHARPNESS)
    mean = {}
    for k, m in enumerate(NAMES):
        masks = torch.ones(3, 4000, dtype=torch.bool)
        masks[k] = False
        present = dict(zip(NAMES, masks, strict=True))
        unimodal = {n: z.masked_fill(~present[n][:, None], 0) for n, z in outputs.unimodal_logits.items()}
        mean[m] = float(rule.expected_gains(Outputs({}, outputs.logits, unimodal, present))[m].mean())
    assert mean["a"] > mean["b"] > mean["c"] >= 0


def small_model() -> MultimodalClassifier:
    torch.manual_seed(0)
    return build_model({"a": ("vector", (4,), 0), "b": ("vector", (6,), 0)}, num_outputs=3, width=8)


def test_predict_takes_incomplete_inputs_in_three_forms() -> None:
    model, rule = small_model(), make_rule("calibrated", ("a", "b"), TASK)
    a, b = torch.randn(5, 4), torch.randn(5, 6)
    masks = {"a": torch.ones(5, dtype=torch.bool), "b": torch.zeros(5, dtype=torch.bool)}
    by_mask = predict(model, {"a": a, "b": b}, rule, present=masks)
    assert torch.equal(predict(model, {"a": a}, rule), by_mask)
    assert torch.equal(predict(model, {"a": a, "b": torch.full((5, 6), torch.nan)}, rule), by_mask)
    mixed = b.clone()
    mixed[2:] = torch.nan
    some = predict(model, {"a": a, "b": mixed}, rule)
    assert torch.equal(some[2:], by_mask[2:])
    torch.testing.assert_close(some[:2], predict(model, {"a": a[:2], "b": b[:2]}, rule))


def test_complete_inputs_are_predicted_as_before() -> None:
    model, rule = small_model(), make_rule("calibrated", ("a", "b"), TASK)
    inputs = {"a": torch.randn(5, 4), "b": torch.randn(5, 6)}
    whole = {m: torch.ones(5, dtype=torch.bool) for m in inputs}
    assert torch.equal(predict(model, inputs, rule), predict(model, inputs, rule, present=whole))
    assert what_would_help(model, inputs, rule).best == [None] * 5


def test_rules_that_know_nothing_of_absent_modalities_say_so() -> None:
    with pytest.raises(ModelError, match="calibrated"):
        what_would_help(small_model(), {"a": torch.zeros(2, 4)}, make_rule("ensemble", ("a", "b"), TASK))


def test_masks_keep_a_modality_and_add_none() -> None:
    mask = torch.rand(3, 500, generator=torch.Generator().manual_seed(0)) < 0.6
    mask[0] |= ~mask.any(0)
    drawn = draw_masks(mask, torch.Generator().manual_seed(1))
    assert drawn.any(0).all()
    assert not (drawn & ~mask).any()


def test_the_gate_of_the_dynamic_rule_works_on_incomplete_samples() -> None:
    """A corrupted expert loses weight although another modality is absent."""
    rule = Dynamic(NAMES, TASK, dict.fromkeys(NAMES, 3))
    outputs, target = incomplete(2000, 0)
    corrupted = []
    for seed in range(3):
        other, _ = experts(2000, 50 + seed, STRENGTHS, SHARPNESS)
        features = outputs.features | {"a": 4 * other.features["a"]}
        unimodal = dict(outputs.unimodal_logits) | {"a": 4 * other.unimodal_logits["a"]}
        corrupted.append(Outputs(features, outputs.logits, unimodal, outputs.present))
    rule.refresh(outputs, target)
    rule.fit(outputs, target, corrupted)
    rows = expert_mask(outputs)[1] & ~expert_mask(outputs)[2]
    before, after = rule.expert_weights(outputs)[1, rows], rule.expert_weights(corrupted[0])[1, rows]
    assert after.mean() < 0.7 * before.mean()
