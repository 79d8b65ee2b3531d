"""MBSD, CML and LFM: their terms by NumPy, and the faults of published implementations."""

from __future__ import annotations

from itertools import combinations, pairwise
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - the common name

from counterpoise.errors import ModelError
from counterpoise.methods import CML, LFM, MBSD, EpochContext, make_method
from counterpoise.methods._cml import confidence_penalty
from counterpoise.methods._lfm import classification_weight, jensen_shannon
from counterpoise.methods._mbsd import pair_distillation


@pytest.mark.parametrize("modalities", [2, 3, 4])
def test_mbsd_by_numpy(modalities: int, warm: Any, tools: Any) -> None:
    model, batches = warm(modalities, epochs=3)
    batch, y = batches[0], batches[0].target.numpy()
    z = tools.heads(model, batch)
    pairs = []
    for m, k in combinations(model.modalities, 2):
        p, q, per_sample = tools.softmax(z[m]), tools.softmax(z[k]), []
        for i in range(len(y)):
            strong, weak = (p[i], q[i]) if p[i, y[i]] >= q[i, y[i]] else (q[i], p[i])
            right = p[i].argmax() == y[i] or q[i].argmax() == y[i]
            omega = abs(p[i, y[i]] - q[i, y[i]]) if right else 0
            kl = (strong * np.log(strong / weak)).sum()
            per_sample.append(omega * (kl + ((z[m][i] - z[k][i]) ** 2).mean()))
        pairs.append(np.mean(per_sample))
    (record,) = MBSD(strength=0.6).steps(model, batch)
    assert record.parts["distillation"].item() == pytest.approx(0.6 * np.mean(pairs))


