"""What single methods do where their equations have no answer, or floating point runs out."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from counterpoise.methods import MLA, OGMGE, DataRemixing, EpochContext
from counterpoise.methods._ogm import modulation
from counterpoise.methods._remixing import least_confident
from counterpoise.records import Batch


def test_ogm_a_modality_so_dominant_that_tanh_is_one_still_gets_finite_noise(
    make_model: Any, make_batches: Any, tools: Any
) -> None:
    """kappa = 0 would make the noise, std(gradient) / kappa, 0 / 0."""
    assert 0 < modulation(torch.tensor([1e4, 1e-4]), 0.3)[0] < 1e-5
    model, batches = make_model(2), make_batches(2)
    with torch.no_grad():
        model.fusion.head.bias.zero_()
        model.fusion.head.weight.mul_(200)  # a is certain, and right or wrong
    (record,) = tools.prepare(OGMGE(strength=50.0), model, batches).steps(model, batches[0])
    assert record.coefficients["kappa:a"] < 1e-5 or record.coefficients["kappa:b"] < 1e-5
    for m in "ab":
        grads = [p.grad for p in model.encoder(m).parameters()]
        assert all(torch.isfinite(g).all() for g in grads)
        assert any(g.abs().max() > 0 for g in grads)


@pytest.mark.parametrize("fusion", ["film", "gated"])
def test_ogm_reads_the_unimodal_heads_where_a_fusion_has_no_slices(
    fusion: str, make_model: Any, make_batches: Any, tools: Any
) -> None:
    model, batches = make_model(2, fusion=fusion, dtype=torch.float64), make_batches(2, dtype=torch.float64)
    (record,) = tools.prepare(OGMGE(strength=0.4, noise=False), model, batches).steps(model, batches[0])
    y = batches[0].target.numpy()
    score = {m: tools.softmax(z)[range(len(y)), y].sum() for m, z in tools.heads(model, batches[0]).items()}
    for m, other in ("ab", "ba"):
        ratio = torch.tensor(score[m] / score[other])
        expected = 1 - torch.tanh(0.4 * ratio) if ratio > 1 else torch.ones(())
        assert record.coefficients[f"kappa:{m}"].item() == pytest.approx(expected.item())


def test_mla_a_small_last_batch_does_not_turn_the_ridge_back(
    make_model: Any, make_batches: Any, tools: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """128 samples in batches of 50, 50, 27 and 1: lambda falls from .1 to .01."""
    model, (whole,) = make_model(2), make_batches(2, batches=1, size=128)
    rows = torch.arange(128).split([50, 50, 27, 1])
    method = tools.prepare(MLA(), model, [whole])
    method.on_epoch_start(model, EpochContext(0, 2))
    ridges = []
    monkeypatch.setattr(
        "counterpoise.methods._mla.update_projection",
        lambda projection, mean, ridge: ridges.append(ridge) or projection,
    )
    for r in rows:
        batch = Batch({m: x[r] for m, x in whole.inputs.items()}, whole.target[r], r)
        for _ in method.steps(model, batch):
            pass
    expected = [0.1 ** (1 + b / 3) for b in (0, 1, 2, 3)]
    assert ridges[::2] == pytest.approx(expected), "modality a"
    assert ridges[1::2] == pytest.approx(expected), "modality b"


def test_remixing_where_two_modalities_are_equally_unsure_all_are_shown() -> None:
    z = torch.tensor([[[1.0, 0.0], [3.0, 0.0]], [[0.0, 1.0], [1.0, 0.0]], [[2.0, 0.0], [2.0, 0.0]]])
    assert least_confident(z).tolist() == [-1, 1]


def test_remixing_goes_on_in_batches_of_single_modalities_after_a_restart(
    make_model: Any, make_batches: Any, tools: Any
) -> None:
    model, batches = make_model(2), make_batches(2)
    orders = []
    method = tools.prepare(DataRemixing(warmup=0), model, batches)
    tools.run(method, model, batches, epochs=1)
    resumed = tools.prepare(DataRemixing(warmup=0), model, batches)
    resumed.load_state_dict(method.state_dict())
    for one in (method, resumed):
        one.on_epoch_start(model, EpochContext(1, 2, train=lambda: batches))
        orders.append(one.resample(torch.arange(128), torch.Generator().manual_seed(0)))
    assert torch.equal(*orders)
    groups = method.assigned[orders[0]].split(32)
    assert any(len(g.unique()) == 1 for g in groups)
    assert not torch.equal(orders[0], torch.arange(128))
