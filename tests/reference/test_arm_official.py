"""ARM's release against a NumPy derivation of its description, and against what is wrong with it."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch

from counterpoise.errors import ConfigError, ModelError
from counterpoise.experiment.compare import expand
from counterpoise.methods import METHODS, make_method
from counterpoise.methods.replicas.arm import ARMOfficial, released_weights
from counterpoise.model import MultimodalClassifier
from counterpoise.records import Batch

D, C, B = 12, 3, 32


@pytest.fixture
def model() -> MultimodalClassifier:
    torch.manual_seed(0)
    encoders = {m: torch.nn.Sequential(torch.nn.Linear(5, D), torch.nn.ReLU()) for m in ("video", "audio")}
    return MultimodalClassifier(encoders, num_outputs=C, feature_dims={"video": D, "audio": D})


@pytest.fixture
def batch() -> Batch:
    g = torch.Generator().manual_seed(1)
    inputs = {m: torch.randn(B, 5, generator=g) for m in ("video", "audio")}
    return Batch(inputs, torch.randint(C, (B,), generator=g), torch.arange(B))


def official(model: MultimodalClassifier, batch: Batch) -> ARMOfficial:
    method = ARMOfficial(labels_at_test=True)
    model.fusion = method.prepare(model, batch.target).fusion
    return method


def entropy(p: np.ndarray) -> float:
    p = p[p > 0]
    return float(-(p * np.log(p)).sum())


def binned(x: np.ndarray, bins: int) -> np.ndarray:
    edges = np.linspace(x.min(), x.max(), bins + 1)
    return np.clip(np.searchsorted(edges, x.ravel(), side="right") - 1, 0, bins - 1)


def numpy_nmi(x: np.ndarray, y: np.ndarray) -> float:
    table = np.zeros((30, 30))
    np.add.at(table, (binned(x, 30), binned(y, 30)), 1 / x.size)
    h_x, h_y = entropy(table.sum(1)), entropy(table.sum(0))
    return 2 * (h_x + h_y - entropy(table)) / (h_x + h_y)


def test_the_weights_are_those_of_the_description(model: MultimodalClassifier, batch: Batch) -> None:
    from counterpoise.methods.replicas.arm_histograms import official_ncmi

    method = official(model, batch)
    z = model.encode(batch.inputs)
    fusion: Any = model.fusion
    video, audio = (z[m].detach().double().numpy() for m in ("video", "audio"))
    f = np.concatenate([video, audio], 1) @ fusion.neck_weight.double().numpy().T + fusion.neck_bias.double().numpy()
    k, bias = fusion.classifier.weight.detach().double().numpy(), fusion.classifier.bias.detach().double().numpy()

    def sure(h: np.ndarray) -> float:
        logits = h @ k.T + bias
        p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        return float(p[np.arange(B), batch.target.numpy()].mean())

    q_f, q_v, q_a = sure(f), sure(video), sure(audio)
    nmi_v, nmi_a = numpy_nmi(video, f), numpy_nmi(audio, f)
    ii_v, ii_a = nmi_v - official_ncmi(video, f, audio), nmi_a - official_ncmi(audio, f, video)
    pcmi_a, pcmi_v = q_f * nmi_a + q_v * ii_a, q_f * nmi_v + q_a * ii_v  # crossed, as released
    weights = method.weights(model, z, batch.target)
    assert weights == pytest.approx((pcmi_a / pcmi_v, pcmi_v / pcmi_a), rel=1e-5)


def test_the_loss_is_that_of_the_weighted_fusion_and_the_projection_never_learns(
    model: MultimodalClassifier, batch: Batch
) -> None:
    method = official(model, batch)
    z = model.encode(batch.inputs)
    w_v, w_a = method.weights(model, z, batch.target)
    fusion: Any = model.fusion
    both = torch.cat([w_v * z["video"], w_a * z["audio"]], 1)
    logits = (both @ fusion.mix.weight.T + fusion.mix.bias) @ fusion.classifier.weight.T + fusion.classifier.bias
    expected = torch.nn.functional.cross_entropy(logits, batch.target)
    reference = torch.autograd.grad(expected, list(model.encoder("audio").parameters()))
    before = fusion.neck_weight.clone()
    (record,) = list(method.steps(model, batch))
    assert record.loss.item() == pytest.approx(expected.item(), rel=1e-6)
    assert not record.loss.requires_grad
    for m in ("video", "audio"):  # the heads watch: each learns from its own cross-entropy
        head, own = model.head(m), z[m].detach()
        loss = torch.nn.functional.cross_entropy(head(own), batch.target)
        for p, g in zip(head.parameters(), torch.autograd.grad(loss, list(head.parameters())), strict=True):
            torch.testing.assert_close(p.grad, g)
    for p, g in zip(model.encoder("audio").parameters(), reference, strict=True):
        torch.testing.assert_close(p.grad, g)
    assert "neck_weight" not in dict(fusion.named_parameters())
    assert torch.equal(fusion.neck_weight, before)


@pytest.mark.parametrize(("q1", "q2"), [(0.8, 0.2), (0.3, 0.6)])
def test_it_reinforces_the_branch_that_is_already_stronger(q1: float, q2: float) -> None:
    """Contrary to the paper's aim: with NCMI about 1 and NMI about 0 the weights are the ratio of confidences."""
    first, second = released_weights({"fused": 0.5, "first": q1, "second": q2}, (0.005, 0.005), (1.0, 1.0))
    assert first == pytest.approx(q1 / q2, rel=0.05)
    assert (first > second) == (q1 > q2)


