"""Every method with every fusion, every task and encoders of unequal width: it works, or it says why not."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from counterpoise.errors import ModelError
from counterpoise.fusion import FUSIONS
from counterpoise.inference import make_rule, predict
from counterpoise.methods import METHODS, EpochContext, make_method
from counterpoise.model import MultimodalClassifier
from counterpoise.records import Batch

ADDITIVE_ONLY = {"reconboost", "mmcosine", "mmcosine-official", "tcmax"}
CLASSES_ONLY = {
    "pmr", "pmr-official", "sample-valuation", "modality-valuation", "mbsd", "cml", "lfm", "lfm-official", "arl",
    "arl-official", "amco", "reconboost", "relearning", "data-remixing", "qmf", "mla", "mla-official", "mmcosine",
    "aug", "aug-official", "mbsd-toolkit", "mmcosine-official", "tcmax",
    "mcr", "amss", "midas", "m-sam", "pdf", "crmt",
}  # fmt: skip
NOT_ADDITIVE = {"film", "gated", "attention", "low-rank-tensor"}
ONE_WIDTH = {"mla", "mla-official", "mcr", "rgm"}
"""They read every modality with one head, or compare features or gradients of different modalities."""


def one_epoch(name: str, model: MultimodalClassifier, batches: list[Batch], target: torch.Tensor) -> None:
    method = make_method(name)
    method.use_teachers({required: copy.deepcopy(model) for required in method.requires})
    model.fusion = method.prepare(model, target).fusion
    optimizer = torch.optim.SGD([*model.parameters(), *method.parameters()], lr=1e-2)
    steps = 0
    for number in (0, 6, 11):
        method.on_epoch_start(model, EpochContext(number, 12, train=lambda: batches, held_out=lambda: batches[:1]))
        for batch in batches[:2]:
            for record in method.steps(model, batch):
                assert torch.isfinite(record.loss)
                optimizer.step()
                optimizer.zero_grad()
                steps += 1
    assert steps
    assert all(torch.isfinite(p).all() for p in model.parameters())
    rule = make_rule(method.default_rule, model.modalities, model.task, feature_dims=model.feature_dims)
    assert torch.isfinite(predict(model, batches[0].inputs, rule)).all()


@pytest.mark.parametrize("fusion", sorted(set(FUSIONS) - {"concat"}))
@pytest.mark.parametrize("name", sorted(METHODS))
def test_with_every_fusion(name: str, fusion: str, make_model: Any, make_batches: Any) -> None:
    batches = make_batches(3)
    model, target = make_model(3, fusion=fusion), torch.cat([b.target for b in batches])
    if fusion in NOT_ADDITIVE and name in ADDITIVE_ONLY:
        with pytest.raises(ModelError, match=r"additive|linear"):
            one_epoch(name, model, batches, target)
    else:
        one_epoch(name, model, batches, target)


@pytest.mark.parametrize("task", ["regression", "multilabel"])
@pytest.mark.parametrize("name", sorted(METHODS))
def test_with_every_task(name: str, task: str, make_model: Any, make_batches: Any) -> None:
    plain = make_batches(2)
    onehot = [nn.functional.one_hot(b.target, 3).float() for b in plain]
    batches = [Batch(b.inputs, y, b.index) for b, y in zip(plain, onehot, strict=True)]
    model = make_model(2, task=task)
    if name in CLASSES_ONLY:
        with pytest.raises(ModelError, match=f"needs a multiclass task: .* Found a {task} task"):
            one_epoch(name, model, batches, torch.cat(onehot))
    else:
        one_epoch(name, model, batches, torch.cat(onehot))


@pytest.mark.parametrize("name", sorted(METHODS))
def test_with_encoders_of_unequal_width(name: str, make_batches: Any) -> None:
    torch.manual_seed(0)
    encoders = {"a": nn.Linear(6, 5), "b": nn.Sequential(nn.Linear(6, 7), nn.Tanh()), "c": nn.Linear(6, 4)}
    model, batches = MultimodalClassifier(encoders, num_outputs=3), make_batches(3)
    target = torch.cat([b.target for b in batches])
    if name in ONE_WIDTH:
        with pytest.raises(ModelError, match="same dimension"):
            one_epoch(name, model, batches, target)
    else:
        one_epoch(name, model, batches, target)


@pytest.mark.parametrize("name", sorted(METHODS))
def test_setup_draws_no_random_numbers(name: str, make_model: Any, make_batches: Any) -> None:
    model, batches = make_model(2), make_batches(2)
    method = make_method(name)
    method.use_teachers({required: copy.deepcopy(model) for required in method.requires})
    before = torch.get_rng_state()
    model.fusion = method.prepare(model, torch.cat([b.target for b in batches])).fusion
    assert torch.equal(before, torch.get_rng_state())
