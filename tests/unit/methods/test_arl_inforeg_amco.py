"""ARL, InfoReg and AMCo: weights by NumPy, directions, and what the released code computes instead."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from counterpoise.methods import ARL, AMCo, EpochContext, InfoReg, Uniform
from counterpoise.methods._amco import mask_share, modality_mass
from counterpoise.methods._arl import asymmetric_weights
from counterpoise.methods._inforeg import anchor_weights, window_open
from counterpoise.model import MultimodalClassifier
from counterpoise.records import Batch


def test_arl_weights_of_two_modalities_by_hand() -> None:
    """softmax(T [b_v a_a, b_a a_v])."""
    h, z = np.array([0.2, 0.9]), np.array([3.0, 1.0])
    share = np.maximum(h / h.sum(), 0.3)
    a, b = (1 / share) / (1 / share).sum(), z / z.sum()
    raw = np.exp(8 * np.array([b[1] * a[0], b[0] * a[1]]))
    weights = asymmetric_weights(torch.from_numpy(h), torch.from_numpy(z), 8.0)
    assert weights.tolist() == pytest.approx((raw / raw.sum()).tolist())


@pytest.mark.parametrize(
    ("h", "z"), [((0.2, 0.9, 0.4), (3.0, 1.0, 2.0)), ((0.05, 0.1, 0.03), (0.2, 0.3, 0.1)), ((2e-3, 1e-3), (3e-4, 5e-4))]
)
def test_arl_weights_by_numpy_whatever_the_scale_of_entropies_and_logits(
    h: tuple[float, ...], z: tuple[float, ...]
) -> None:
    """a_m times the mean of the others' b, both of them shares; three modalities have the floor 0.2."""
    count = len(h)
    share = np.maximum(np.array(h) / sum(h), 0.6 / count)
    a, b = (1 / share) / (1 / share).sum(), np.array(z) / sum(z)
    raw = np.exp(4 * a * np.array([np.delete(b, m).mean() for m in range(count)]))
    weights = asymmetric_weights(torch.tensor(h, dtype=torch.float64), torch.tensor(z, dtype=torch.float64), 4.0)
    assert weights.tolist() == pytest.approx((raw / raw.sum()).tolist())


@pytest.mark.parametrize("modalities", [2, 3, 4])
def test_arl_gradients_are_the_multitask_ones_times_one_plus_the_weight(modalities: int, warm: Any, tools: Any) -> None:
    model, batches = warm(modalities, epochs=5)
    method = tools.prepare(ARL(start=0, gamma=2.0), model, batches)
    z = np.stack(list(tools.slices(model, batches[0]).values()))
    p = tools.softmax(z)
    entropy = torch.from_numpy(-(p * np.log(p)).sum(-1).mean(-1))
    w = asymmetric_weights(entropy, torch.from_numpy(np.abs(z).mean((1, 2))), 8.0)
    (record,) = method.steps(model, batches[0])
    grads = {m: tools.grads(model, m) for m in model.modalities}
    model.zero_grad()
    list(Uniform(strength=2.0).steps(model, batches[0]))
    for k, m in enumerate(model.modalities):
        assert record.coefficients[f"kappa:{m}"].item() == pytest.approx(1 + w[k].item())
        for g, e in zip(grads[m], tools.grads(model, m), strict=True):
            torch.testing.assert_close(g, (1 + w[k]) * e)
    values = [v.item() for k, v in record.coefficients.items()]
    assert sum(values) == pytest.approx(modalities + 1)
    assert max(values) - min(values) > 0.01, "the released weights are never assigned: 1.5 for both, always"


def test_arl_starts_after_the_warm_up(warm: Any, tools: Any) -> None:
    model, batches = warm(2, epochs=2)
    method = tools.prepare(ARL(start=2), model, batches)
    modulated = []
    for number in range(4):
        method.on_epoch_start(model, EpochContext(number, 9))
        (record,) = method.steps(model, batches[0])
        modulated.append(bool(record.coefficients))
    assert modulated == [False, False, True, True]


