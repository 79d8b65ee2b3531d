"""Sample- and modality-level valuation: values by hand, the weighted loss against an explicitly expanded epoch."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from counterpoise.errors import ModelError
from counterpoise.methods import EpochContext, ModalityValuation, SampleValuation
from counterpoise.methods._valuation import copies, sample_values


def by_hand(right_a: bool, right_b: bool, right_all: bool) -> tuple[float, float]:
    a, b, both = float(right_a), float(right_b), 2.0 * right_all
    return 0.5 * (a + both - b), 0.5 * (b + both - a)


def test_values_of_two_modalities_are_the_papers_formula(warm: Any) -> None:
    model, batches = warm(2, epochs=3)
    batch = batches[0]
    features = model.encode(batch.inputs)
    zero = {m: torch.zeros_like(h) for m, h in features.items()}
    right = {
        "a": model.fusion({"a": features["a"], "b": zero["b"]}).argmax(-1) == batch.target,
        "b": model.fusion({"a": zero["a"], "b": features["b"]}).argmax(-1) == batch.target,
        "all": model.fusion(features).argmax(-1) == batch.target,
    }
    values = sample_values(model, features, batch.target)
    for i in range(len(batch)):
        expected = by_hand(*(bool(right[k][i]) for k in ("a", "b", "all")))
        assert values[i].tolist() == pytest.approx(expected)
    assert len(set(values.flatten().tolist())) > 2


@pytest.mark.parametrize("modalities", [2, 3, 4])
def test_values_sum_to_what_all_are_worth(modalities: int, warm: Any) -> None:
    model, batches = warm(modalities, epochs=3)
    features = model.encode(batches[0].inputs)
    right = (model.fusion(features).argmax(-1) == batches[0].target).double()
    values = sample_values(model, features, batches[0].target)
    torch.testing.assert_close(values.sum(-1), modalities * right)


def test_the_weighted_loss_is_that_of_an_epoch_with_the_copies_in_it(warm: Any, tools: Any) -> None:
    model, batches = warm(2, epochs=2)
    method = tools.prepare(SampleValuation(warmup=0), model, batches)
    method.on_epoch_start(model, EpochContext(0, 5, train=lambda: batches))
    batch = batches[0]
    (record,) = method.steps(model, batch)
    grads = {m: tools.grads(model, m) for m in "ab"}
    model.zero_grad()
    features = model.encode(batch.inputs)
    rows, masks = [], []
    values = sample_values(model, features, batch.target)
    for i in range(len(batch)):
        rows.append(i)
        masks.append([1.0, 1.0])
        for k, mask in ((0, [1.0, 0.0]), (1, [0.0, 1.0])):
            extra = {0.5: 1, 0.0: 2, -0.5: 3}.get(values[i, k].item(), 0)
            rows += [i] * extra
            masks += [mask] * extra
    mask = torch.tensor(masks, dtype=torch.float64)
    expanded = {m: features[m][rows] * mask[:, [k]] for k, m in enumerate("ab")}
    loss = model.task.loss(model.fusion(expanded), batch.target[rows])
    loss.backward()
    assert len(rows) > len(batch), "some samples were copied"
    assert (record.parts["fused"] + record.parts["masked"]).item() == pytest.approx(loss.item())
    for m in "ab":
        for g, e in zip(grads[m], tools.grads(model, m), strict=True):
            torch.testing.assert_close(g, e)


def test_the_modality_level_reinforces_the_weak_modality_only(warm: Any, tools: Any) -> None:
    model, batches = warm(2)
    method = tools.prepare(ModalityValuation(warmup=0, share=1.0, strength=0.9), model, batches)
    method.on_epoch_start(model, EpochContext(0, 5, train=lambda: batches))
    mean = torch.cat([sample_values(model, model.encode(b.inputs), b.target) for b in batches]).mean(0)
    gap = (mean[0] - mean[1]).item()
    assert gap > 0, "a dominates"
    assert (method.extra[:, 0] == 0).all()
    assert method.extra[:, 1].tolist() == pytest.approx([0.9 * 2 / 3 * gap] * len(method.extra))


def test_the_sample_level_reinforces_the_weak_modality_more(warm: Any, tools: Any) -> None:
    model, batches = warm(2, epochs=5)
    method = tools.prepare(SampleValuation(warmup=0), model, batches)
    method.on_epoch_start(model, EpochContext(0, 5, train=lambda: batches))
    (record,) = method.steps(model, batches[0])
    assert record.coefficients["copies:b"] > record.coefficients["copies:a"]
    mean = method.extra[batches[0].index].mean(0)
    assert [record.coefficients[f"copies:{m}"].item() for m in "ab"] == pytest.approx(mean.tolist())
    method.on_epoch_start(model, EpochContext(1, 5, train=lambda: batches[:2]))
    assert (method.extra[torch.cat([b.index for b in batches[2:]])] == 0).all(), "what is not seen has no copies"


def test_every_batch_is_valued_by_its_own_predictions(warm: Any, tools: Any) -> None:
    """A published toolkit keeps the first batch's subset outputs for all batches."""
    model, batches = warm(2, epochs=2)
    method = tools.prepare(SampleValuation(warmup=0), model, batches)
    method.on_epoch_start(model, EpochContext(0, 5, train=lambda: batches))
    stale_differs = False
    first = batches[0]
    for batch in batches:
        own = copies(sample_values(model, model.encode(batch.inputs), batch.target))
        assert torch.equal(method.extra[batch.index], own)
        stale = copies(sample_values(model, model.encode(first.inputs), batch.target))
        stale_differs |= not torch.equal(stale, own)
    assert stale_differs


