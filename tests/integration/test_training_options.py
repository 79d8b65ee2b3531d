"""Warm-up, clipping, rates and freezing of parts, class weights, checkpointing, compilation and averaged weights.

Each test shows the effect of an option; together they resume bit for bit and work with every family of methods.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn

from counterpoise.config import FitConfig, ModelConfig, OptimConfig, RunConfig
from counterpoise.data import DataInfo, Modality, MultimodalData, Split
from counterpoise.errors import ConfigError
from counterpoise.experiment.config import read_config
from counterpoise.experiment.runner import run
from counterpoise.methods import METHODS, EpochContext
from counterpoise.runs import CurveId
from counterpoise.tasks import MultiClass, MultiLabel, Regression
from counterpoise.training import collect, fit
from counterpoise.training.fit import assemble
from counterpoise.training.module import TOTAL_LOSS

SGD = OptimConfig("sgd", lr=0.1, momentum=0.0, weight_decay=0.0, schedule="constant")
BATCHES = 5


def make_split(n: int, rng: np.random.Generator) -> Split:
    target = np.minimum(rng.integers(12, size=n), 2)  # classes 0 and 1 are rare
    a, b = (rng.normal(size=(n, d)).astype(np.float32) for d in (5, 4))
    a[np.arange(n), target] += 1.5
    b[np.arange(n), target] += 1
    return Split({"a": a, "b": b}, target)


@pytest.fixture(scope="module")
def data() -> MultimodalData:
    rng = np.random.default_rng(0)
    info = DataInfo("toy", (Modality("a", "vector", (5,)), Modality("b", "vector", (4,))), "multiclass", 3)
    return MultimodalData(info, *(make_split(n, rng) for n in (32 * BATCHES, 90, 90)))


def config(method: str = "uniform", **changes: Any) -> RunConfig:
    """A run of 4 epochs; keyword arguments replace settings of the section that has them."""
    sections: dict[str, Any] = {
        "model": ModelConfig(width=8),
        "optim": SGD,
        "fit": FitConfig(epochs=4, batch_size=32, accelerator="cpu"),
    }
    for name, section in sections.items():
        own = {k: changes.pop(k) for k in list(changes) if hasattr(section, k)}
        sections[name] = replace(section, **own)
    return replace(RunConfig("toy", method, rule="fused", **sections), **changes)


class Steps(Callback):
    """Remembers learning rates before each batch, and the parameters after it."""

    def __init__(self) -> None:
        self.rates: list[list[float]] = []
        self.weights: list[dict[str, Tensor]] = []

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: object, batch_idx: int) -> None:
        if not self.weights:
            self.weights.append(self._weights(pl_module))
        self.rates.append([group["lr"] for group in trainer.optimizers[0].param_groups])

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: object, batch: object, batch_idx: int) -> None:
        self.weights.append(self._weights(pl_module))

    @staticmethod
    def _weights(pl_module: Any) -> dict[str, Tensor]:
        return {name: p.detach().clone() for name, p in pl_module.model.named_parameters()}

    def moved(self, step: int) -> dict[str, Tensor]:
        return {name: w - self.weights[step][name] for name, w in self.weights[step + 1].items()}


def steps_of(data: MultimodalData, settings: RunConfig) -> Steps:
    steps = Steps()
    fit(data, settings, callbacks=[steps], curves=False)
    return steps


def length(change: dict[str, Tensor]) -> float:
    return float(torch.cat([x.flatten() for x in change.values()]).norm())


# -- each option -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_warmup_rises_linearly_to_the_schedule(data: MultimodalData, schedule: str) -> None:
    rates = [r for (r,) in steps_of(data, config(schedule=schedule, warmup=1.6)).rates]
    steps = round(1.6 * BATCHES)
    for k, rate in enumerate(rates):
        factor = 0.5 * (1 + math.cos(math.pi * (k // BATCHES) / 4)) if schedule == "cosine" else 1.0
        assert rate == pytest.approx(0.1 * factor * min(1, (k + 1) / steps)), k


def test_gradients_are_clipped_to_a_norm(data: MultimodalData) -> None:
    free, clipped = steps_of(data, config()), steps_of(data, config(clip=0.05))
    assert min(length(free.moved(k)) for k in range(BATCHES)) > 0.1 * 0.05
    for k in range(2 * BATCHES):
        assert length(clipped.moved(k)) == pytest.approx(0.1 * 0.05, rel=1e-3)
    first = torch.cat([x.flatten() for x in free.moved(0).values()])
    shortened = torch.cat([x.flatten() for x in clipped.moved(0).values()])
    assert torch.allclose(shortened / shortened.norm(), first / first.norm(), atol=1e-3), "the direction stays"


def test_parts_have_learning_rates_of_their_own(data: MultimodalData) -> None:
    plain = steps_of(data, config(epochs=1)).moved(0)
    rates = {"encoders": 0.2, "b": 0.01, "heads": 0.3}
    moved = steps_of(data, config(epochs=1, rates=rates)).moved(0)
    factors = {"encoder_a": 2.0, "encoder_b": 0.1, "head_a": 3.0, "head_b": 3.0, "fusion": 1.0}
    for name, x in moved.items():
        factor = next(f for part, f in factors.items() if part in name)
        assert torch.allclose(x, factor * plain[name], rtol=1e-3, atol=1e-6), name
    with pytest.raises(ConfigError, match="vision"):
        fit(data, config(rates={"vision": 0.1}))


def test_frozen_parts_stay_with_their_statistics(data: MultimodalData) -> None:
    settings = config(frozen=("a", "heads"))
    start, fitted = assemble(data, settings)[0].state_dict(), fit(data, settings, curves=False).model.state_dict()
    assert any("num_batches_tracked" in name for name in start)
    for name, x in start.items():
        frozen = "encoder_a" in name or "head_" in name
        assert torch.equal(x, fitted[name]) == frozen, name


def test_what_cannot_be_frozen_is_refused(data: MultimodalData) -> None:
    with pytest.raises(ConfigError, match="Did you mean `encoders`"):
        fit(data, config(frozen=("encoder",)))
    with pytest.raises(ConfigError, match="replaces the fusion"):
        fit(data, config("aug", frozen=("fusion",)))
    with pytest.raises(ConfigError, match="Nothing is trained"):
        fit(data, config(frozen=("encoders", "heads", "fusion")))


def test_checkpointing_keeps_less_and_changes_nothing(data: MultimodalData) -> None:
    batch = data.train.batch(torch.arange(64))
    kept = []
    for on in (False, True):
        model = assemble(data, config(checkpointing=on, width=64))[0]
        sizes: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(lambda x, s=sizes: s.append(x.nbytes) or x, lambda x: x):
            model.train()
            model.encode(batch.inputs)
        kept.append(sum(sizes))
    assert kept[1] < 0.5 * kept[0]


@pytest.mark.parametrize("method", ["ogm-ge", "m-sam", "mla", "mmpareto", "arm"])
def test_checkpointing_is_bit_equal(data: MultimodalData, method: str) -> None:
    plain, again = (fit(data, config(method, checkpointing=on, epochs=2), curves=False) for on in (False, True))
    assert plain.history == again.history
    for (name, x), y in zip(plain.model.state_dict().items(), again.model.state_dict().values(), strict=True):
        assert torch.equal(x, y), name


class Marked(nn.Module):
    """An encoder whose features are zeros where it runs compiled."""

    def __init__(self, shape: tuple[int, ...], feature_dim: int) -> None:
        super().__init__()
        self.linear, self.feature_dim = nn.Linear(*shape, feature_dim), feature_dim

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.linear(x)
        return 0 * y if torch.compiler.is_compiling() else y


def test_encoders_are_compiled_and_compute_the_same(data: MultimodalData) -> None:
    compiled = fit(data, config("mmpareto", compile="aot_eager", epochs=2), curves=False)
    plain = fit(data, config("mmpareto", epochs=2), curves=False)
    assert compiled.history[TOTAL_LOSS] == pytest.approx(plain.history[TOTAL_LOSS], rel=1e-4)
    marked = config(compile="aot_eager", epochs=1, encoders=dict.fromkeys("ab", f"{__name__}:Marked"))
    steps = steps_of(data, marked)
    assert not any(steps.moved(0)[name].any() for name in steps.weights[0] if "encoder" in name and "weight" in name)
    outputs, _ = collect(fit(data, marked, curves=False).model, data.val.batches(64))
    assert outputs.features["a"].any(), "the model that is returned runs uncompiled"


def test_the_average_of_the_weights_is_validated_and_kept(data: MultimodalData, tmp_path: Path) -> None:
    decay, steps = 0.8, Steps()
    fitted = fit(data, config(ema=decay), folder=tmp_path, callbacks=[steps], curves=False)
    averages, average = [], steps.weights[1]
    for k, weights in enumerate(steps.weights[1:], start=1):
        if k > 1:
            average = {name: decay * w + (1 - decay) * weights[name] for name, w in average.items()}
        if k % BATCHES == 0:
            averages.append(average)
    for name, p in fitted.model.named_parameters():
        assert torch.allclose(p, averages[fitted.best_epoch][name], atol=1e-5), name
        assert not torch.equal(p, steps.weights[(fitted.best_epoch + 1) * BATCHES][name])
    outputs, target = collect(fitted.model, data.val.batches(64))
    nll = -fitted.model.task.log_likelihood(outputs.logits, target).mean()
    assert fitted.history[CurveId("score", "nll")][fitted.best_epoch] == pytest.approx(float(nll), rel=1e-4)


# -- class weights -----------------------------------------------------------------------------------------------------


def test_balanced_weights_are_those_of_scikit_learn() -> None:
    sklearn = pytest.importorskip("sklearn.utils.class_weight")
    target = torch.tensor([0, 0, 0, 1, 3, 3])
    weights = MultiClass(4).balanced_weights(target)
    expected = sklearn.compute_class_weight("balanced", classes=np.array([0, 1, 3]), y=target.numpy())
    assert [weights[k] for k in (0, 1, 3)] == pytest.approx(list(expected))
    assert weights[2] == 1.0
    assert torch.tensor(weights)[target].mean() == pytest.approx(1.0)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_weighted_losses_are_those_of_repeated_samples(smoothing: float) -> None:
    generator = torch.Generator().manual_seed(0)
    logits, target = torch.randn(7, 3, generator=generator), torch.tensor([0, 1, 2, 2, 1, 0, 2])
    task = MultiClass(3, smoothing).with_class_weights((2, 1, 3))
    repeated = torch.arange(7).repeat_interleave(torch.tensor([2, 1, 3])[target])
    expected = nn.functional.cross_entropy(
        logits[repeated], target[repeated], label_smoothing=smoothing, reduction="sum"
    )
    assert torch.allclose(task.loss(logits, target), expected / 7)
    assert torch.equal(task.log_likelihood(logits, target), MultiClass(3).log_likelihood(logits, target))
    same = MultiClass(3, smoothing)
    assert torch.allclose(same.losses(logits, target).mean(), same.loss(logits, target))


@pytest.mark.parametrize("task", [MultiLabel(3), Regression(1)])
def test_tasks_without_classes_refuse_class_weights(task: Any) -> None:
    with pytest.raises(ConfigError, match=task.name):
        task.balanced_weights(torch.zeros(3, 1))
    with pytest.raises(ConfigError, match=r"3 classes\. Found 2"):
        MultiClass(3, class_weights=(1, 2))


OTHER_TERMS = {
    "lfm": "an alignment of the modalities",
    "lfm-official": "an alignment of the modalities",
    "mbsd": "a distance between the modalities",
    "mbsd-toolkit": "a distance between the modalities",
    "umt": "a distance to the teachers",
    "g2d": "a distance to the teachers",
    "pdf": "the error of a confidence",
    "qmf": "an order of confidences",
    "cml": "an order of confidences",
    "mcr": "a mutual information and a contrast of features",
    "cggm": "an alignment of gradients",
    "crmt": "a margin between classes",
}
"""Methods with a term without a label, which a weight of zero leaves."""


@pytest.mark.parametrize("name", sorted(n for n in METHODS if not METHODS[n].load().unweighted))
def test_a_class_of_weight_zero_teaches_nothing(data: MultimodalData, name: str) -> None:
    """So every cross-entropy of a method has the weights of the task, in its first step and in a later one."""
    chosen = torch.from_numpy(np.flatnonzero(data.train.target == 2))
    held_out = data.train.batch(torch.arange(60))
    for epoch in (0, 2):
        settings = config(name, class_weights=(1.0, 1.0, 0.0), method_args=dict(METHODS[name].early))
        teachers = {r: assemble(data, config(r))[0] for r in METHODS[name].load().requires}
        model, method, _ = assemble(data, settings, teachers)
        with torch.no_grad():
            for number in {0, epoch}:
                context = EpochContext(number, 4, lambda: [data.train.batch(torch.arange(96))], lambda: [held_out])
                torch.manual_seed(0)
                with torch.enable_grad():
                    method.on_epoch_start(model, context)
        batch = data.train.batch(chosen[:32])
        _ = next(iter(method.steps(model, batch)))
        largest = max((float(p.grad.abs().max()) for p in model.parameters() if p.grad is not None), default=0.0)
        assert largest < 1e-6 or name in OTHER_TERMS, f"epoch {epoch}: a gradient of {largest:.2g}"


def test_balanced_classes_find_the_rare_ones(data: MultimodalData) -> None:
    recalls = []
    for weights in ("none", "balanced"):
        fitted = fit(data, config(class_weights=weights, epochs=8), curves=False)
        outputs, target = collect(fitted.model, data.test.batches(64))
        rare = target < 2
        recalls.append(float((outputs.logits.argmax(-1) == target)[rare].float().mean()))
    assert recalls[1] > recalls[0] + 0.1


def test_a_method_that_contrasts_samples_refuses_class_weights(data: MultimodalData) -> None:
    with pytest.raises(ConfigError, match="takes no class weights"):
        fit(data, config("tcmax", class_weights="balanced"))


# -- together ----------------------------------------------------------------------------------------------------------

TOGETHER: dict[str, Any] = {
    "warmup": 1.5,
    "clip": 0.5,
    "rates": {"encoders": 0.05, "b": 0.02},
    "frozen": ("fusion",),
    "checkpointing": True,
    "class_weights": "balanced",
    "ema": 0.7,
    "schedule": "cosine",
    "momentum": 0.9,
    "patience": 3,
}


@pytest.mark.parametrize("method", ["ogm-ge", "arm", "mla"])
def test_all_options_resume_bit_for_bit(data: MultimodalData, tmp_path: Path, method: str, stop_before: Any) -> None:
    options = TOGETHER | ({"frozen": ("heads",)} if method == "mla" else {})
    settings = config(method, **options)
    settings = replace(settings, rule="dynamic" if method == "arm" else "fused")
    whole = fit(data, settings, folder=tmp_path / "whole")
    for epoch in (1, 3):
        with pytest.raises(InterruptedError):
            fit(data, settings, folder=tmp_path / "cut", callbacks=[stop_before(epoch)])
    resumed = fit(data, settings, folder=tmp_path / "cut")
    assert resumed.history == whole.history
    assert resumed.best_epoch == whole.best_epoch
    for kind in ("model", "method", "rule"):
        states = getattr(whole, kind).state_dict(), getattr(resumed, kind).state_dict()
        for (name, x), y in zip(states[0].items(), states[1].values(), strict=True):
            assert torch.equal(x, y), name


FAMILIES = (
    "joint",
    "unimodal-ensemble",
    "ogm-ge",
    "mla",
    "mmpareto",
    "separated-experts",
    "m-sam",
    "agm",
    "pmr",
    "mslr",
)


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_of_methods_trains_with_all_options(data: MultimodalData, name: str) -> None:
    options = TOGETHER | {"frozen": ("b",), "epochs": 2, "method_args": dict(METHODS[name].early)}
    fitted = fit(data, config(name, **options), curves=False)
    assert all(math.isfinite(v) for v in fitted.history[TOTAL_LOSS])
    start = assemble(data, config(name, **options))[0].state_dict()
    changed = {n for n, x in fitted.model.state_dict().items() if not torch.equal(x, start[n])}
    assert any("encoder_a" in n for n in changed)
    assert not any("encoder_b" in n for n in changed)


def test_options_are_a_part_of_the_key_and_of_the_record(data: MultimodalData, tmp_path: Path) -> None:
    base = config()
    keys = {base.key("x")}
    for name, value in (TOGETHER | {"compile": "eager", "devices": 2}).items():
        keys.add(config(**{name: value}).key("x"))
    assert len(keys) == len(TOGETHER) + 3
    settings = config(**TOGETHER | {"epochs": 2})
    run(settings, tmp_path, data=data)
    assert read_config(next(tmp_path.rglob("config.yaml"))) == settings


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: OptimConfig(warmup=-1.0), "`warmup`"),
        (lambda: OptimConfig(clip=-1.0), "`clip`"),
        (lambda: OptimConfig(rates={"a": 0.0}), "`rates.a`"),
        (lambda: FitConfig(ema=1.0), "`ema`"),
        (lambda: FitConfig(compile="fastest"), "`compile`"),  # type: ignore[arg-type]
        (lambda: FitConfig(class_weights="rare"), "`class_weights`"),  # type: ignore[arg-type]
        (lambda: FitConfig(class_weights=(1.0, -1.0)), "`class_weights`"),
        (lambda: ModelConfig(checkpointing="yes"), "`checkpointing`"),  # type: ignore[arg-type]
    ],
)
def test_wrong_values_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()
