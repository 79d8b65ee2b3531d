"""Every method: Lightning and a hand-written loop give bit-equal losses, and interrupted runs resume exactly."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from counterpoise.config import FitConfig, ModelConfig, OptimConfig, RunConfig
from counterpoise.data import DataInfo, Modality, MultimodalData, Split
from counterpoise.methods import METHODS, EpochContext, Method
from counterpoise.training import fit, make_optimizer, seed_epoch
from counterpoise.training.datamodule import MultimodalDataModule
from counterpoise.training.fit import assemble
from counterpoise.training.module import TOTAL_LOSS

EPOCHS = 3
RE_ORDERS = [n for n in sorted(METHODS) if METHODS[n].load().resample is not Method.resample]
READS = [n for n in sorted(METHODS) if METHODS[n].load().needs_held_out]


def make_split(n: int, rng: np.random.Generator) -> Split:
    target = rng.integers(3, size=n)
    a, b = (rng.normal(size=(n, d)).astype(np.float32) for d in (5, 4))
    a[np.arange(n), target] += 3
    b[np.arange(n), target] += 1
    return Split({"a": a, "b": b}, target, np.arange(n) % 6)


@pytest.fixture(scope="module")
def data() -> MultimodalData:
    rng = np.random.default_rng(0)
    info = DataInfo("toy", (Modality("a", "vector", (5,)), Modality("b", "vector", (4,))), "multiclass", 3)
    return MultimodalData(info, *(make_split(n, rng) for n in (97, 30, 30)))


def config(name: str) -> RunConfig:
    return RunConfig(
        "toy",
        name,
        method_args=dict(METHODS[name].early),
        model=ModelConfig(width=8),
        optim=OptimConfig(lr=5e-3),
        fit=FitConfig(epochs=EPOCHS, batch_size=32, accelerator="cpu"),
        rule="unimodal" if name == "unimodal" else "fused",
    )


@pytest.mark.parametrize("name", sorted(METHODS))
def test_lightning_equals_the_hand_written_loop(data: MultimodalData, name: str) -> None:
    settings = config(name)
    teachers = {required: assemble(data, config(required))[0] for required in METHODS[name].load().requires}
    by_lightning = fit(data, settings, curves=False, teachers=copy.deepcopy(teachers)).history[TOTAL_LOSS]

    model, method, _ = assemble(data, settings, teachers)
    optimizer = make_optimizer(settings.optim, [*model.parameters(), *method.parameters()])
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS)
    release = None if method.needs_held_out else 0
    if method.releases_held_out:
        release = EPOCHS // 2
    samples = MultimodalDataModule(data, settings.fit, seed=settings.seed, release=release, plan=method.resample)
    by_hand = []
    for epoch in range(EPOCHS):
        samples.loader.indices = torch.from_numpy(samples.epoch_indices(epoch))
        samples.loader.set_epoch(epoch)
        seed_epoch(settings.seed, epoch)
        held = samples.held_out_pass if method.needs_held_out and samples.holds_out(epoch) else None
        method.on_epoch_start(model, EpochContext(epoch, EPOCHS, train=samples.train_pass, held_out=held))
        losses = []
        for batch in samples.loader:
            for record in method.steps(model, batch):
                optimizer.step()
                optimizer.zero_grad()
                losses.append(record.loss)
        total = losses[0].clone()
        for loss in losses[1:]:
            total = total + loss
        by_hand.append(total.item() / len(losses))
        schedule.step()
    assert by_hand == by_lightning


@pytest.mark.parametrize("name", sorted({*RE_ORDERS, *READS, "mslr[strategy=dynamic]", "lfm[schedule=learned]"}))
def test_what_reads_or_re_orders_the_samples_resumes_exactly(
    data: MultimodalData, name: str, tmp_path: Path, stop_before: Any
) -> None:
    from dataclasses import replace

    from counterpoise.experiment.config import parse_method

    plain, arguments = parse_method(name)
    settings = config(plain)
    settings = replace(settings, method_args={**settings.method_args, **arguments})
    teachers = {required: assemble(data, config(required))[0] for required in METHODS[plain].load().requires}
    whole = fit(data, settings, curves=False, teachers=teachers)
    with pytest.raises(InterruptedError):
        fit(data, settings, curves=False, folder=tmp_path, callbacks=[stop_before(2)], teachers=teachers)
    resumed = fit(data, settings, curves=False, folder=tmp_path, teachers=teachers)
    assert resumed.history[TOTAL_LOSS] == whole.history[TOTAL_LOSS]
