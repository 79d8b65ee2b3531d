"""ARM's parts against independent derivations, and the faults of the authors' release as tests that they would fail."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from counterpoise.errors import DataError, ModelError
from counterpoise.fusion import Concat
from counterpoise.inference import predict
from counterpoise.methods import (
    ARM,
    AsymmetricFusion,
    EpochContext,
    Method,
    SeparatedExperts,
    SeparatedGradients,
    Uniform,
)
from counterpoise.methods.arm import (
    BalancedMinMaxLoss,
    ContributionResampler,
    ModalityState,
    fused_share,
    fusion_weights,
    gradient_shares,
    held_out_contributions,
    learnable_information,
    memorised_share,
    modality_states,
    sample_frequencies,
    significance,
    synergy_share,
    systematic_draw,
    update_scales,
)
from counterpoise.methods.base import unimodal_losses
from counterpoise.records import Batch
from counterpoise.tasks import MultiClass, MultiLabel, Regression

Make = Callable[..., Any]
CLASSES = 3


def run(method: Method, model: Any, batches: Any, held_out: Any, *, epochs: int = 8, adam: bool = True) -> list[Any]:
    """Train; return the records of the last epoch."""
    parameters = [*model.parameters(), *method.parameters()]
    optimizer: Any = torch.optim.AdamW(parameters, lr=1e-2) if adam else torch.optim.SGD(parameters, lr=0.05)
    records: list[Any] = []
    for number in range(epochs):
        torch.manual_seed(number)
        method.on_epoch_start(model, EpochContext(number, epochs, train=lambda: batches, held_out=lambda: held_out))
        records = []
        for batch in batches:
            for record in method.steps(model, batch):
                optimizer.step()
                optimizer.zero_grad()
                records.append(record)
    return records


def prepared(method: Method, model: Any, batches: Any) -> Any:
    model.fusion = method.prepare(model, torch.cat([b.target for b in batches])).fusion
    return method.to(next(model.parameters()).dtype)


def memorising_world(count: int = 12, noise: int = 40) -> tuple[list[Batch], list[Batch]]:
    """Training and held-out batches: ``a`` carries the class, ``b`` is wide noise that can be learned by heart."""
    generator = torch.Generator().manual_seed(0)
    y = torch.randint(CLASSES, (count * 16,), generator=generator)
    a = 1.5 * nn.functional.one_hot(y, CLASSES) + torch.randn(len(y), CLASSES, generator=generator)
    b = torch.randn(len(y), noise, generator=generator)
    batches = [Batch({"a": a[r], "b": b[r]}, y[r], r) for r in torch.arange(len(y)).split(16)]
    return batches[:4], batches[4:]


def world_model(noise: int = 40, outputs: int = CLASSES) -> Any:
    from counterpoise.model import MultimodalClassifier

    torch.manual_seed(0)
    encoders = {
        "a": nn.Sequential(nn.Linear(CLASSES, 8), nn.ReLU()),
        "b": nn.Sequential(nn.Linear(noise, 64), nn.ReLU()),
    }
    return MultimodalClassifier(encoders, num_outputs=outputs, feature_dims={"a": 8, "b": 64})


# -- contributions on held-out samples ---------------------------------------------------------------------------------


def posteriors(n: int, scales: tuple[float, ...], seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Exact log-posteriors of independent Gaussian views and of all together (first), and the classes."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.randint(CLASSES, (n,), generator=generator)
    views = [s * nn.functional.one_hot(y, CLASSES) + torch.randn(n, CLASSES, generator=generator) for s in scales]
    own = torch.stack([(s * x).log_softmax(-1) for s, x in zip(scales, views, strict=True)])
    return torch.cat([own.sum(0, keepdim=True).log_softmax(-1), own]), y


def test_contributions_of_exact_posteriors_are_their_log_ratios() -> None:
    experts, y = posteriors(4000, (2.0, 1.0, 0.5))
    known = held_out_contributions(MultiClass(CLASSES), experts, y, torch.zeros(CLASSES))
    size = len(known.target)
    log_p = experts[:, torch.arange(size), y[:size]]
    torch.testing.assert_close(known.joint, (log_p[0] + np.log(3)).mean(), atol=0.02, rtol=0)
    alone = log_p[1:] + np.log(3)
    torch.testing.assert_close(known.alone, alone.mean(-1), atol=0.02, rtol=0)
    torch.testing.assert_close(known.alone_error, alone.std(-1) / size**0.5, atol=0.003, rtol=0.1)
    for m in range(3):
        rest = sum(experts[1 + k] for k in range(3) if k != m).log_softmax(-1)  # type: ignore[union-attr]
        added = log_p[0] - rest[torch.arange(size), y[:size]]
        torch.testing.assert_close(known.marginal[m], added.mean(), atol=0.02, rtol=0)
    torch.testing.assert_close(known.additive, known.joint, atol=0.02, rtol=0)


def test_certain_heads_are_calibrated_and_memorised_certainty_is_no_information() -> None:
    """Raw cross-entropies would call the first informative head worse than a guess and the second far below 0."""
    experts, y = posteriors(600, (1.5, 1.5))
    generator = torch.Generator().manual_seed(1)
    honest = held_out_contributions(MultiClass(CLASSES), experts, y, torch.zeros(CLASSES))
    experts[1] *= 20
    experts[2] = 30 * torch.randn(600, CLASSES, generator=generator)
    known = held_out_contributions(MultiClass(CLASSES), experts, y, torch.zeros(CLASSES))
    torch.testing.assert_close(known.alone[0], honest.alone[0], atol=0.05, rtol=0)
    assert abs(known.alone[1]) < 0.05  # the raw cross-entropy is above 20
    assert significance(known.alone, known.alone_error)[1] == 0
    gaps, errors = known.gaps
    assert gaps[0] == errors[0] == 0
    assert significance(gaps, errors)[1] == 1


@pytest.mark.parametrize("seed", range(5))
def test_the_gap_of_two_modalities_is_that_of_their_marginal_contributions(seed: int) -> None:
    experts, y = posteriors(300, (1.0, 0.6), seed)
    known = held_out_contributions(MultiClass(CLASSES), experts, y, torch.zeros(CLASSES))
    gaps, _ = known.gaps
    torch.testing.assert_close(gaps.max(), (known.marginal[0] - known.marginal[1]).abs())
    torch.testing.assert_close(gaps.max(), (known.alone[0] - known.alone[1]).abs())


def test_redundant_modalities_do_not_hide_an_asymmetry() -> None:
    """With two copies of a strong modality each adds nothing to the rest, and still the third is behind."""
    experts, y = posteriors(600, (2.0, 2.0, 0.3))
    experts[2] = experts[1]
    experts[0] = (experts[1] + experts[3]).log_softmax(-1)
    known = held_out_contributions(MultiClass(CLASSES), experts, y, torch.zeros(CLASSES))
    assert known.marginal[:2].abs().max() < 0.05
    gaps, errors = known.gaps
    assert gaps[2] > 0.3
    assert significance(gaps, errors)[2] > 0.9


@pytest.mark.parametrize("task", ["multilabel", "regression"])
def test_contributions_of_other_tasks(task: str) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(400, 2, generator=generator)
    noise = torch.randn(400, 2, generator=generator)
    if task == "multilabel":
        y, kind = (torch.rand(400, 2, generator=generator) < (2 * x).sigmoid()).long(), MultiLabel(2)
        experts, prior = torch.stack([2 * x, 2 * x, noise]), torch.zeros(2)
    else:
        y, kind = x + 0.5 * noise, Regression(2)
        experts, prior = torch.stack([x, x, torch.randn(400, 2, generator=generator)]), y.mean(0)
    known = held_out_contributions(kind, experts, y, prior)
    assert known.alone[0] > 3 * known.alone_error[0]
    assert significance(known.alone, known.alone_error)[1] == 0
    assert known.marginal[0] > 0.1 > known.marginal[1]


def test_what_is_within_one_and_two_thirds_standard_errors_is_not_acted_on() -> None:
    value = torch.tensor([-5.0, 0.0, 1.63, 1.64 * 1.25, 3.28, 10.0])
    expected = torch.tensor([0, 0, 0, 0.25, 1, 1])
    torch.testing.assert_close(significance(value, torch.ones(6)), expected)
    assert significance(torch.tensor(0.0), torch.tensor(0.0)) == 0


# -- states ------------------------------------------------------------------------------------------------------------


def test_states_follow_held_out_and_training_information() -> None:
    entropy = 2.0
    cases = {  # held out, error, train, best
        ModalityState.LEARNING: [
            (1.0, 0.1, 1.1, 0.9),
            (1.0, 0.1, 1.2, 1.05),
            (0.3, 0.1, 0.1, 0.0),
            (0.3, 0.1, 1.9, 0.2),
        ],
        ModalityState.SATURATED: [(1.5, 0.1, 1.9, 1.6)],
        ModalityState.UNINFORMATIVE: [(0.0, 0.1, 0.05, 0.1), (-0.2, 0.1, 0.1, 0.0)],
        ModalityState.MEMORISING: [(0.3, 0.1, 1.9, 0.28), (0.3, 0.1, 1.9, 0.4), (0.0, 0.1, 0.9, 0.1)],
    }
    for state, rows in cases.items():
        states = modality_states(*torch.tensor(rows).T, entropy=entropy)
        assert states.tolist() == [state] * len(rows)


def test_memorised_share_is_a_share() -> None:
    held, train = torch.tensor([0.9, -0.3, 2.0, 0.0]), torch.tensor([1.0, 1.0, 1.0, 0.0])
    assert memorised_share(held, train, entropy=1.0).tolist() == pytest.approx([0.1, 1.0, 0.0, 1.0])


@pytest.mark.parametrize("gamma", [0.0, 0.5, 4.0])
def test_updates_are_scaled_by_state(gamma: float) -> None:
    learning, saturated, uninformative, memorising = (int(s) for s in ModalityState)
    states = torch.tensor([learning, learning, saturated, uninformative, memorising])
    share, gaps, known = torch.tensor([0.0, 0.1, 0.3, 1.0, 0.9]), torch.tensor([0.0, 0.5, 0.5, 0.5, 0.5]), torch.ones(5)
    scales = update_scales(states, gaps, share, share, known, gamma)
    assert scales[0] == 1, "the strongest modality is left alone"
    assert scales[1].item() == pytest.approx(1 + gamma * 0.5 * 0.8)
    assert scales[2] == scales[3] == 1
    assert scales[4].item() == pytest.approx(1 - min(gamma, 1) * 0.8)
    assert update_scales(states, 0 * gaps, share, share, known, gamma)[1] == 1, "not significant: not acted on"
    assert update_scales(states, gaps, share, share, 0 * known, gamma)[4] == 1, "may not have begun to generalise"
    assert update_scales(states, gaps, share, 0 * share, known, gamma)[4] == 1, "adds to the others: not slowed"
    every = torch.full((5,), memorising)
    assert (update_scales(every, gaps, share, torch.full((5,), 0.9), known, gamma) == 1).all(), "no asymmetry"
    half = torch.full((5,), learning)
    assert (update_scales(half, gaps, torch.full((5,), 0.6), share, known, gamma) == 1).all(), "does not generalise"


# -- fusion ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tau", [0.0, 0.5, 2.0])
def test_fusion_weights_have_mean_one_and_fall_with_the_memorised_share(tau: float) -> None:
    w = fusion_weights(torch.tensor([0.0, 0.3, 0.9]), tau)
    assert w.mean().item() == pytest.approx(1)
    assert torch.equal(w, torch.ones(3)) if tau == 0 else w[0] > w[1] > w[2] > 0
    torch.testing.assert_close(fusion_weights(torch.full((3,), 0.4), tau), torch.ones(3))
    assert (fusion_weights(torch.ones(2), tau) == 1).all(), "where all memorise, none is preferred"


def test_asymmetric_fusion_scales_features_and_their_gradients_and_is_saved() -> None:
    inner = Concat({"a": 2, "b": 3}, 4)
    fusion = AsymmetricFusion(inner)
    features = {"a": torch.randn(5, 2, requires_grad=True), "b": torch.randn(5, 3, requires_grad=True)}
    assert torch.equal(fusion(features), inner(features))
    plain = torch.autograd.grad(inner(features)[:, 0].sum(), list(features.values()))
    w, share = torch.tensor([0.25, 1.75]), torch.tensor([1.0, 0.1])
    fusion.update(w, share)
    torch.testing.assert_close(fusion(features), inner({"a": w[0] * features["a"], "b": w[1] * features["b"]}))
    weighted = torch.autograd.grad(fusion(features)[:, 0].sum(), list(features.values()))
    for mine, other, factor in zip(weighted, plain, w * share, strict=True):
        torch.testing.assert_close(mine, factor * other)
    torch.testing.assert_close(torch.stack(list(fusion.slice_logits(features).values())).sum(0), fusion(features))
    twin = AsymmetricFusion(Concat({"a": 2, "b": 3}, 4))
    twin.load_state_dict(fusion.state_dict())
    assert torch.equal(twin(features), fusion(features))
    assert torch.equal(twin.gradients, share)
    fusion.update(w)
    assert (fusion.gradients == 1).all()


@pytest.mark.parametrize("strength", [0.0, 0.5, 1.0, 3.0])
def test_weak_modalities_get_a_smaller_share_of_the_fused_gradient(strength: float) -> None:
    shares = gradient_shares(torch.tensor([0.0, 0.5, 1.0]), strength)
    assert shares[0] == 1
    assert shares[1].item() == pytest.approx(1 - 0.5 * min(1, 0.9 * strength))
    assert shares[2].item() == pytest.approx(max(0, 1 - 0.9 * strength))


# -- loss --------------------------------------------------------------------------------------------------------------


def test_the_gradient_of_the_min_max_loss_is_the_weighted_sum_of_losses() -> None:
    """Its gap term holds the strongest modality constant: autograd of the written form gives the same gradient."""
    torch.manual_seed(0)
    z = {m: torch.randn(6, CLASSES, requires_grad=True) for m in "ab"}
    y, gamma, gaps, weak = torch.randint(CLASSES, (6,)), 2.0, torch.tensor([0.0, 0.4]), torch.tensor([0.0, 1.0])
    ce = {m: nn.functional.cross_entropy(x, y) for m, x in z.items()}
    written = sum(ce.values()) + gamma * (weak[1] * gaps[1] * (ce["b"] - ce["a"].detach()))
    expected = torch.autograd.grad(written, list(z.values()), retain_graph=True)
    loss = BalancedMinMaxLoss(2)
    none = torch.zeros(2)
    loss.update(update_scales(torch.zeros(2, dtype=torch.long), weak * gaps, none, none, torch.ones(2), gamma))
    grads = torch.autograd.grad(loss(torch.zeros(()), ce), list(z.values()))
    for a, b in zip(grads, expected, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("optimizer", ["SGD", "Adam", "AdamW", "RMSprop"])
def test_the_weights_multiply_the_update_under_every_optimizer(
    optimizer: str, make_model: Make, make_batches: Make
) -> None:
    """A factor on the loss would be divided away by all of these but SGD."""
    batches = make_batches(2, dtype=torch.float64)
    steps = []
    for factor in (1.0, 2.5):
        model = make_model(2, dtype=torch.float64)
        method = prepared(ARM(fusion=False, resampling=False), model, batches)
        method.loss.update(torch.tensor([1.0, factor]))
        before = {m: [p.clone() for p in model.encoder(m).parameters()] for m in "ab"}
        head = [p.clone() for p in model.head("b").parameters()]
        engine = getattr(torch.optim, optimizer)(model.parameters(), lr=1e-2)
        for record in method.steps(model, batches[0]):
            engine.step()
            assert record.coefficients["lambda:b"] == factor
        moved = {m: [p - q for p, q in zip(model.encoder(m).parameters(), before[m], strict=True)] for m in "ab"}
        steps.append((moved, [p - q for p, q in zip(model.head("b").parameters(), head, strict=True)]))
    (plain, plain_head), (scaled, scaled_head) = steps
    for m, factor in (("a", 1.0), ("b", 2.5)):
        for p, q in zip(plain[m], scaled[m], strict=True):
            torch.testing.assert_close(q, factor * p)
    for p, q in zip(plain_head, scaled_head, strict=True):
        torch.testing.assert_close(q, p, msg="heads are not scaled")


@pytest.mark.parametrize(("separate", "rho"), [(False, 0.3), (True, 0.3), (True, 0.0)])
def test_encoder_gradient_is_a_share_of_the_fused_one_through_the_weights_plus_the_own_one(
    separate: bool, rho: float, make_model: Make, make_batches: Make
) -> None:
    batches = make_batches(2, dtype=torch.float64)
    model = make_model(2, dtype=torch.float64)
    method = prepared(ARM(separate=separate, smoothing=0.1), model, batches)
    method.rho.fill_(rho)
    model.fusion.update(torch.tensor([0.4, 1.6]), torch.tensor([1.0, 0.25]))
    (record,) = method.steps(model, batches[0])
    for m, share in (("a", 1.0), ("b", 0.25)):
        twin = make_model(2, dtype=torch.float64)
        features = twin.encode(batches[0].inputs)
        weighted = {k: z * w for (k, z), w in zip(features.items(), (0.4, 1.6), strict=True)}
        fused = nn.functional.cross_entropy(twin.fusion(weighted), batches[0].target)
        log_p = twin.head(m)(features[m]).log_softmax(-1)
        code = 0.9 * nn.functional.one_hot(batches[0].target, CLASSES) + 0.1 / CLASSES
        own = -(code * log_p).sum(-1).mean()
        (share * (rho if separate else 1.0) * fused + own).backward()
        for p, q in zip(model.encoder(m).parameters(), twin.encoder(m).parameters(), strict=True):
            torch.testing.assert_close(p.grad, q.grad)
        assert record.parts[m].item() == pytest.approx(own.item())
    assert record.parts["fused"].item() == pytest.approx(fused.item())


def test_synergy_is_what_no_sum_over_modalities_can_say() -> None:
    known = [(0.0, 0.5), (0.3, 0.5), (0.5, 0.5), (0.6, 0.5), (0.0, 0.0), (-0.2, 0.2), (0.05, -0.3)]
    additive, fused = torch.tensor(known).T
    assert synergy_share(additive, fused, entropy=2.0).tolist() == pytest.approx([1, 0.4, 0, 0, 1, 1, 0.75])
    assert synergy_share(torch.tensor(0.1), torch.tensor(0.15), entropy=2.0, eps=0.2).item() == pytest.approx(0.75)


# -- re-sampling -------------------------------------------------------------------------------------------------------


def test_learnable_information_is_a_shrunken_mean_of_the_class() -> None:
    information = torch.tensor([[1.0, 0.0], [0.5, 0.1], [0.0, 0.2]])
    held, target = torch.tensor([0, 0, 1]), torch.tensor([0, 1, 2, 0])
    mean = information.mean(0)
    rows = [(information[:2].sum(0) + 2 * mean) / 4, (information[2] + 2 * mean) / 3, mean]
    expected = torch.stack([rows[0], rows[1], rows[2], rows[0]])
    torch.testing.assert_close(learnable_information(MultiClass(3), information, held, target), expected)
    flat = learnable_information(Regression(1), information, torch.zeros(3, 1), torch.zeros(4, 1))
    torch.testing.assert_close(flat, mean.expand(4, 2))


def test_samples_are_drawn_more_often_if_a_reinforced_modality_knows_less_than_it_could() -> None:
    known = torch.tensor([[0.1, 0.9], [0.9, 0.1], [1.0, 1.0], [-9.0, 1.0]])
    learnable = torch.full((4, 2), 0.6)
    frequency = sample_frequencies(known, learnable, torch.tensor([1.0, 0.0]), entropy=1.0, rate=0.5)
    assert frequency.tolist() == pytest.approx([1.25, 1.0, 1.0, 1.5])


@pytest.mark.parametrize("seed", range(3))
def test_a_draw_has_the_frequencies_that_it_should_have(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    frequency = 1 + torch.rand(200, generator=generator)
    order = torch.randperm(200, generator=generator)
    drawn = systematic_draw(order, frequency[order], generator)
    counts = drawn.bincount(minlength=200)
    wanted = 200 * frequency.double() / frequency.double().sum()
    assert len(drawn) == 200
    assert ((counts - wanted).abs() < 1).all()
    assert (counts != 1).any()
    assert not torch.equal(drawn, drawn.sort().values)
    assert systematic_draw(order, torch.ones(200), generator) is order


def test_the_resampler_remembers_what_steps_saw() -> None:
    resampler = ContributionResampler(4, 1, rate=1.0)
    resampler.observe(torch.tensor([2, 0]), torch.tensor([[0.1], [0.9]]))
    resampler.update(torch.full((4, 1), 0.6), torch.ones(1), entropy=1.0)
    assert resampler.frequency.tolist() == pytest.approx([1.0, 1.6, 1.5, 1.6])
    order = torch.arange(4)
    assert ContributionResampler(4, 1, rate=0.0).draw(order, torch.Generator()) is order


# -- the whole method --------------------------------------------------------------------------------------------------


def test_a_modality_that_memorises_is_recognised_and_held_back() -> None:
    batches, held_out = memorising_world()
    model = world_model()
    method = prepared(ARM(), model, batches)
    record = run(method, model, batches, held_out, epochs=30)[-1]
    states = {m: record.coefficients[f"state:{m}"].item() for m in "ab"}
    assert states["b"] == ModalityState.MEMORISING != states["a"]
    assert record.coefficients["mu:b"] > 0.7 > record.coefficients["mu:a"]
    assert record.coefficients["lambda:b"] == record.coefficients["lambda:a"] == 1, "noise: nothing to protect"
    assert record.coefficients["w:b"] < 0.2
    assert record.coefficients["phi:a"] > record.coefficients["phi:b"]


@pytest.mark.parametrize("adds", [False, True])
def test_a_modality_that_memorises_is_held_back_unless_it_adds(adds: bool) -> None:
    """Most columns of `b` are noise to learn by heart; one carries half of the label, which `a` tells too or not."""
    generator = torch.Generator().manual_seed(0)
    y = torch.randint(4, (512,), generator=generator)
    a = torch.randn(512, 3, generator=generator)
    b = torch.randn(512, 40, generator=generator)
    a[:, 0] += 6.0 * (y // 2)
    a[:, 1] += 6.0 * (y % 2) * (not adds)
    b[:, 0] += 4.0 * (y % 2)
    batches = [Batch({"a": a[r], "b": b[r]}, y[r], r) for r in torch.arange(512).split(32)]
    model = world_model(outputs=4)
    method = prepared(ARM(), model, batches[:4])
    record = run(method, model, batches[:4], batches[4:], epochs=25)[-1]
    if adds:
        assert record.coefficients["mu:b"] == 0
        assert record.coefficients["lambda:b"] >= 1
    else:
        assert record.coefficients["mu:b"] > 0.3
        assert record.coefficients["lambda:b"] < 1 == record.coefficients["lambda:a"]
        assert record.coefficients["w:b"] < record.coefficients["w:a"]


def test_a_weak_modality_that_learns_is_reinforced_and_the_strong_one_is_not(
    make_model: Make, make_batches: Make
) -> None:
    """`a` contributes more, so lambda_a = 1 < lambda_b; the release did the opposite."""
    batches = make_batches(2, batches=16)
    train, held_out = batches[:8], batches[8:]
    model = make_model(2)
    method = prepared(ARM(), model, train)
    record = run(method, model, train, held_out, epochs=3)[-1]
    assert record.coefficients["lambda:a"] == 1
    assert record.coefficients["lambda:b"] > 1
    assert record.coefficients["c:b"] < 0.5 < record.coefficients["c:a"] == 1
    assert method.resampler.frequency.max() > 1
    order = torch.arange(sum(len(b) for b in train))
    drawn = method.resample(order, torch.Generator().manual_seed(0))
    assert len(drawn) == len(order)
    assert (drawn.bincount(minlength=len(order)) != 1).any()


def test_the_share_that_is_acted_on_falls_by_half_and_growth_halves_it(make_model: Make, make_batches: Make) -> None:
    """`b` has learned its training samples by heart, then knows the class, then forgets it again."""
    y = torch.arange(600) % CLASSES
    strong, weak = 3.0 * nn.functional.one_hot(y, CLASSES), torch.zeros(600, CLASSES)

    def known(b: torch.Tensor) -> Any:
        return held_out_contributions(MultiClass(CLASSES), torch.stack([strong, strong, b]), y, torch.zeros(CLASSES))

    model, batches = make_model(2), make_batches(2)
    method = prepared(ARM(), model, batches)
    method.learned.copy_(torch.tensor([1.0, 1.0, 1.0]))  # sums of information, and the number of samples
    method._decide(model, known(weak))
    first = method.share[1].item()
    assert first > 0.9
    method._decide(model, known(strong))
    assert method.share[1].item() == pytest.approx(first / 2, abs=1e-6)
    assert method.states[1] == ModalityState.LEARNING
    method._decide(model, known(weak))
    assert method.share[1].item() > 0.9, "it rises at once"


@pytest.mark.parametrize("synergy", [False, True])
def test_a_weak_modality_keeps_the_fused_gradient_if_only_all_modalities_together_know(
    synergy: bool, make_model: Make, make_batches: Make
) -> None:
    """`a` tells whether the class is 0, `b` nothing by itself; the fused head knows the class, or no more than `a`."""
    y = torch.arange(600) % CLASSES
    a = torch.stack([3.0 * (y == 0), 1.0 * (y != 0), 1.0 * (y != 0)], 1)
    fused = 5.0 * nn.functional.one_hot(y, CLASSES) if synergy else a
    experts = torch.stack([fused, a, torch.zeros(600, CLASSES)])
    known = held_out_contributions(MultiClass(CLASSES), experts, y, torch.zeros(CLASSES))
    model, batches = make_model(2), make_batches(2)
    method = prepared(ARM(), model, batches)
    method.learned.fill_(1)
    method._decide(model, known)
    gaps, errors = known.gaps
    assert significance(gaps, errors)[1] == 1, "b is behind in both cases"
    rho = fused_share(known, method.entropy)
    assert rho > 0.4 if synergy else rho == 0
    learns = float(method.states[1] == ModalityState.LEARNING)
    assert learns or not synergy
    torch.testing.assert_close(model.fusion.gradients[1], 1 - 0.9 * (1 - rho) * learns)


@pytest.mark.parametrize("part", ["fusion", "loss_weights", "resampling"])
@pytest.mark.parametrize("adam", [True, False], ids=["adamw", "sgd"])
def test_each_part_alone_acts_under_every_optimizer(
    part: str, adam: bool, make_model: Make, make_batches: Make
) -> None:
    """The first two move the encoder of the weak modality away from uniform training, the third changes the draws."""
    batches = make_batches(2, batches=16)
    parts = dict.fromkeys(("fusion", "loss_weights", "resampling"), False)
    weights = []
    for method in (Uniform(), ARM(**{**parts, part: True})):  # type: ignore[arg-type]
        model = make_model(2)
        prepared(method, model, batches[:8])
        run(method, model, batches[:8], batches[8:], epochs=4, adam=adam)
        weights.append([p.detach() for p in model.encoder("b").parameters()])
    moved = max((p - q).abs().max().item() for p, q in zip(*weights, strict=True))
    if part == "resampling":
        assert moved == 0, "this loop draws every sample once"
        return
    assert moved > 1e-3


@pytest.mark.parametrize(
    ("other", "bare"),
    [
        (Uniform, ARM(fusion=False, loss_weights=False, resampling=False)),
        (SeparatedGradients, SeparatedExperts(fusion=False, smoothing=0.0)),
    ],
    ids=["ARM without its parts: uniform", "the recipe without its parts: separated gradients"],
)
def test_without_its_parts_a_method_is_a_simpler_one_bit_for_bit(
    other: type[Method], bare: Method, make_model: Make, make_batches: Make
) -> None:
    batches = make_batches(2, batches=6)
    outputs = []
    for method in (other(), bare):
        model = make_model(2)
        run(prepared(method, model, batches[:4]), model, batches[:4], batches[4:], epochs=5)
        outputs.append(model(batches[0].inputs))
    assert torch.equal(outputs[0].logits, outputs[1].logits)
    assert all(torch.equal(outputs[0].unimodal_logits[m], outputs[1].unimodal_logits[m]) for m in "ab")


def test_twins_are_treated_alike(make_model: Make, make_batches: Make) -> None:
    """Without a significant gap no update is scaled and no sample is drawn more often."""
    generator = torch.Generator().manual_seed(0)
    y = torch.randint(CLASSES, (256,), generator=generator)
    x = {m: nn.functional.one_hot(y, CLASSES) + torch.randn(256, CLASSES, generator=generator) for m in "ab"}
    x = {m: torch.cat([v, torch.zeros(256, 3)], 1) for m, v in x.items()}
    batches = [Batch({m: v[r] for m, v in x.items()}, y[r], r) for r in torch.arange(256).split(32)]
    model = make_model(2, tied=True)
    method = prepared(ARM(), model, batches[:4])
    record = run(method, model, batches[:4], batches[4:], epochs=6)[-1]
    assert [record.coefficients[f"lambda:{m}"] for m in "ab"] == [1, 1]
    assert record.coefficients["frequency"] == 1


def test_strength_multiplies_the_asymmetry(make_model: Make, make_batches: Make) -> None:
    batches, held_out = memorising_world()
    weights = {}
    for strength in (0.25, 1.0):
        model = world_model()
        method = prepared(ARM(strength, loss_weights=False, rate=0.4), model, batches)
        run(method, model, batches, held_out, epochs=12)
        torch.testing.assert_close(model.fusion.weights, fusion_weights(method.share, 2 * strength))
        weights[strength] = model.fusion.weights[1].item()
        assert method.resampler.rate == pytest.approx(0.4 * strength)
    assert weights[1.0] < weights[0.25] < 1


def test_after_the_release_the_last_decisions_stay() -> None:
    batches, held_out = memorising_world()
    model = world_model()
    method = prepared(ARM(), model, batches)
    run(method, model, batches, held_out, epochs=12)
    before = {name: value.clone() for name, value in method.state_dict().items()}
    method.on_epoch_start(model, EpochContext(12, 24, train=lambda: batches, held_out=None))
    assert all(torch.equal(value, before[name]) for name, value in method.state_dict().items())
    assert model.fusion.weights[1] < 0.5


def test_a_loop_without_held_out_samples_is_refused(make_model: Make, make_batches: Make) -> None:
    batches, model = make_batches(2), make_model(2)
    method = prepared(ARM(), model, batches)
    with pytest.raises(DataError, match="held-out"):
        method.on_epoch_start(model, EpochContext(0, 5, train=lambda: batches))
    ARM(strength=0.0).on_epoch_start(model, EpochContext(0, 5))


def test_labels_that_never_change_are_refused(make_model: Make) -> None:
    with pytest.raises(ModelError, match="same label"):
        ARM().prepare(make_model(2), torch.zeros(20, dtype=torch.long))


def test_no_prediction_depends_on_labels_or_batch_mates() -> None:
    """The authors' release computes its fusion weights from the batch's true labels, at test time too."""
    batches, held_out = memorising_world()
    model = world_model()
    method = prepared(ARM(), model, batches)
    run(method, model, batches, held_out)
    inputs = batches[0].inputs
    whole = predict(model, inputs)
    shuffled = torch.randperm(len(whole))
    torch.testing.assert_close(predict(model, {m: x[shuffled] for m, x in inputs.items()}), whole[shuffled])
    torch.testing.assert_close(predict(model, {m: x[:1] for m, x in inputs.items()}), whole[:1])


@pytest.mark.parametrize("method", [ARM, SeparatedExperts])
@pytest.mark.parametrize(("task", "outputs"), [("multilabel", 3), ("regression", 2)])
def test_other_tasks(method: type[Any], task: str, outputs: int, make_model: Make, make_batches: Make) -> None:
    model = make_model(2, task=task, outputs=outputs)
    batches = []
    for batch in make_batches(2, batches=8):
        code = nn.functional.one_hot(batch.target, 3)[:, :outputs]
        target = code if task == "multilabel" else code.float() * 2 - 1
        batches.append(Batch(batch.inputs, target, batch.index))
    one = prepared(method(), model, batches[:4])
    records = run(one, model, batches[:4], batches[4:], epochs=12)
    assert one.marginal[0] > one.marginal[1]
    assert records[-1].loss.isfinite()
    smoothed = 0.1 if method is SeparatedExperts else 0.0
    expected = unimodal_losses(model, model(batches[0].inputs), batches[0].target, smoothed)
    (record,) = one.steps(model, batches[0])
    for m, loss in expected.items():
        torch.testing.assert_close(record.parts[m], loss.detach())


def test_no_label_is_smoothed_unless_asked_for(make_model: Make, make_batches: Make) -> None:
    model, batch = make_model(2, task="multilabel", outputs=3), make_batches(2)[0]
    target = nn.functional.one_hot(batch.target, 3)
    outputs = model(batch.inputs)
    for m, loss in unimodal_losses(model, outputs, target).items():
        torch.testing.assert_close(loss, model.task.loss(outputs.unimodal_logits[m], target))


def test_records_keep_what_they_said() -> None:
    batches, held_out = memorising_world()
    model = world_model()
    method = prepared(ARM(), model, batches)
    (first, *_) = run(method, model, batches, held_out, epochs=3)
    reported = {name: float(value) for name, value in first.coefficients.items()}
    run(method, model, batches, held_out, epochs=20)
    assert {name: float(value) for name, value in first.coefficients.items()} == reported
