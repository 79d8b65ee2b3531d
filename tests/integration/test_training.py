"""Lightning and a hand-written loop give the same numbers. Runs resume, select on validation and check their input."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import Callback

from counterpoise.config import FitConfig, ModelConfig, OptimConfig, RunConfig
from counterpoise.data import BatchLoader, DataInfo, Modality, MultimodalData, Split, open_data
from counterpoise.data.worlds import Dominant, Gaussian, ManyLabels, Redundant, World
from counterpoise.errors import CheckpointError, ConfigError
from counterpoise.experiment.runner import load_run, run
from counterpoise.methods import METHODS, EpochContext, Method, make_method
from counterpoise.methods.base import backward
from counterpoise.model import build_model
from counterpoise.records import StepRecord
from counterpoise.runs import CurveId
from counterpoise.training import collect, fit, make_optimizer, seed_epoch
from counterpoise.training.checkpoints import load_weights
from counterpoise.training.module import TOTAL_LOSS, MethodModule

EPOCHS = 4


def make_split(n: int, rng: np.random.Generator) -> Split:
    target = rng.integers(3, size=n)
    a = rng.normal(size=(n, 5)).astype(np.float32)
    b = rng.normal(size=(n, 4)).astype(np.float32)
    a[np.arange(n), target] += 3
    b[np.arange(n), target] += 1
    return Split({"a": a, "b": b}, target, np.arange(n) % 6)


@pytest.fixture(scope="module")
def data() -> MultimodalData:
    rng = np.random.default_rng(0)
    info = DataInfo("toy", (Modality("a", "vector", (5,)), Modality("b", "vector", (4,))), "multiclass", 3)
    return MultimodalData(info, make_split(150, rng), make_split(60, rng), make_split(60, rng))


def config(method: str = "joint", **changes: object) -> RunConfig:
    base = RunConfig(
        "toy", method, model=ModelConfig(width=8), fit=FitConfig(epochs=EPOCHS, batch_size=32, accelerator="cpu")
    )
    return replace(base, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("method", ["joint", "uniform", "ogm-ge", "separated-gradients"])
def test_a_hand_written_loop_gives_bit_equal_losses(data: MultimodalData, method: str) -> None:
    settings = config(method, rule="fused")
    by_lightning = fit(data, settings, curves=False).history[TOTAL_LOSS]

    # The README's loop.
    torch.manual_seed(settings.seed)
    model = build_model({m.name: (m.kind, m.shape, 0) for m in data.info.modalities}, num_outputs=3, width=8)
    trainer = make_method(method)
    model = trainer.prepare(model, torch.from_numpy(data.train.target))
    optimizer = make_optimizer(settings.optim, [*model.parameters(), *trainer.parameters()])
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS)
    loader = BatchLoader(data.train, 32, seed=settings.seed, plan=trainer.resample)
    by_hand = []
    for epoch in range(EPOCHS):
        seed_epoch(settings.seed, epoch)
        trainer.on_epoch_start(model, EpochContext(epoch, EPOCHS))
        loader.set_epoch(epoch)
        losses = []
        for batch in loader:
            for record in trainer.steps(model, batch):
                optimizer.step()
                optimizer.zero_grad()
                losses.append(record.loss)
        total = losses[0].clone()
        for loss in losses[1:]:
            total = total + loss
        by_hand.append(total.item() / len(losses))
        schedule.step()
    assert by_hand == by_lightning


@pytest.mark.parametrize("method", ["joint", "ogm-ge", "arm"])
def test_a_resumed_run_equals_an_uninterrupted_one(
    data: MultimodalData, method: str, tmp_path: Path, stop_before: Any
) -> None:
    whole = fit(data, config(method), folder=tmp_path / "whole")
    with pytest.raises(InterruptedError):
        fit(data, config(method), folder=tmp_path / "cut", callbacks=[stop_before(3)])
    assert (tmp_path / "cut" / "last.ckpt").is_file()
    resumed = fit(data, config(method), folder=tmp_path / "cut")
    assert resumed.history == whole.history
    assert resumed.best_epoch == whole.best_epoch
    for (name, p), q in zip(whole.model.state_dict().items(), resumed.model.state_dict().values(), strict=True):
        assert torch.equal(p, q), name


def test_selection_is_on_validation_and_in_the_second_half(data: MultimodalData, tmp_path: Path) -> None:
    fitted = fit(data, config(), folder=tmp_path)
    score, nll = fitted.history[CurveId("score", "accuracy")], fitted.history[CurveId("score", "nll")]
    best = max(range(EPOCHS // 2, EPOCHS), key=lambda e: (score[e], -nll[e]))
    assert fitted.best_epoch == best


def test_the_calibrated_rule_is_fitted_on_what_was_held_out_and_then_released(
    data: MultimodalData, tmp_path: Path
) -> None:
    seen: list[set[int]] = []

    class Watch(Callback):
        def on_train_batch_start(self, trainer: object, pl_module: object, batch: object, batch_idx: int) -> None:
            if batch_idx == 0:
                seen.append(set())
            seen[-1] |= set(batch.index.tolist())  # type: ignore[attr-defined]

    fitted = fit(data, config(rule="calibrated"), folder=tmp_path, callbacks=[Watch()])
    assert fitted.rule.fitted
    assert len(seen) == EPOCHS
    held = set(range(len(data.train))) - seen[0]
    assert held
    groups = {int(data.train.group[i]) for i in held}  # type: ignore[index]
    assert all(int(data.train.group[i]) not in groups for i in seen[0])  # type: ignore[index]
    assert seen[1] == seen[0]
    assert held <= seen[EPOCHS // 2]


def test_early_stopping_waits_for_the_second_half(data: MultimodalData, tmp_path: Path) -> None:
    settings = config(fit=FitConfig(epochs=20, batch_size=32, patience=2, accelerator="cpu"))
    fitted = fit(data, settings, folder=tmp_path)
    assert 12 <= len(fitted.history[TOTAL_LOSS]) <= 20


def test_accumulating_two_batches_steps_half_as_often(data: MultimodalData) -> None:
    settings = config(fit=FitConfig(epochs=2, batch_size=32, accumulate=2, accelerator="cpu"))
    plain = config(fit=FitConfig(epochs=2, batch_size=32, accelerator="cpu"))
    assert fit(data, settings).history[TOTAL_LOSS] != fit(data, plain).history[TOTAL_LOSS]


def test_bfloat16_trains(data: MultimodalData) -> None:
    settings = config(
        "arm",
        fit=FitConfig(epochs=6, batch_size=32, precision="bf16-mixed", accelerator="cpu"),
        optim=OptimConfig(lr=1e-2),
    )
    losses = fit(data, settings).history[TOTAL_LOSS]
    assert losses[-1] < losses[0]


def test_one_epoch_cannot_be_calibrated(data: MultimodalData) -> None:
    with pytest.raises(ConfigError, match="at least 2 epochs"):
        fit(data, config(rule="calibrated", fit=FitConfig(epochs=1)))


def test_a_checkpoint_of_another_model_is_refused(data: MultimodalData, tmp_path: Path) -> None:
    fit(data, config(), folder=tmp_path)
    from counterpoise.training.fit import assemble

    module = MethodModule(*assemble(data, config(model=ModelConfig(width=16))), config(), release=0)
    with pytest.raises(CheckpointError, match="belongs to another model"):
        load_weights(module, tmp_path / "best.ckpt")
    (tmp_path / "broken.ckpt").write_bytes(b"not a checkpoint")
    with pytest.raises(CheckpointError, match="not a readable checkpoint"):
        load_weights(module, tmp_path / "broken.ckpt")


@pytest.mark.parametrize(
    ("world", "metric"),
    [
        (ManyLabels(), "accuracy"),
        (Gaussian(), "r2"),
        (Dominant(modalities=3), "accuracy"),
        (Redundant(modalities=4), "accuracy"),
    ],
    ids=["multilabel", "regression", "three modalities", "four modalities"],
)
@pytest.mark.parametrize("method", ["unimodal-ensemble", "arm"])
def test_every_task_and_number_of_modalities_goes_all_the_way(
    world: World, metric: str, method: str, tmp_path: Path
) -> None:
    data = world.data(300, seed=0)
    record = run(config(method, data=data.info.name), tmp_path, data=data)
    assert np.isfinite(record.value(metric))
    for m in data.info.names:
        assert np.isfinite(record.value("probe", m))
        assert np.isfinite(record.value("phi_cmi", m))
    again = run(config(method, data=data.info.name), tmp_path, data=data)
    assert again.metrics == record.metrics
    assert load_run(tmp_path / "runs" / record.key, data=data).best_epoch == record.best_epoch


def test_what_a_run_reports_is_of_the_selected_weights(data: MultimodalData, tmp_path: Path) -> None:
    record = run(config("uniform"), tmp_path, data=data)
    fitted = load_run(tmp_path / "runs" / record.key, data=data)
    outputs, target = collect(fitted.model, data.test.batches(7))
    accuracy = (outputs.logits.argmax(1) == target).double().mean().item()
    assert record.value("accuracy") == pytest.approx(accuracy)
    saved = np.load(tmp_path / "runs" / record.key / "predictions.npz")
    np.testing.assert_allclose(saved["logits"], outputs.logits.numpy(), rtol=1e-5, atol=1e-6)
    assert record.validation[0].value == record.curve("score", "accuracy")[record.best_epoch]


@pytest.mark.parametrize("method", sorted(METHODS))
def test_every_method_runs_under_lightning_and_comes_back_from_disk(
    method: str, data: MultimodalData, tmp_path: Path
) -> None:
    record = run(config(method, fit=FitConfig(epochs=2, batch_size=32, accelerator="cpu")), tmp_path, data=data)
    assert 0 <= record.value("accuracy") <= 1
    assert np.isfinite(record.curve("loss", "total")).all()
    folder = tmp_path / "runs" / record.key
    fitted = load_run(folder, data=data)
    outputs, _ = collect(fitted.model, data.test.batches(60))
    np.testing.assert_allclose(
        np.load(folder / "predictions.npz")["logits"], fitted.rule(outputs).numpy(), rtol=1e-4, atol=1e-5
    )


def test_methods_that_step_several_times_a_batch_cannot_accumulate(data: MultimodalData) -> None:
    with pytest.raises(ConfigError, match="steps several times a batch"):
        fit(data, config("mla", fit=FitConfig(epochs=2, accumulate=2, accelerator="cpu")))


def test_runs_of_several_seeds_can_start_from_one_initialisation(data: MultimodalData) -> None:
    from counterpoise.training.fit import assemble

    def start(seed: int, init: int | None) -> torch.Tensor:
        model, _, _ = assemble(data, config("uniform", seed=seed, model=ModelConfig(init_seed=init)))
        return torch.cat([p.detach().flatten() for p in model.parameters()])

    assert torch.equal(start(0, 7), start(1, 7))
    assert not torch.equal(start(0, None), start(1, None))
    assert torch.equal(start(7, None), start(1, 7))


def test_the_last_accumulation_group_counts_as_much_as_the_others(tmp_path: Path) -> None:
    """Samples are equal, so all groups have the same mean gradient. Three batches of 8 make two steps, as do four."""

    def bias(rows: int, lr: float) -> float:
        y = np.r_[np.zeros(rows, int), [0, 1] * 8]
        split = np.r_[["train"] * rows, ["val"] * 8, ["test"] * 8]
        x = np.repeat(np.r_[np.ones(rows), 2 + np.arange(16)], 3).reshape(-1, 3).astype(np.float32)
        np.savez(tmp_path / f"{rows}.npz", a=x, b=x, label=y, split=split)
        optim = OptimConfig("sgd", lr=lr, momentum=0.0, weight_decay=0.0, schedule="constant")
        fitting = FitConfig(epochs=1, batch_size=8, accumulate=2, accelerator="cpu")
        path = str(tmp_path / f"{rows}.npz")
        settings = RunConfig(data=path, method="joint", optim=optim, fit=fitting)
        return fit(open_data(path), settings, curves=False).model.fusion.head.bias[0].item()

    moved = {rows: bias(rows, 2e-3) - bias(rows, 1e-3) for rows in (24, 32)}
    assert moved[24] / moved[32] == pytest.approx(1, abs=0.05)


def test_a_method_that_steps_twice_without_saying_so_is_refused_with_accumulation(data: MultimodalData) -> None:
    """One that says so by its class is refused before the training; see `alternates`."""
    fitting = FitConfig(epochs=1, batch_size=32, accumulate=2, accelerator="cpu")
    with pytest.raises(ConfigError, match=r"stepped twice.*accumulate"):
        fit(data, config(f"{__name__}:Turns", fit=fitting), curves=False)
    with pytest.raises(ConfigError, match=r"several times.*accumulate"):
        fit(data, config(f"{__name__}:Alternating", fit=fitting), curves=False)


class Turns(Method):
    """One step per modality."""

    def steps(self, model: Any, batch: Any, *, backward: Any = backward) -> Iterator[StepRecord]:
        for m in model.modalities:
            outputs = model(batch.inputs, head_gradient={k: float(k == m) for k in model.modalities})
            loss = model.task.loss(outputs.unimodal_logits[m], batch.target)
            backward(loss)
            yield StepRecord(loss.detach())


class Alternating(Turns):
    """The same, said by its class."""

    alternates = True
