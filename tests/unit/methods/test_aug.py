"""AUG: losses by NumPy, when a block is added and to whom, and that an added block trains."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from counterpoise.methods import AUG, EpochContext
from counterpoise.methods._aug import BoostedFusion


def numpy_blocks(fusion: BoostedFusion, m: str, h: np.ndarray, count: int) -> list[np.ndarray]:
    weight, bias = fusion.weights[f"weight_{m}"].detach().numpy(), fusion.biases[f"bias_{m}"].detach().numpy()
    head = fusion.head.detach().numpy()
    return [np.maximum(h @ weight[t].T + bias[t], 0) @ head.T for t in range(count)]


@pytest.mark.parametrize("modalities", [2, 3])
def test_one_batch_by_numpy(modalities: int, make_model: Any, make_batches: Any, tools: Any) -> None:
    model, batches = make_model(modalities, dtype=torch.float64), make_batches(modalities, dtype=torch.float64)
    method = tools.prepare(AUG(), model, batches)
    counts = [1, 3, 2][:modalities]
    model.fusion.count.copy_(torch.tensor(counts))
    with torch.no_grad():
        for p in model.fusion.biases.values():  # they start at 0
            p.uniform_(-1, 1)
    y, features = batches[0].target.numpy(), tools.features(model, batches[0])
    for m, count, record in zip(model.modalities, counts, method.steps(model, batches[0]), strict=True):
        z = numpy_blocks(model.fusion, m, features[m], count)
        old, added = sum(z[:-1], np.zeros_like(z[0])), z[-1]
        assert record.parts[f"total:{m}"].item() == pytest.approx(tools.nll(old + added, y).mean())
        expected = 0.0
        if count > 1:
            known = tools.softmax(old)[np.arange(len(y)), y]
            expected = (
                tools.nll(old, y).mean() + tools.nll(added, y).mean() - 0.5 * (known * tools.nll(added, y)).mean()
            )
        assert record.parts[f"boosting:{m}"].item() == pytest.approx(expected)
        assert record.loss.item() == pytest.approx(tools.nll(old + added, y).mean() + expected)
        for other in model.modalities:
            assert bool(tools.grads(model, other)) == (other == m)
        model.zero_grad()
    fused = sum(sum(numpy_blocks(model.fusion, m, features[m], c)) for m, c in zip(features, counts, strict=True))
    logits = model.fusion(model.encode(batches[0].inputs)).detach().numpy()
    np.testing.assert_allclose(logits, fused / modalities)


def test_the_weak_modality_gets_the_block_ten_times_at_most(make_model: Any, make_batches: Any, tools: Any) -> None:
    model, batches = make_model(2), make_batches(2)
    method = tools.prepare(AUG(blocks=4), model, batches)
    counts = []
    for number in range(20):
        method.score.copy_(torch.tensor([90.0, 50.0]))
        method.seen.fill_(100.0)
        method.on_epoch_start(model, EpochContext(number, 20))
        counts.append(model.fusion.count.tolist())
    assert [b for _, b in counts[:8]] == [1, 1, 2, 2, 3, 3, 4, 4]
    assert counts[-1] == [1, 4]


def test_a_run_is_divided_into_tenths_that_are_rounded_down(make_model: Any, make_batches: Any, tools: Any) -> None:
    model, batches = make_model(2), make_batches(2)
    method = tools.prepare(AUG(blocks=99), model, batches)
    due = []
    for number in range(36):
        before = model.fusion.count[1].item()
        method.score.copy_(torch.tensor([0.9, 0.5]))
        method.seen.fill_(1.0)  # one sample is enough
        method.on_epoch_start(model, EpochContext(number, 36))
        if model.fusion.count[1] > before:
            due.append(number)
    assert due == list(range(3, 36, 3))


def test_without_a_tolerance_equal_modalities_get_no_block_either(
    make_model: Any, make_batches: Any, tools: Any
) -> None:
    model, batches = make_model(2), make_batches(2)
    method = tools.prepare(AUG(tolerance=0.0), model, batches)
    for score, expected in (([50.0, 50.0], [1, 1]), ([50.0, 49.0], [1, 2])):
        method.score.copy_(torch.tensor(score))
        method.seen.fill_(100.0)
        method.on_epoch_start(model, EpochContext(1, 5))
        assert model.fusion.count.tolist() == expected


def test_what_is_kept_of_a_step_holds_no_graph_and_does_not_change_later(
    make_model: Any, make_batches: Any, tools: Any
) -> None:
    """Scores that kept their graph would hold every activation of an epoch."""
    model, batches = make_model(2), make_batches(2)
    method = tools.prepare(AUG(), model, batches)
    records = list(method.steps(model, batches[0]))
    assert not method.score.requires_grad
    model.fusion.count.add_(1)
    assert [v.item() for record in records for v in record.coefficients.values()] == [1, 1, 1, 1]


def test_equal_modalities_get_no_block(make_model: Any, make_batches: Any, tools: Any) -> None:
    model, batches = make_model(3), make_batches(3)
    method = tools.prepare(AUG(), model, batches)
    method.score.copy_(torch.tensor([50.0, 50.1, 49.9]))
    method.seen.fill_(100.0)
    method.on_epoch_start(model, EpochContext(1, 5))
    assert model.fusion.count.tolist() == [1, 1, 1]


def test_an_added_block_trains(make_model: Any, make_batches: Any, tools: Any) -> None:
    """The authors build the optimizer once, before any block exists, so their blocks keep their random weights."""
    model, batches = make_model(2), make_batches(2)
    method = tools.prepare(AUG(), model, batches)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)  # built before any block is added
    start = model.fusion.weights["weight_b"].detach().clone()

    def train() -> torch.Tensor:
        for _ in method.steps(model, batches[0]):
            optimizer.step()
            optimizer.zero_grad()
        return (model.fusion.weights["weight_b"] != start).flatten(1).any(1)

    assert train().tolist() == [True] + [False] * 10
    model.fusion.count.copy_(torch.tensor([1, 2]))
    assert train().tolist() == [True] * 2 + [False] * 9


def test_the_dominant_modality_gets_none_on_a_world_where_one_dominates(
    make_model: Any, make_batches: Any, tools: Any
) -> None:
    model, batches = make_model(2), make_batches(2)
    method = tools.prepare(AUG(), model, batches)
    tools.run(method, model, batches, epochs=10)
    assert model.fusion.count[0] == 1
    assert model.fusion.count[1] > 1


@pytest.mark.parametrize(("scores", "expected"), [([50.4, 50.0], [1, 1]), ([51.0, 50.0], [1, 2])])
def test_a_short_run_decides_every_epoch_and_a_lead_must_exceed_the_tolerance(
    scores: list[float], expected: list[int], make_model: Any, make_batches: Any, tools: Any
) -> None:
    model, batches = make_model(2), make_batches(2)
    method = tools.prepare(AUG(tolerance=0.01), model, batches)
    method.score.copy_(torch.tensor(scores))
    method.seen.fill_(100.0)
    method.on_epoch_start(model, EpochContext(1, 5))
    assert model.fusion.count.tolist() == expected
    assert method.score.tolist() == [0, 0], "the next epoch is counted from zero"
    assert not method.seen.any()


def test_scores_are_the_mean_probabilities_of_the_true_class(make_model: Any, make_batches: Any, tools: Any) -> None:
    """Of what each modality's blocks say together, over the samples since the epoch began."""
    model, batches = make_model(("b", "a"), dtype=torch.float64), make_batches(2, dtype=torch.float64)
    method = tools.prepare(AUG(), model, batches)
    model.fusion.count.copy_(torch.tensor([2, 1]))
    order, expected = [], np.zeros(2)
    for batch in batches[:2]:
        order += [next(iter(record.parts)) for record in method.steps(model, batch)]
        y = batch.target.numpy()
        for k, (m, count) in enumerate((("b", 2), ("a", 1))):
            z = sum(numpy_blocks(model.fusion, m, tools.features(model, batch)[m], count))
            expected[k] += tools.softmax(z)[np.arange(len(y)), y].sum()
    assert order == ["total:a", "total:b"] * 2, "the turn does not depend on the order of the modalities"
    assert method.score.tolist() == pytest.approx(expected.tolist())
    assert method.seen.tolist() == [sum(map(len, batches[:2]))] * 2


def test_blocks_start_uniform_within_the_inverse_root_of_their_inputs() -> None:
    fusion = BoostedFusion({"a": 4, "b": 9}, num_outputs=50, blocks=20)
    for p, bound in ((fusion.weights["weight_a"], 1 / 2), (fusion.weights["weight_b"], 1 / 3), (fusion.head, 1 / 3)):
        assert p.abs().max().item() == pytest.approx(bound, rel=0.05)
        assert p.abs().max() <= bound
        assert abs(p.mean().item()) < 0.1 * bound
    assert fusion.weights["weight_a"].shape == (20, 9, 4)
