"""The dynamic rule: its features and weights, and their independence of labels and of other samples of the batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from counterpoise.corruptions import corrupt_one
from counterpoise.errors import ModelError
from counterpoise.inference import Calibrated, Dynamic, Ensemble, Fused, FusedUnimodal, make_rule, predict
from counterpoise.inference._density import Density
from counterpoise.model import MultimodalClassifier
from counterpoise.records import Outputs
from counterpoise.tasks import MultiClass, MultiLabel, Regression, Task

CLASSES, DIM = 4, 6
TASK = MultiClass(CLASSES)
MEANS = torch.randn(2, CLASSES, DIM, generator=torch.Generator().manual_seed(5))


def bayes(z: Tensor, m: int) -> Tensor:
    return z @ MEANS[m].T - 0.5 * MEANS[m].square().sum(-1)


def view(features: dict[str, Tensor]) -> Outputs:
    """Two modalities of unit-variance Gaussian classes, read by Bayes' rule; the fused head adds the two."""
    own = {m: bayes(z, k) for k, (m, z) in enumerate(features.items())}
    return Outputs(features, own["a"] + own["b"], own)


def draw(n: int, seed: int) -> tuple[dict[str, Tensor], Tensor]:
    g = torch.Generator().manual_seed(seed)
    y = torch.randint(CLASSES, (n,), generator=g)
    return {m: MEANS[k][y] + torch.randn(n, DIM, generator=g) for k, m in enumerate("ab")}, y


def fitted(seed: int = 0) -> Dynamic:
    rule = Dynamic(("a", "b"), TASK, {"a": DIM, "b": DIM})
    train, y = draw(1000, seed)
    rule.refresh(view(train), y)
    held, z = draw(300, seed + 1)
    g = torch.Generator().manual_seed(seed)
    rule.fit(view(held), z, [view(corrupt_one(held, generator=g)) for _ in range(rule.copies)])
    return rule


def test_density_is_what_numpy_says() -> None:
    rng = np.random.default_rng(0)
    z, y, new = rng.normal(size=(60, 3)), rng.integers(3, size=60), rng.normal(size=(5, 3))
    density = Density(3, 3).double()
    density.fit(torch.from_numpy(z), torch.from_numpy(y))

    def inverse(centred: np.ndarray) -> np.ndarray:
        c = centred.T @ centred / len(centred)
        return np.linalg.inv(c + (0.05 * np.trace(c) / 3 + 1e-6) * np.eye(3))

    means = np.stack([z[y == c].mean(0) for c in range(3)])
    within, total = inverse(z - means[y]), inverse(z - z.mean(0))
    expected = []
    for v in new:
        inside = min((v - mu) @ within @ (v - mu) for mu in means)
        outside = (v - z.mean(0)) @ total @ (v - z.mean(0))
        expected.append([np.log1p(inside), np.log1p(outside), np.log(0.01 + np.linalg.norm(v))])
    np.testing.assert_allclose(density(torch.from_numpy(new)).numpy(), expected)


def test_density_keeps_its_digits_in_single_precision_far_from_the_origin() -> None:
    g = torch.Generator().manual_seed(0)
    z, y = torch.randn(200, 30, generator=g, dtype=torch.float64), torch.arange(200) % 2
    offset = torch.full((30,), 2.0**12, dtype=torch.float64)  # a power of two: the sum keeps most of z's digits
    single, double = Density(30, 2), Density(30, 2).double()
    for density in (single, double):
        density.fit(z + offset, y)
    torch.testing.assert_close(single((z + offset).float()), double(z + offset).float(), rtol=2e-3, atol=2e-3)


def test_before_it_is_fitted_it_is_the_mean_of_all_heads() -> None:
    features, _ = draw(20, 0)
    out = view(features)
    rule = Dynamic(("a", "b"), TASK, {"a": DIM, "b": DIM})
    torch.testing.assert_close(rule(out).float(), FusedUnimodal(("a", "b"), TASK)(out))


@pytest.mark.parametrize("damaged", ["a", "b"])
def test_a_noisy_modality_loses_weight_and_only_on_the_noisy_samples(damaged: str) -> None:
    rule = fitted()
    other = "b" if damaged == "a" else "a"
    features, y = draw(400, 9)
    noise = 6 * torch.randn(400, DIM, generator=torch.Generator().manual_seed(3))
    hit = torch.arange(400) % 2 == 0
    broken = {**features, damaged: torch.where(hit[:, None], features[damaged] + noise, features[damaged])}
    clean, now = view(features), view(broken)
    k = {"a": 1, "b": 2}
    weights = rule.expert_weights(now)
    share = weights[k[damaged]] / weights[k[other]]
    assert share[hit].median() < 0.3 * share[~hit].median()
    torch.testing.assert_close(weights[:, ~hit], rule.expert_weights(clean)[:, ~hit])

    calibrated = Calibrated(("a", "b"), TASK)
    held, z = draw(300, 1)
    calibrated.fit(view(held), z)
    right = [(r(now).argmax(-1) == y)[hit].double().mean() for r in (rule, calibrated)]
    assert right[0] > right[1] + 0.1
    kept = [(r(clean).argmax(-1) == y).double().mean() for r in (rule, calibrated)]
    assert kept[0] > kept[1] - 0.01


