"""MMCosine: cosines by NumPy, the same head in training and at inference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from counterpoise.errors import ModelError
from counterpoise.inference import predict
from counterpoise.methods import Joint, MMCosine
from counterpoise.methods._mmcosine import CosineHead


@pytest.mark.parametrize("fusion", ["concat", "sum", "shared-head"])
@pytest.mark.parametrize("modalities", [2, 3, 4])
def test_loss_and_prediction_by_numpy(
    modalities: int, fusion: str, make_model: Any, make_batches: Any, tools: Any
) -> None:
    """The released code and a toolkit evaluate a head that is not normalised; here both numbers come from one head."""
    model = make_model(modalities, dtype=torch.float64, fusion=fusion)
    batches = make_batches(modalities, dtype=torch.float64)
    before = model.fusion.state_dict()
    weights = {}
    start = 0
    for m, h in tools.features(model, batches[0]).items():
        if fusion == "concat":
            weights[m] = before["head.weight"][:, start : start + h.shape[1]].numpy().copy()
        else:
            weights[m] = before["head.weight" if fusion == "shared-head" else f"heads.{m}.weight"].numpy().copy()
        start += h.shape[1]
    method = tools.prepare(MMCosine(scale=12.0), model, batches)
    z = 0.0
    for m, h in tools.features(model, batches[0]).items():
        w = weights[m] / np.linalg.norm(weights[m], axis=1, keepdims=True)
        z = z + 12 * (h / np.linalg.norm(h, axis=1, keepdims=True)) @ w.T
    (record,) = method.steps(model, batches[0])
    y = batches[0].target.numpy()
    assert record.parts["fused"].item() == pytest.approx(tools.nll(z, y).mean())
    np.testing.assert_allclose(predict(model, batches[0].inputs).numpy(), z)


def test_the_length_of_features_and_weights_does_not_matter(make_model: Any, make_batches: Any, tools: Any) -> None:
    model, batches = make_model(2), make_batches(2)
    tools.prepare(MMCosine(), model, batches)
    features = {m: h.detach() for m, h in model.encode(batches[0].inputs).items()}
    before = model.fusion(features)
    with torch.no_grad():
        model.fusion.weights["weight_a"].mul_(7)
    for length in (5, 1e-3):
        torch.testing.assert_close(model.fusion({"a": length * features["a"], "b": features["b"]}), before)
    with torch.no_grad():
        model.fusion.weights["weight_b"].mul_(1e-3)
    torch.testing.assert_close(model.fusion(features), before)


def test_a_head_that_is_not_linear_is_refused(make_model: Any) -> None:
    with pytest.raises(ModelError, match="Found `Gated`"):
        MMCosine().prepare(make_model(2, fusion="gated"), torch.zeros(3, dtype=torch.long))


def test_features_or_weights_of_length_zero_say_nothing(make_model: Any, make_batches: Any, tools: Any) -> None:
    model, batches = make_model(2), make_batches(2)
    tools.prepare(MMCosine(), model, batches)
    zero = {m: torch.zeros(4, 8) for m in "ab"}
    assert (model.fusion(zero) == 0).all()
    with torch.no_grad():
        model.fusion.weights["weight_a"].zero_()
    assert (model.fusion({"a": torch.ones(4, 8), "b": zero["b"]}) == 0).all()


def test_modalities_that_shared_a_head_no_longer_do(make_model: Any, make_batches: Any, tools: Any) -> None:
    model, batches = make_model(2, fusion="shared-head"), make_batches(2)
    tools.prepare(MMCosine(), model, batches)
    before = model.fusion.weights["weight_b"].clone()
    with torch.no_grad():
        model.fusion.weights["weight_a"].add_(1)
    assert torch.equal(model.fusion.weights["weight_b"], before)


def test_encoders_learn_from_the_fused_head_alone(make_model: Any, make_batches: Any, tools: Any) -> None:
    model, batches = make_model(2), make_batches(2)
    tools.prepare(MMCosine(), model, batches)
    list(MMCosine().steps(model, batches[0]))
    grads = tools.grads(model, "a")
    model.zero_grad()
    list(Joint().steps(model, batches[0]))
    torch.testing.assert_close(grads, tools.grads(model, "a"))


def test_the_head_alone_has_the_methods_scale_and_knows_its_sizes() -> None:
    head = CosineHead({"a": torch.ones(3, 2), "b": torch.ones(3, 5)})
    assert head.scale == MMCosine().scale
    assert dict(head.feature_dims) == {"a": 2, "b": 5}


def test_a_task_without_classes_is_refused(make_model: Any) -> None:
    with pytest.raises(ModelError, match="multiclass"):
        MMCosine().prepare(make_model(2, task="regression"), torch.zeros(4, 3))