def test_inforeg_anchors_the_leader_only_and_does_not_saturate() -> None:
    weights = anchor_weights(torch.tensor([0.8, 0.5]), 0.95)
    assert weights.tolist() == pytest.approx([0.95 * np.exp(np.tanh(0.3)), 0])
    three = anchor_weights(torch.tensor([0.8, 0.5, 0.6]), 1.0)
    assert three.tolist() == pytest.approx([np.exp(np.tanh(0.8 - 0.55)), 0, 0])
    milder = anchor_weights(torch.tensor([0.6, 0.5]), 0.95)
    assert milder[0] < weights[0]
    released = [np.tanh(32 * gap) for gap in (0.1, 0.3)]  # a batch sum: 1 for any lead
    assert released[0] == pytest.approx(released[1], abs=0.01)


def test_inforeg_adds_beta_times_the_way_from_the_anchor(warm: Any, tools: Any) -> None:
    model, batches = warm(2, epochs=5)
    method = tools.prepare(InfoReg(beta=0.5), model, batches)
    method.on_epoch_start(model, EpochContext(0, 9))
    with torch.no_grad():
        for m in "ab":
            for p in model.encoder(m).parameters():
                p.add_(0.01)
    (record,) = method.steps(model, batches[0])
    grads = {m: tools.grads(model, m) for m in "ab"}
    model.zero_grad()
    list(Uniform().steps(model, batches[0]))
    y = batches[0].target.numpy()
    s = {m: tools.softmax(z)[np.arange(len(y)), y].mean() for m, z in tools.slices(model, batches[0]).items()}
    assert s["a"] > s["b"]
    beta = 0.5 * np.exp(np.tanh(s["a"] - s["b"]))
    assert record.coefficients["beta:a"].item() == pytest.approx(beta)
    assert record.coefficients["beta:b"] == 0
    for m, expected in (("a", beta * 0.01), ("b", 0.0)):
        for g, e in zip(grads[m], tools.grads(model, m), strict=True):
            torch.testing.assert_close(g, e + expected)


def test_inforeg_trace_is_the_sum_of_squared_weight_gradients(warm: Any, tools: Any) -> None:
    model, batches = warm(2, epochs=2)
    method = tools.prepare(InfoReg(), model, batches)
    method.on_epoch_start(model, EpochContext(0, 9))
    expected = 0.0
    for batch in batches:
        model.zero_grad()
        list(method.steps(model, batch))
        expected += sum(float(p.grad.square().sum()) for p in model.encoder("b").parameters() if p.ndim >= 2)
    assert method.trace[1].item() == pytest.approx(expected)
    method.on_epoch_start(model, EpochContext(1, 9))
    assert method.history[-1, 1].item() == pytest.approx(expected / len(batches))
    assert (method.trace == 0).all()


def test_inforeg_regulates_while_the_trace_grows() -> None:
    """The mean of the last ten epochs against that of the ten which end one epoch earlier."""
    grows = torch.arange(0.0, 11.0)
    k = (grows[1:].mean() - grows[:-1].mean()) / grows[1:].mean()
    assert window_open(grows, k.item() - 0.01)
    assert not window_open(grows, k.item() + 0.01), "the growth must exceed the threshold"
    assert not window_open(torch.ones(11), 0.05)
    assert not window_open(torch.ones(4), 0.0)


@pytest.mark.parametrize("course", [1.0, 0.98, 1.01], ids=["steady", "falling", "growing"])
def test_inforeg_the_window_of_a_course_is_its_first_eleven_epochs(course: float, warm: Any, tools: Any) -> None:
    """By NumPy: ten zeros come before the first trace, and the first epoch is always open."""
    model, batches = warm(2, epochs=1)
    method = tools.prepare(InfoReg(), model, batches)
    windows, expected = [], []
    traces = [0.0] * 11
    for number in range(30):
        if number:
            traces.append(course**number)
        now, before = np.mean(traces[-10:]), np.mean(traces[-11:-1])
        expected.append(number == 0 or now - before > 0.05 * now)
        method.trace.fill_(course**number)
        method.count.fill_(1)
        method.on_epoch_start(model, EpochContext(number, 30))
        windows.append(method.open["a"])
    assert windows == expected
    assert [number for number, o in enumerate(windows) if o] == list(range(11))