def test_nothing_unusual_means_calibrated_weights_exactly() -> None:
    rule, calibrated = fitted(), Calibrated(("a", "b"), TASK)
    held, z = draw(300, 1)
    calibrated.fit(view(held), z)
    features, _ = draw(2000, 8)
    out = view(features)
    ordinary = (rule._inputs(out) == 0).all(-1).all(0)
    assert 0.2 < ordinary.double().mean() < 0.4
    weights = rule.expert_weights(out)
    expected = calibrated.weights[:, None].expand(-1, int(ordinary.sum()))
    torch.testing.assert_close(weights[:, ordinary], expected, rtol=0, atol=0)
    assert (weights[:, ~ordinary] != calibrated.weights[:, None]).any()


def test_three_in_ten_clean_held_out_samples_have_no_sign_and_all_signs_start_at_one_quantile() -> None:
    rule = fitted()
    held, _ = draw(300, 1)
    out = view(held)
    ordinary = (rule._inputs(out) == 0).all(-1).all(0)
    assert ordinary.double().mean().item() == pytest.approx(0.3, abs=0.01)
    zeta, kappa = rule._standardised(out)
    above = [
        (zeta > rule.high[:, None]).double().mean(1).flatten(),
        (zeta < rule.low[:, None]).double().mean(1).flatten(),
        (kappa > rule.usual_high[:, None]).double().mean(1).flatten(),
    ]
    share = torch.cat(above)
    assert share.max() - share.min() < 0.01
    assert 0.05 < share.mean() < 0.2


def test_a_prediction_depends_on_its_own_sample_only() -> None:
    rule = fitted()
    features, _ = draw(50, 4)
    together, alone = rule(view(features)), rule(view({m: z[7:8] for m, z in features.items()}))
    torch.testing.assert_close(together[7:8], alone)


def test_refreshing_moves_the_standard_along_with_the_encoders() -> None:
    """Encoders whose features have all turned by the same rotation are as usual as before."""
    rule = fitted()
    train, y = draw(1000, 0)
    new, _ = draw(100, 5)
    before = rule.expert_weights(view(new))
    turn = torch.linalg.qr(torch.randn(DIM, DIM, generator=torch.Generator().manual_seed(1))).Q

    def moved(features: dict[str, Tensor]) -> Outputs:
        same = view(features)
        return Outputs({m: z @ turn for m, z in features.items()}, same.logits, same.unimodal_logits)

    stale = rule.expert_weights(moved(new))
    rule.refresh(moved(train), y)
    torch.testing.assert_close(rule.expert_weights(moved(new)), before, rtol=1e-4, atol=1e-6)
    assert (stale - before).abs().max() > 0.05


def test_it_comes_back_from_its_state() -> None:
    rule = fitted()
    again = Dynamic(("a", "b"), TASK, {"a": DIM, "b": DIM})
    again.load_state_dict(rule.state_dict())
    features, _ = draw(10, 6)
    assert torch.equal(again(view(features)), rule(view(features)))


@pytest.mark.parametrize("task", [MultiLabel(3), Regression(2)])
def test_other_tasks_have_it_too_and_a_noisy_modality_loses_weight(task: Task) -> None:
    g = torch.Generator().manual_seed(0)
    matrix = torch.randn(2, DIM, task.num_outputs, generator=g)

    def outputs(features: dict[str, Tensor]) -> Outputs:
        own = {m: z @ matrix[k] for k, (m, z) in enumerate(features.items())}
        return Outputs(features, own["a"] + own["b"], own)

    def sample(n: int) -> tuple[dict[str, Tensor], Tensor]:
        core = torch.randn(n, DIM, generator=g)
        features = {m: core + 0.5 * torch.randn(n, DIM, generator=g) for m in "ab"}
        y = core @ matrix.sum(0)
        return features, (y > 0).float() if task.name == "multilabel" else y

    rule = Dynamic(("a", "b"), task, {"a": DIM, "b": DIM})
    train, held = sample(500), sample(200)
    rule.refresh(outputs(train[0]), train[1])
    copies = [outputs(corrupt_one(held[0], generator=g)) for _ in range(8)]  # type: ignore[arg-type]
    rule.fit(outputs(held[0]), held[1], copies)
    new, y = sample(200)
    broken = outputs({**new, "a": new["a"] + 6 * torch.randn(200, DIM, generator=g)})
    share = [(w[1] / w[2]).median() for w in (rule.expert_weights(broken), rule.expert_weights(outputs(new)))]
    assert share[0] < 0.5 * share[1]
    assert task.loss(rule(broken), y) < 0.7 * task.loss(FusedUnimodal(("a", "b"), task)(broken), y)


def test_it_asks_for_the_feature_dimensions() -> None:
    with pytest.raises(ModelError, match="feature_dims"):
        make_rule("dynamic", ("a", "b"), TASK)