def test_predictions_read_labels_and_depend_on_batch_mates(model: MultimodalClassifier, batch: Batch) -> None:
    method = official(model, batch)
    for p in model.parameters():  # sure enough to make a difference
        p.data.mul_(2)
    z = model.encode(batch.inputs)
    fusion: Any = model.fusion

    def logits(target: torch.Tensor, rows: slice) -> torch.Tensor:
        part = {m: v[rows] for m, v in z.items()}
        return fusion.weighted(part, method.weights(model, part, target[rows]))

    everything, fewer = slice(0, B), slice(0, B // 2)
    assert not torch.allclose(logits(batch.target, everything), logits((batch.target + 1) % C, everything))
    assert not torch.allclose(logits(batch.target, everything)[fewer], logits(batch.target, fewer))
    plain = model(batch.inputs).logits
    torch.testing.assert_close(plain, fusion.classifier(fusion.mix(torch.cat([z["video"], z["audio"]], 1))))
    half = model({m: x[fewer] for m, x in batch.inputs.items()}).logits
    torch.testing.assert_close(plain[fewer], half)  # without labels: weights 1


def test_it_is_never_selected_silently(model: MultimodalClassifier) -> None:
    from counterpoise.data import DataInfo, Modality

    info = DataInfo("toy", (Modality("a", "vector", (2,)), Modality("b", "vector", (2,))), "multiclass", 2)
    assert "arm-official" not in METHODS
    assert all("arm-official" not in c.method for c in expand(info, "toy", ["all"], seeds=1))
    for name in ("arm-official", "arm_official"):
        with pytest.raises(ConfigError, match="reads the labels of the test set"):
            make_method(name)
    config = expand(info, "toy", ["arm-official[labels_at_test=true]"], seeds=1)[-1]
    assert make_method(config.method, config.method_args).labels_at_test is True  # type: ignore[attr-defined]


def test_other_sizes_and_three_modalities_are_refused(batch: Batch) -> None:
    three = MultimodalClassifier({m: torch.nn.Linear(5, D) for m in "abc"}, num_outputs=C)
    uneven = MultimodalClassifier({"a": torch.nn.Linear(5, D), "b": torch.nn.Linear(5, D + 1)}, num_outputs=C,
                                  feature_dims={"a": D, "b": D + 1})  # fmt: skip
    for model in (three, uneven):
        with pytest.raises(ModelError, match="two modalities with features of the same size"):
            ARMOfficial(labels_at_test=True).prepare(copy.deepcopy(model), batch.target)


def test_what_the_release_reports_is_the_accuracy_over_all_samples_with_their_labels_read_batch_by_batch(
    model: MultimodalClassifier, batch: Batch
) -> None:
    method = official(model, batch)
    for p in model.parameters():
        p.data.mul_(2)
    fusion: Any = model.fusion
    parts = [
        Batch({m: x[rows] for m, x in batch.inputs.items()}, batch.target[rows], batch.index[rows])
        for rows in (slice(0, 20), slice(20, B))
    ]
    right = []
    for part in parts:
        z = model.encode(part.inputs)
        weighted = fusion.weighted(z, method.weights(model, z, part.target))
        right += (weighted.argmax(1) == part.target).tolist()
    assert 0 < sum(right) < B
    assert method.test_metrics(model, parts) == {"accuracy:reading-labels": sum(right) / B}


def test_batches_of_128_unless_told() -> None:
    assert ARMOfficial(labels_at_test=True).batch_size == 128
    assert ARMOfficial(labels_at_test=True, batch_size=7).hyperparameters == {"labels_at_test": True, "batch_size": 7}
