"""PMR against NumPy, its direction, and the faults of published implementations."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from counterpoise.errors import DataError, ModelError
from counterpoise.methods import PMR, EpochContext, Joint
from counterpoise.methods._pmr import prototype_boost, prototype_logits
from counterpoise.records import Batch


def with_prototypes(method: PMR, model: Any, seed: int = 3) -> PMR:
    generator = torch.Generator().manual_seed(seed)
    for m in model.modalities:
        method.prototypes(m).normal_(generator=generator)
    method.seen.fill_(True)
    return method


@pytest.mark.parametrize("modalities", [2, 3, 4])
def test_one_step_by_numpy(modalities: int, make_model: Any, make_batches: Any, tools: Any) -> None:
    model, batches = make_model(modalities, dtype=torch.float64), make_batches(modalities, dtype=torch.float64)
    method = with_prototypes(tools.prepare(PMR(strength=0.7, entropy=0.3), model, batches), model)
    batch, y = batches[0], batches[0].target.numpy()
    sigma = {}
    for m, h in tools.features(model, batch).items():
        mu = method.prototypes(m).numpy()
        sigma[m] = np.array([[-np.sqrt(((row - c) ** 2).sum()) for c in mu] for row in h])
    score = {m: sum(tools.softmax(s)[i, y[i]] for i in range(len(y))) for m, s in sigma.items()}
    strongest = max(score, key=score.get)  # type: ignore[arg-type]
    (record,) = method.steps(model, batch)
    for m, s in sigma.items():
        beta = min(max(score[strongest] / score[m] - 1, 0), 1)
        assert record.coefficients[f"beta:{m}"].item() == pytest.approx(beta, rel=1e-9, abs=1e-12)
        expected = 0.7 * beta * tools.nll(s, y).mean()
        assert record.parts[f"prototype:{m}"].item() == pytest.approx(expected, rel=1e-6, abs=1e-12)
    p = tools.softmax(sigma[strongest])
    assert record.parts["entropy"].item() == pytest.approx(0.7 * 0.3 * (p * np.log(p)).sum(1).mean(), rel=1e-6)
    fused = tools.nll(sum(tools.slices(model, batch).values()), y).mean()
    assert record.parts["fused"].item() == pytest.approx(fused)
    assert record.loss.item() == pytest.approx(sum(v.item() for v in record.parts.values()))


def test_for_two_modalities_the_boost_is_the_papers_clip() -> None:
    for a, v in ((3.0, 2.0), (1.0, 5.0), (2.0, 2.0)):
        rho = a / v
        expected = [min(max(1 / rho - 1, 0), 1), min(max(rho - 1, 0), 1)]
        assert prototype_boost(torch.tensor([a, v])).tolist() == pytest.approx(expected)


def test_only_the_weak_modality_is_boosted_and_softly(warm: Any, tools: Any) -> None:
    model, batches = warm(2)
    method = tools.prepare(PMR(share=1.0), model, batches)
    method.on_epoch_start(model, EpochContext(9, 10, train=lambda: batches))
    (record,) = method.steps(model, batches[0])
    assert record.coefficients["beta:a"] == 0
    beta = record.coefficients["beta:b"].item()
    assert 0 < beta < 1

    def released(scores: torch.Tensor) -> torch.Tensor:  # the authors' hard switch
        return (scores < scores.max()).double()

    assert released(torch.tensor([3.0, 2.0])).tolist() != prototype_boost(torch.tensor([3.0, 2.0])).tolist()


def test_prototypes_are_class_means_in_evaluation_mode_with_a_moving_average(
    make_model: Any, make_batches: Any, tools: Any
) -> None:
    model, batches = make_model(2, dtype=torch.float64), make_batches(2, dtype=torch.float64)
    method = tools.prepare(PMR(share=1.0, momentum=0.25), model, batches)
    y = torch.cat([b.target for b in batches])
    first = torch.cat([model.encoder("a")(b.inputs["a"]).detach() for b in batches])
    method.on_epoch_start(model, EpochContext(0, 2, train=lambda: batches))
    for c in range(3):
        torch.testing.assert_close(method.prototypes("a")[c], first[y == c].mean(0))
    with torch.no_grad():
        for p in model.encoder("a").parameters():
            p.mul_(1.5)
    second = torch.cat([model.encoder("a")(b.inputs["a"]).detach() for b in batches])
    method.on_epoch_start(model, EpochContext(1, 2, train=lambda: batches))
    for c in range(3):
        expected = 0.75 * second[y == c].mean(0) + 0.25 * first[y == c].mean(0)
        torch.testing.assert_close(method.prototypes("a")[c], expected)
    assert model.training


def test_the_share_is_spread_over_the_training_set_and_moves_on(make_model: Any, make_batches: Any, tools: Any) -> None:
    model, batches = make_model(2), make_batches(2, batches=3, size=11)
    used: list[int] = []
    method = tools.prepare(PMR(share=0.2), model, batches)
    original = model.encode

    def spy(inputs: Any, present: Any = None) -> Any:
        assert len(inputs["a"]), "an encoder need not take a batch of none"
        rows = [int((torch.cat([b.inputs["a"] for b in batches]) == row).all(1).nonzero()) for row in inputs["a"]]
        used.extend(rows)
        return original(inputs)

    model.encode = spy
    method.on_epoch_start(model, EpochContext(0, 2, train=lambda: batches))
    assert used == list(range(0, 33, 5))
    used.clear()
    method.on_epoch_start(model, EpochContext(1, 2, train=lambda: batches))
    assert used == list(range(4, 33, 5))
    for share, every in ((0.3, 3), (0.05, 20)):
        used.clear()
        tools.prepare(PMR(share=share), model, batches).on_epoch_start(model, EpochContext(0, 2, train=lambda: batches))
        assert used == list(range(0, 33, every))


def test_a_class_outside_the_subset_has_no_nan_prototype(make_model: Any, make_batches: Any, tools: Any) -> None:
    """Published code divides by a count of zero and trains on NaN from then on."""
    model, batches = make_model(2), make_batches(2)
    rows = batches[0].target != 2
    seen = Batch({m: x[rows] for m, x in batches[0].inputs.items()}, batches[0].target[rows], batches[0].index[rows])
    method = tools.prepare(PMR(share=1.0), model, batches)
    method.on_epoch_start(model, EpochContext(0, 2, train=lambda: [seen]))
    assert method.seen.tolist() == [[True, True, False]] * 2
    (record,) = method.steps(model, batches[1])
    assert torch.isfinite(record.loss)
    for m in model.modalities:
        assert all(torch.isfinite(g).all() for g in tools.grads(model, m))
    sums, counts = torch.zeros(3, 8), torch.zeros(3)
    features = model.encode(seen.inputs)["a"].detach()
    sums.index_add_(0, seen.target, features)
    counts.index_add_(0, seen.target, torch.ones(len(seen)))
    assert torch.isnan(sums / counts.unsqueeze(1)).any(), "the released form would be NaN here"


def test_a_feature_on_its_prototype_has_a_finite_gradient() -> None:
    h = torch.zeros(1, 2, requires_grad=True)
    prototype_logits(h, torch.zeros(1, 2), torch.tensor([True])).sum().backward()
    assert torch.isfinite(h.grad).all()


def test_before_the_first_prototypes_it_is_joint_training(make_model: Any, make_batches: Any, tools: Any) -> None:
    batches = make_batches(2)
    one, two = make_model(2), make_model(2)
    (record,) = tools.prepare(PMR(), one, batches).steps(one, batches[0])
    (joint,) = Joint().steps(two, batches[0])
    torch.testing.assert_close(record.loss, joint.loss)
    assert [record.coefficients[f"beta:{m}"] for m in "ab"] == [0, 0]
    for g, h in zip(tools.grads(one, "a"), tools.grads(two, "a"), strict=True):
        torch.testing.assert_close(g, h)


def test_it_says_what_it_needs(make_model: Any, make_batches: Any, tools: Any) -> None:
    model, batches = make_model(2), make_batches(2)
    method = tools.prepare(PMR(), model, batches)
    with pytest.raises(DataError, match="reads the train samples"):
        method.on_epoch_start(model, EpochContext(0, 1))
    with pytest.raises(ModelError, match="multiclass"):
        PMR().prepare(make_model(2, task="regression"), torch.zeros(4, 3))


def test_the_entropy_term_is_for_the_first_epochs_only(make_model: Any, make_batches: Any, tools: Any) -> None:
    model, batches = make_model(2), make_batches(2)
    has_term = {}
    for weight in (0.1, 0.0):
        method = tools.prepare(PMR(entropy=weight, entropy_epochs=2), model, batches)
        has_term[weight] = []
        for number in range(4):
            method.on_epoch_start(model, EpochContext(number, 4, train=lambda: batches))
            (record,) = method.steps(model, batches[0])
            has_term[weight].append("entropy" in record.parts)
    assert has_term[0.1] == [True, True, False, False]
    assert not any(has_term[0.0])


def test_the_boost_of_scores_below_one_and_of_none() -> None:
    assert prototype_boost(torch.tensor([0.5, 0.4])).tolist() == pytest.approx([0, 0.25])
    assert prototype_boost(torch.zeros(2)).tolist() == [0, 0], "a batch of classes without prototypes"


@pytest.mark.parametrize("rows", [32, 1, 0])
def test_classes_without_a_prototype_take_no_part(rows: int, make_model: Any, make_batches: Any, tools: Any) -> None:
    """Distances are those to the seen classes 0 and 1; samples of class 2 have no loss and no score. By NumPy."""
    model, batches = make_model(2, dtype=torch.float64), make_batches(2, dtype=torch.float64)
    method = with_prototypes(tools.prepare(PMR(entropy=0.3), model, batches), model)
    method.seen[:, 2] = False
    target = batches[0].target.clone()
    if rows < 32:
        target.fill_(2)[:rows] = 1
    batch = Batch(batches[0].inputs, target, batches[0].index)
    y, score, nll, entropy = target.numpy(), {}, {}, {}
    known = y < 2
    for m, h in tools.features(model, batch).items():
        sigma = np.array([[-np.linalg.norm(row - c) for c in method.prototypes(m).numpy()[:2]] for row in h])
        p = tools.softmax(sigma)
        true = p[known, y[known]]
        score[m], nll[m] = true.sum(), -np.log(true).sum() / max(known.sum(), 1)
        entropy[m] = -(p * np.log(p)).sum(1).mean()
    (record,) = method.steps(model, batch)
    for m in "ab":
        beta = min(max(score.values()) / score[m] - 1, 1) if rows else 0
        assert record.coefficients[f"beta:{m}"].item() == pytest.approx(beta, abs=1e-12)
        assert record.parts[f"prototype:{m}"].item() == pytest.approx(beta * nll[m], rel=1e-6, abs=1e-12)
    strongest = [entropy[m] for m in "ab" if score[m] == max(score.values())]
    assert record.parts["entropy"].item() == pytest.approx(-0.3 * np.mean(strongest), rel=1e-6)


def test_a_class_with_a_single_sample_has_it_as_prototype(make_model: Any, make_batches: Any, tools: Any) -> None:
    model, batches = make_model(2, dtype=torch.float64), make_batches(2, dtype=torch.float64)
    batch = Batch({m: x[:3] for m, x in batches[0].inputs.items()}, torch.arange(3), torch.arange(3))
    method = PMR(share=1.0)
    model.fusion = method.prepare(model, torch.arange(3)).fusion
    method.on_epoch_start(model, EpochContext(0, 2, train=lambda: [batch]))
    assert method.seen.all()
    features = torch.from_numpy(tools.features(model, batch)["b"])
    torch.testing.assert_close(method.prototypes("b"), features)


def test_without_strength_or_an_epoch(make_model: Any, make_batches: Any, tools: Any) -> None:
    model, batches = make_model(2), make_batches(2)
    tools.prepare(PMR(strength=0), model, batches).on_epoch_start(model, EpochContext(0, 1))  # reads no samples
    for epochs in (0, 1):
        (record,) = tools.prepare(PMR(entropy_epochs=epochs), model, batches).steps(model, batches[0])
        assert ("entropy" in record.parts) is (epochs == 1)


def test_the_boost_is_a_constant_of_the_gradient(make_model: Any, make_batches: Any, tools: Any) -> None:
    model, batches = make_model(2, dtype=torch.float64), make_batches(2, dtype=torch.float64)
    method = with_prototypes(tools.prepare(PMR(strength=0.7, entropy=0.0), model, batches), model)
    batch = batches[0]
    (record,) = method.steps(model, batch)
    grads = {m: tools.grads(model, m) for m in "ab"}
    beta = {m: record.coefficients[f"beta:{m}"].item() for m in "ab"}
    assert 0 < max(beta.values()) < 1
    model.zero_grad()
    features = model.encode(batch.inputs)
    loss = model.task.loss(model.fusion(features), batch.target)
    for m, h in features.items():
        sigma = -torch.linalg.vector_norm(h.unsqueeze(1) - method.prototypes(m), dim=-1)
        loss = loss + 0.7 * beta[m] * torch.nn.functional.cross_entropy(sigma, batch.target)
    loss.backward()
    for m in "ab":
        torch.testing.assert_close(grads[m], tools.grads(model, m))


def test_prototypes_of_half_precision(make_model: Any, make_batches: Any, tools: Any) -> None:
    model, batches = make_model(2, dtype=torch.bfloat16), make_batches(2, dtype=torch.bfloat16)
    method = tools.prepare(PMR(share=1.0), model, batches)
    for number in (0, 1):
        method.on_epoch_start(model, EpochContext(number, 2, train=lambda: batches))
    features = torch.cat([model.encode(b.inputs)["a"].detach() for b in batches]).float()
    target = torch.cat([b.target for b in batches])
    expected = torch.stack([features[target == c].mean(0) for c in range(3)])
    torch.testing.assert_close(method.prototypes("a").float(), expected, rtol=0.05, atol=0.05)


def test_logits_have_the_type_of_the_features() -> None:
    precise = torch.zeros(1, 2, dtype=torch.float64)
    assert prototype_logits(torch.ones(1, 2), precise, torch.tensor([True])).dtype == torch.float32