def test_inforeg_trace_is_free_of_loss_scaling_and_accumulation(warm: Any, tools: Any) -> None:
    model, batches = warm(2, epochs=2)
    traces = []
    for factor in (1.0, 2.0**14, 0.25):
        method = tools.prepare(InfoReg(), model, batches)
        method.on_epoch_start(model, EpochContext(0, 9))
        for _ in range(2):  # the second pass finds the gradients of the first in place
            list(method.steps(model, batches[0], backward=lambda loss, k=factor: (k * loss).backward()))
        model.zero_grad()
        traces.append(method.trace.clone())
    for trace in traces:
        torch.testing.assert_close(trace, traces[0])


def test_inforeg_an_overflowed_step_leaves_no_mark(warm: Any, tools: Any) -> None:
    model, batches = warm(2, epochs=2)
    method = tools.prepare(InfoReg(), model, batches)
    method.on_epoch_start(model, EpochContext(0, 9))
    list(method.steps(model, batches[0]))
    before = method.trace.clone()
    model.zero_grad()
    list(method.steps(model, batches[0], backward=lambda loss: (float("inf") * loss).backward()))
    assert torch.equal(method.trace, before)
    assert method.count.tolist() == [1, 1]


def test_inforeg_a_closed_window_lets_the_encoder_go(warm: Any, tools: Any) -> None:
    model, batches = warm(2, epochs=5)
    method = tools.prepare(InfoReg(), model, batches)
    method.history.copy_(torch.ones_like(method.history))
    method.trace.fill_(1.0)
    method.count.fill_(1)
    method.on_epoch_start(model, EpochContext(20, 30))
    (record,) = method.steps(model, batches[0])
    assert not any(name.startswith("anchor") for name in record.parts)


def test_amco_mass_by_numpy(warm: Any, tools: Any) -> None:
    model, batches = warm(3, epochs=3)
    z = tools.heads(model, batches[0])
    together = tools.softmax(np.concatenate(list(z.values()), 1))
    expected = [together[:, 3 * k : 3 * k + 3].sum(1).mean() for k in range(3)]
    mass = modality_mass(torch.from_numpy(np.stack(list(z.values()))))
    assert mass.tolist() == pytest.approx(expected)


def test_amco_ramp_follows_the_training_and_is_never_all(warm: Any, tools: Any) -> None:
    """A toolkit's ramp grows per batch and restarts per epoch. From the third epoch on, it masks all logits."""
    assert [mask_share(t, 0.3) for t in (0.0, 0.15, 0.3, 1.0)] == pytest.approx([0, np.sin(np.pi / 4), 1, 1])
    model, batches = warm(2, epochs=10)
    method = tools.prepare(AMCo(strength=0.5), model, batches)
    counts = []
    for number in (0, 2, 9):
        method.on_epoch_start(model, EpochContext(number, 10))
        method_features = model.encode(batches[0].inputs)
        assert modality_mass(torch.stack([model.head(m)(method_features[m]) for m in "ab"]))[0] > 0.5
        masked, _ = method.modulate(model, method_features, batches[0])
        gone = {m: ((masked[m] == 0) & (method_features[m] != 0)).all(0).sum().item() for m in "ab"}
        assert gone["b"] == 0, "only the modality that the prediction depends on is masked"
        counts.append(gone["a"])
    assert counts[0] == 0
    assert counts[1] == int(0.5 * np.sin(np.pi / 3) * 8)
    assert counts[2] == 4


def test_amco_before_the_mask_grows_is_uniform_training(warm: Any, tools: Any) -> None:
    """All the heads' gradient enters the encoders, whatever the largest share of the mask."""
    model, batches = warm(2, epochs=3)
    method = tools.prepare(AMCo(strength=0.25), model, batches)
    method.on_epoch_start(model, EpochContext(0, 10))
    list(method.steps(model, batches[0]))
    grads = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    list(Uniform().steps(model, batches[0]))
    for g, p in zip(grads, model.parameters(), strict=True):
        torch.testing.assert_close(g, p.grad)


