"""UMT and G2D: terms by NumPy, frozen teachers, which encoder trains when."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from counterpoise.errors import ConfigError, ModelError
from counterpoise.methods import G2D, UMT, EpochContext, UnimodalEnsemble
from counterpoise.methods._teachers import prioritised
from counterpoise.model import MultimodalClassifier


def taught(method: Any, make_model: Any, make_batches: Any, tools: Any, modalities: int = 2, epochs: int = 5) -> Any:
    batches = make_batches(modalities, dtype=torch.float64)
    teacher = make_model(modalities, seed=9, dtype=torch.float64)
    tools.run(UnimodalEnsemble(), teacher, batches, epochs=epochs)
    model = make_model(modalities, dtype=torch.float64)
    method.use_teachers({"unimodal-ensemble": teacher})
    return tools.prepare(method, model, batches), model, teacher, batches


@pytest.mark.parametrize("modalities", [2, 3])
def test_umt_by_numpy(modalities: int, make_model: Any, make_batches: Any, tools: Any) -> None:
    method, model, teacher, batches = taught(UMT(strength=3.0), make_model, make_batches, tools, modalities)
    own, theirs = tools.features(model, batches[0]), tools.features(teacher, batches[0])
    fused = sum(tools.slices(model, batches[0]).values())
    (record,) = method.steps(model, batches[0])
    for m in model.modalities:
        assert record.parts[f"feature:{m}"].item() == pytest.approx(3 * ((own[m] - theirs[m]) ** 2).mean())
    assert record.parts["fused"].item() == pytest.approx(tools.nll(fused, batches[0].target.numpy()).mean())


def test_umt_brings_features_to_the_teachers(make_model: Any, make_batches: Any, tools: Any) -> None:
    method, model, _, batches = taught(UMT(), make_model, make_batches, tools)
    first = next(iter(method.steps(model, batches[0]))).parts
    last = tools.run(method, model, batches, epochs=20)[0].parts
    for m in "ab":
        assert last[f"feature:{m}"] < 0.2 * first[f"feature:{m}"]


def test_g2d_by_numpy(make_model: Any, make_batches: Any, tools: Any) -> None:
    method, model, teacher, batches = taught(G2D(strength=0.5), make_model, make_batches, tools)
    p = {m: tools.softmax(z) for m, z in tools.heads(teacher, batches[0]).items()}
    q = tools.softmax(sum(tools.slices(model, batches[0]).values()))
    own, theirs, y = tools.features(model, batches[0]), tools.features(teacher, batches[0]), batches[0].target.numpy()
    (record,) = method.steps(model, batches[0])
    for m in "ab":
        kl = (p[m] * (np.log(p[m]) - np.log(q))).sum(1).mean()
        assert record.parts[f"distil:{m}"].item() == pytest.approx(0.5 * kl)
        assert record.parts[f"feature:{m}"].item() == pytest.approx(0.5 * ((own[m] - theirs[m]) ** 2).mean())
        assert record.coefficients[f"teacher:{m}"].item() == pytest.approx(p[m][np.arange(len(y)), y].mean())
    assert record.loss.item() == pytest.approx(sum(part.item() for part in record.parts.values()))
    assert not any(name.startswith("kappa") for name in record.coefficients), "before any epoch all encoders train"


def test_g2d_trains_the_weakly_taught_encoder_first(make_model: Any, make_batches: Any, tools: Any) -> None:
    method, model, _, batches = taught(G2D(), make_model, make_batches, tools)
    for number, suppressed in ((0, True), (4, True), (5, False), (9, False)):
        model.zero_grad()
        method.on_epoch_start(model, EpochContext(number, 10))
        (record,) = method.steps(model, batches[0])
        assert record.coefficients["teacher:a"] > record.coefficients["teacher:b"], "a is easy"
        assert all((g == 0).all() for g in tools.grads(model, "a")) is suppressed
        assert any((g != 0).any() for g in tools.grads(model, "b"))


def test_g2d_lets_one_more_in_at_every_stage(make_model: Any, make_batches: Any, tools: Any) -> None:
    method, model, _, batches = taught(G2D(share=0.6), make_model, make_batches, tools, modalities=4)
    training = []
    for number in range(10):
        method.on_epoch_start(model, EpochContext(number, 10))
        (record,) = method.steps(model, batches[0])
        kappa = [v.item() for k, v in record.coefficients.items() if k.startswith("kappa")]
        training.append(int(sum(kappa)) if kappa else 4)
    assert training == [1, 1, 2, 2, 3, 3, 4, 4, 4, 4]
    assert prioritised(torch.tensor([1.0, 1.0, 2.0]), 1).tolist() == [1, 1, 0], "equals are treated alike"


@pytest.mark.parametrize(("share", "suppressed"), [(0.0, 0), (0.3, 3), (1.0, 10)])
def test_g2d_prioritises_in_its_share_of_the_epochs_from_none_to_all(
    share: float, suppressed: int, make_model: Any, make_batches: Any, tools: Any
) -> None:
    method, model, _, batches = taught(G2D(share=share), make_model, make_batches, tools)
    assert method.scales(model, model.encode(batches[0].inputs), batches[0]) == {}, "no epoch has begun"
    factors = []
    for number in range(10):
        method.on_epoch_start(model, EpochContext(number, 10))
        (record,) = method.steps(model, batches[0])
        factors.append(record.coefficients.get("kappa:a", torch.ones(())).item())
    assert factors == [0] * suppressed + [1] * (10 - suppressed)
    for outside in (-0.1, 1.1):
        with pytest.raises(ConfigError, match="Parameter `share` of `G2D` should be"):
            G2D(share=outside)


@pytest.mark.parametrize("method", [UMT(), G2D()], ids=["umt", "g2d"])
def test_teachers_are_frozen_and_no_part_of_the_method(
    method: Any, make_model: Any, make_batches: Any, tools: Any
) -> None:
    method, model, teacher, batches = taught(copy.deepcopy(method), make_model, make_batches, tools)
    before = copy.deepcopy(teacher.state_dict())
    tools.run(method, model, batches, epochs=2)
    assert all(torch.equal(before[k], v) for k, v in teacher.state_dict().items())
    assert all(p.grad is None or (p.grad == 0).all() for p in teacher.parameters())
    assert not list(method.parameters())
    assert not method.state_dict()
    assert not teacher.training


def test_what_is_missing_is_said(make_model: Any, make_batches: Any) -> None:
    model, batches = make_model(2), make_batches(2)
    with pytest.raises(ModelError, match="Call `use_teachers` first"):
        list(UMT().steps(model, batches[0]))
    with pytest.raises(ModelError, match="needs a trained `unimodal-ensemble`"):
        UMT().use_teachers({"joint": model})
    other = UMT()
    narrow = MultimodalClassifier({m: nn.Linear(6, 5) for m in "ab"}, num_outputs=3)
    other.use_teachers({"unimodal-ensemble": narrow})
    with pytest.raises(ModelError, match="Train it with the same encoders"):
        model.fusion = other.prepare(model, batches[0].target).fusion