def test_the_warm_up_is_joint_training(warm: Any, tools: Any) -> None:
    model, batches = warm(2)
    method = tools.prepare(SampleValuation(warmup=2), model, batches)
    for number, expected in ((0, True), (1, True), (2, False)):
        method.on_epoch_start(model, EpochContext(number, 5, train=lambda: batches))
        assert (method.extra == 0).all().item() is expected


def test_copies_by_the_papers_table() -> None:
    assert copies(torch.tensor([-0.5, 0.0, 0.5, 1.0, 1.5])).tolist() == [3, 2, 1, 0, 0]
    assert copies(torch.tensor([-1.0, 2.0])).tolist() == [3, 0], "as more than two modalities may have it"


def test_a_task_without_classes_is_refused(make_model: Any) -> None:
    with pytest.raises(ModelError, match="multiclass"):
        SampleValuation().prepare(make_model(2, task="regression"), torch.zeros(4, 3))


def test_the_modality_level_draws_at_least_one_sample_and_shares_among_equals() -> None:
    values = torch.arange(24.0).square().reshape(8, 3).double()
    (drawn,) = torch.randperm(8, generator=torch.Generator().manual_seed(3))[:1].tolist()
    state = torch.get_rng_state()
    weights = ModalityValuation(share=0.001).weigh(values, torch.Generator().manual_seed(3))
    assert torch.equal(state, torch.get_rng_state())
    row = values[drawn]
    assert weights.tolist() == [pytest.approx([2 / 3 * (row.max() - row.min()).item(), 0, 0])] * 8
    three = torch.randperm(8, generator=torch.Generator().manual_seed(3))[:3]
    mean = values[three].mean(0)
    weights = ModalityValuation(share=0.35).weigh(values, torch.Generator().manual_seed(3))
    assert weights[0, 0].item() == pytest.approx(2 / 3 * (mean[2] - mean[0]).item())
    equal = torch.tensor([[0.0, 0.0, 0.9]]).expand(5, -1)
    weights = ModalityValuation(share=1.0).weigh(equal, torch.Generator())
    assert weights[0].tolist() == pytest.approx([0.3, 0.3, 0])