# -- contributions of one sample ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Fused, Ensemble, FusedUnimodal, Calibrated])
def test_with_two_modalities_a_contribution_is_the_divergence_from_the_other_head(kind: type) -> None:
    features, _ = draw(30, 2)
    out = view(features)
    rule = kind(("a", "b"), TASK)
    contributions = rule.contributions(out)
    p = rule(out).double().softmax(-1).numpy()
    total = float(rule.expert_weights(out).sum())
    for m, other in (("a", "b"), ("b", "a")):
        q = (total * out.unimodal_logits[other].double().log_softmax(-1)).softmax(-1).numpy()
        np.testing.assert_allclose(contributions[m].numpy(), (p * np.log(p / q)).sum(-1), rtol=1e-4, atol=1e-5)
        assert (contributions[m] >= -1e-6).all()


def bayes_heads(n: int, modalities: int, seed: int) -> tuple[dict[str, Tensor], Tensor]:
    """Log-odds of two classes given each of M modalities, which are independent given the class; and the class."""
    g = torch.Generator().manual_seed(seed)
    y = torch.randint(2, (n,), generator=g)
    odds = {}
    for m, shift in zip("abc"[:modalities], (1.5, 1.0, 2.0), strict=False):
        odds[m] = shift * (torch.randn(n, generator=g) + shift * y - shift / 2)
    return {m: torch.stack([torch.zeros(n), v], 1) for m, v in odds.items()}, y


@pytest.mark.parametrize("name", ["calibrated", "dynamic"])
@pytest.mark.parametrize("modalities", [2, 3])
@pytest.mark.parametrize("fused", ["exact", "silent", "overconfident"])
def test_mean_contribution_is_the_conditional_information(name: str, modalities: int, fused: str) -> None:
    """Whatever the fused head knows, the prediction without a modality is calibrated: E KL = I(Z_m; Y | others)."""
    heads, y = bayes_heads(8000, modalities, 0)
    task = MultiClass(2)
    whole = torch.stack(list(heads.values())).sum(0)

    def read(odds: dict[str, Tensor]) -> Outputs:
        own = {m: torch.cat([torch.zeros_like(v), v], 1) for m, v in odds.items()}
        total = torch.stack(list(own.values())).sum(0)
        return Outputs(odds, {"exact": total, "silent": 0 * total, "overconfident": 3 * total}[fused], own)

    odds = {m: z[:, 1:] for m, z in heads.items()}
    out, g = read(odds), torch.Generator().manual_seed(0)
    rule = make_rule(name, tuple(heads), task, feature_dims=dict.fromkeys(heads, 1))
    rule.refresh(out, y)
    rule.fit(out, y, [read(corrupt_one(odds, generator=g)) for _ in range(rule.copies)])  # type: ignore[arg-type]
    contributions = rule.contributions(out)
    for m in heads:
        rest = whole - heads[m]
        gain = task.log_likelihood(whole, y) - task.log_likelihood(rest, y)
        error = float((contributions[m] - gain).std()) / len(y) ** 0.5
        assert float(contributions[m].mean()) == pytest.approx(float(gain.mean()), abs=4 * error + 0.01)


def test_a_copied_modality_contributes_nothing() -> None:
    """Redundant heads are not added up: without `a`, its copy `b` predicts as well."""
    heads, y = bayes_heads(4000, 2, 0)
    heads = {"a": heads["a"], "b": heads["a"], "c": heads["b"]}
    rule = Calibrated(tuple(heads), MultiClass(2))
    out = Outputs({}, 0 * heads["a"], heads)
    rule.fit(out, y)
    contributions = rule.contributions(out)
    assert float(contributions["a"].mean()) == pytest.approx(0, abs=1e-3)
    assert float(contributions["c"].mean()) > 0.05


def test_mean_contribution_of_bayes_heads_is_the_conditional_information() -> None:
    """For exact posteriors E KL(p(y|z) || p(y|z_b)) = I(Z_a; Y | Z_b) = E log p(y|z) - log p(y|z_b)."""
    features, y = draw(20000, 7)
    out = view(
        features
    )  # classes are equally likely and modalities independent given the class: the sum is the posterior
    contributions = Fused(("a", "b"), TASK).contributions(out)
    for m, other in (("a", "b"), ("b", "a")):
        gain = TASK.log_likelihood(out.logits, y) - TASK.log_likelihood(out.unimodal_logits[other], y)
        error = float((contributions[m] - gain).std()) / len(y) ** 0.5
        assert abs(float(contributions[m].mean() - gain.mean())) < 4 * error
        assert float(contributions[m].mean()) > 10 * error


def test_predict_returns_contributions_next_to_the_logits() -> None:
    model = MultimodalClassifier({"a": torch.nn.Linear(3, 4), "b": torch.nn.Linear(2, 4)}, num_outputs=CLASSES,
                                 feature_dims={"a": 4, "b": 4})  # fmt: skip
    inputs = {"a": torch.randn(5, 3), "b": torch.randn(5, 2)}
    prediction = predict(model, inputs, return_contributions=True)
    assert torch.equal(prediction.logits, predict(model, inputs))
    expected = Fused(("a", "b"), TASK).contributions(model(inputs))
    for m in ("a", "b"):
        torch.testing.assert_close(prediction.contributions[m], expected[m])