def test_amco_a_share_that_is_above_the_equal_one_by_rounding_alone_is_not_masked() -> None:
    """Five equal modalities in float32, whose shares of the softmax may come out as a little more than 1/5."""
    names = "abcde"
    model = MultimodalClassifier({m: torch.nn.Linear(6, 8) for m in names}, num_outputs=3)
    for m in names:
        for p in model.head(m).parameters():
            p.data.zero_()
    target = torch.arange(32) % 3
    batch = Batch({m: torch.ones(32, 6) for m in names}, target, torch.arange(32))
    method = AMCo(strength=1.0)
    model.fusion = method.prepare(model, target).fusion
    method.on_epoch_start(model, EpochContext(9, 10))
    features = model.encode(batch.inputs)
    masked, coefficients = method.modulate(model, features, batch)
    assert [v.item() for v in coefficients.values()] == pytest.approx([0.2] * 5)
    assert all(torch.equal(masked[m], features[m]) for m in names)


def test_arl_a_partial_strength_shrinks_what_is_added(warm: Any, tools: Any) -> None:
    model, batches = warm(2, epochs=2)
    whole, half = (tools.prepare(ARL(s, start=0, gamma=3.0), model, batches) for s in (1.0, 0.5))
    assert half.head_gradient(model, batches[0]) == 1.5
    features = model.encode(batches[0].inputs)
    full, less = (method.scales(model, features, batches[0]) for method in (whole, half))
    for m in "ab":
        assert less[m].item() - 1 == pytest.approx(0.5 * (full[m].item() - 1))


def test_arl_weights_without_entropy_or_logits_are_equal() -> None:
    assert asymmetric_weights(torch.zeros(2), torch.zeros(2), 8.0).tolist() == [0.5, 0.5]


def test_inforeg_no_one_leads_among_equals() -> None:
    assert anchor_weights(torch.tensor([0.5, 0.5]), 1.0).tolist() == [0, 0]


def test_inforeg_each_encoder_has_its_own_window(warm: Any, tools: Any) -> None:
    model, batches = warm(2, epochs=1)
    method = tools.prepare(InfoReg(window=1, threshold=0.1), model, batches)
    windows = []
    for number, trace in enumerate([[0.0, 0.0], [1.0, 4.0], [2.0, 2.0], [2.0, 3.0], [4.0, 3.0]]):
        method.trace.copy_(torch.tensor(trace))
        method.count.fill_(1)
        method.on_epoch_start(model, EpochContext(number, 9))
        windows.append([method.open["a"], method.open["b"]])
    assert windows == [[True, True], [True, True], [True, False], [False, True], [True, False]]


def test_inforeg_without_strength_stores_nothing(warm: Any, tools: Any) -> None:
    model, batches = warm(2, epochs=1)
    quiet = tools.prepare(InfoReg(0.0), model, batches)
    quiet.on_epoch_start(model, EpochContext(0, 9))
    assert not quiet.anchors


def test_inforeg_a_partial_strength_shrinks_the_anchor(warm: Any, tools: Any) -> None:
    model, batches = warm(2, epochs=3)
    anchors = []
    for strength in (1.0, 0.5):
        method = tools.prepare(InfoReg(strength), model, batches)
        method.on_epoch_start(model, EpochContext(0, 9))
        (record,) = method.steps(model, batches[0])
        anchors.append(record.coefficients["beta:a"].item())
    assert anchors[0] > 0
    assert anchors[1] == pytest.approx(0.5 * anchors[0])


def test_amco_masks_nothing_before_the_first_epoch_or_among_equals(warm: Any, tools: Any) -> None:
    model, batches = warm(2, epochs=3)
    method, features = tools.prepare(AMCo(), model, batches), model.encode(batches[0].inputs)
    masked, _ = method.modulate(model, features, batches[0])
    assert all(torch.equal(masked[m], features[m]) for m in "ab")
    method.on_epoch_start(model, EpochContext(9, 10))
    for m in "ab":
        for p in model.head(m).parameters():
            p.data.zero_()
    masked, coefficients = method.modulate(model, features, batches[0])
    assert [coefficients[f"mass:{m}"].item() for m in "ab"] == pytest.approx([0.5, 0.5])
    assert all(torch.equal(masked[m], features[m]) for m in "ab")