def test_mbsd_no_gradient_flows_through_the_weight_or_the_stronger_side() -> None:
    """The published form passes probabilities to kl_div and lets gradient through omega."""
    strong = torch.tensor([[3.0, 0.0, 0.0]], dtype=torch.float64, requires_grad=True)
    weak = torch.tensor([[0.5, 0.2, 0.0]], dtype=torch.float64, requires_grad=True)
    y = torch.tensor([0])
    pair_distillation(strong, weak, y).backward()
    p, q = strong.detach().softmax(-1), weak.detach().softmax(-1)
    omega = (p[0, 0] - q[0, 0]).abs()
    difference = 2 * (strong - weak).detach() / 3
    torch.testing.assert_close(strong.grad, omega * difference)  # only the squared distance
    torch.testing.assert_close(weak.grad, omega * ((q - p) - difference))

    def released(p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
        return F.kl_div(q, p, reduction="sum")

    assert abs(released(p, p).item()) > 0.1, "not zero for equal distributions"
    assert pair_distillation(strong.detach(), strong.detach(), y) == 0


@pytest.mark.parametrize("modalities", [2, 3])
def test_mbsd_strength_scales_all_that_enters_the_encoders(modalities: int, warm: Any, tools: Any) -> None:
    model, batches = warm(modalities, epochs=3)
    batch = batches[0]
    list(MBSD(strength=0.6).steps(model, batch))
    grads = {m: tools.grads(model, m) for m in model.modalities}
    model.zero_grad()
    outputs = model(batch.inputs)
    z = list(outputs.unimodal_logits.values())
    pairs = [pair_distillation(a, b, batch.target) for a, b in combinations(z, 2)]
    added = sum(model.task.loss(v, batch.target) for v in z) + torch.stack(pairs).mean()
    (model.task.loss(outputs.logits, batch.target) + 0.6 * added).backward()
    for m in model.modalities:
        torch.testing.assert_close(grads[m], tools.grads(model, m))


@pytest.mark.parametrize("modalities", [2, 3])
def test_cml_by_numpy(modalities: int, warm: Any, tools: Any) -> None:
    model, batches = warm(modalities, epochs=3)
    batch, y = batches[0], batches[0].target.numpy()
    torch.manual_seed(4)
    (record,) = CML(strength=0.8, penalty=5.0).steps(model, batch)
    torch.manual_seed(4)
    turn = torch.rand(modalities).argsort().tolist()
    order = [model.modalities[turn.index(k)] for k in range(modalities)]
    slices, bias = tools.slices(model, batch), model.fusion.head.bias.detach().numpy() / modalities
    chain = [sum(slices[m] if m not in order[:k] else bias for m in model.modalities) for k in range(modalities)]
    losses = [tools.nll(z, y).mean() for z in chain]
    assert record.parts["subsets"].item() == pytest.approx(0.8 * (np.mean(losses) - losses[0]))
    penalty = 0.0
    for larger, smaller in pairwise(chain):
        gap = tools.softmax(smaller).max(1) - tools.softmax(larger).max(1)
        counted = (larger.argmax(1) == y) | (smaller.argmax(1) != y)  # right, or both wrong
        penalty += (counted * np.maximum(gap, 0)).sum()
    assert record.parts["calibration"].item() == pytest.approx(0.8 * 5.0 / 100 * penalty)


def test_cml_penalty_is_a_sum_over_the_batch_and_leaves_out_samples_that_only_the_smaller_subset_gets_right() -> None:
    z = torch.tensor([[[0.0, 0.5]], [[0.0, 4.0]]]).repeat(1, 6, 1)
    one = confidence_penalty(z[:, :1], torch.ones(1, dtype=torch.long))
    assert one > 0
    assert confidence_penalty(z, torch.ones(6, dtype=torch.long)).item() == pytest.approx(6 * one.item())
    only_the_smaller = torch.tensor([[[0.5, 0.0]], [[0.0, 4.0]]])
    assert confidence_penalty(only_the_smaller, torch.tensor([1])) == 0


@pytest.mark.parametrize(("label", "flows"), [(1, True), (0, False)], ids=["larger right", "both wrong"])
def test_cml_where_both_are_wrong_only_the_smaller_subset_is_pulled_down(label: int, flows: bool) -> None:
    z = torch.tensor([[[0.0, 0.5]], [[0.0, 4.0]]], requires_grad=True)
    confidence_penalty(z, torch.tensor([label])).backward()
    assert bool(z.grad[0].any()) is flows
    assert z.grad[1, 0, 1] > 0


def test_cml_penalty_looks_at_each_subset_with_its_own_prediction() -> None:
    """Of a chain of three only the middle subset is right, so only the smallest one's excess confidence counts."""
    z = torch.tensor([[[1.0, 0.0]], [[0.0, 2.0]], [[0.0, 5.0]]], dtype=torch.float64)
    expected = 1 / (1 + np.exp(-5)) - 1 / (1 + np.exp(-2))
    assert confidence_penalty(z, torch.tensor([1])).item() == pytest.approx(expected)


def test_cml_every_order_is_drawn(make_model: Any, make_batches: Any) -> None:
    model, batch = make_model(2), make_batches(2)[0]
    seen = set()
    for seed in range(20):
        torch.manual_seed(seed)
        (record,) = CML().steps(model, batch)
        seen.add(round(record.parts["subsets"].item(), 6))
    assert len(seen) == 2


def test_lfm_schedule_is_the_authors_polynomial_stretched_to_the_run() -> None:
    e = 120
    expected = 0.2046 + 3.355e-3 * e + 1.230e-4 * e**2 - 2.929e-6 * e**3 + 2.238e-8 * e**4 - 5.397e-11 * e**5
    assert classification_weight(0.6) == pytest.approx(expected)
    weights = [classification_weight(k / 100) for k in range(101)]
    assert min(weights) >= 0
    assert max(weights) <= 1
    assert weights[0] < 0.25 < 0.5 < weights[60], "first alignment, later classification"


@pytest.mark.parametrize("modalities", [2, 3, 4])
def test_lfm_by_numpy(modalities: int, warm: Any, tools: Any) -> None:
    model, batches = warm(modalities, epochs=3)
    method = tools.prepare(LFM(), model, batches)
    method.on_epoch_start(model, EpochContext(3, 10))
    a0 = classification_weight(0.3)
    y = batches[0].target.numpy()
    slices = tools.slices(model, batches[0])
    p = np.stack([tools.softmax(modalities * z) for z in slices.values()])
    mean = p.mean(0)
    js = np.mean([(q * np.log(q / mean)).sum(1).mean() for q in p])
    (record,) = method.steps(model, batches[0])
    assert record.parts["alignment"].item() == pytest.approx(2 * (1 - a0) * js)
    fused = tools.nll(sum(slices.values()), y).mean()
    heads = sum(tools.nll(z, y).mean() for z in tools.heads(model, batches[0]).values())
    assert record.loss.item() == pytest.approx(2 * a0 * fused + 2 * (1 - a0) * js + heads)


def test_lfm_divergence_is_jensen_shannons_not_its_reverse() -> None:
    """Jensen-Shannon is at most log 2; the released KL(mean || p) grows without bound."""
    z = torch.tensor([[[40.0, 0.0]], [[0.0, 40.0]]], dtype=torch.float64)
    assert jensen_shannon(z).item() == pytest.approx(np.log(2))

    def released(z: torch.Tensor) -> torch.Tensor:
        log_p = z.log_softmax(-1)
        mean = log_p.exp().mean(0)
        return (mean * (mean.log() - log_p)).sum(-1).mean()

    assert released(z) > 10


def test_lfm_equal_predictions_have_no_divergence() -> None:
    z = torch.randn(1, 5, 3, generator=torch.Generator().manual_seed(0)).repeat(3, 1, 1)
    assert jensen_shannon(z).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("method", [MBSD(), CML(), LFM()], ids=["mbsd", "cml", "lfm"])
def test_a_task_without_classes_is_refused(method: Any, make_model: Any) -> None:
    with pytest.raises(ModelError, match="multiclass"):
        method.prepare(make_model(2, task="regression"), torch.zeros(4, 3))


@pytest.mark.parametrize("name", ["uniform", "mmpareto", "ogm-ge", "g-blending"])
def test_label_smoothing_is_an_option_of_both_families(
    name: str, make_model: Any, make_batches: Any, tools: Any
) -> None:
    """It smooths the labels of the unimodal heads, not those of the fused head, and nothing in the joint limit."""
    batches = make_batches(2, dtype=torch.float64)
    terms = {}
    for smoothing in (0.0, 0.3):
        model = make_model(2, dtype=torch.float64)
        method = tools.prepare(make_method(name, {"smoothing": smoothing}), model, batches)
        method.on_epoch_start(model, EpochContext(0, 10, train=lambda: batches, held_out=lambda: batches[:1]))
        terms[smoothing] = next(iter(method.steps(model, batches[0]))).parts
    code = torch.nn.functional.one_hot(batches[0].target, 3)
    for m, z in make_model(2, dtype=torch.float64)(batches[0].inputs).unimodal_logits.items():
        expected = -((0.7 * code + 0.1) * z.log_softmax(-1)).sum(-1).mean()
        torch.testing.assert_close(terms[0.3][m], expected.detach())
        assert terms[0.0][m] != terms[0.3][m]
    torch.testing.assert_close(terms[0.0]["fused"], terms[0.3]["fused"])
