"""Checks of methods from outside the library: correct ones pass, and each fault fails the check it breaks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from counterpoise.errors import ConfigError, NotFoundError
from counterpoise.methods import METHODS, Method, ModulatedObjective
from counterpoise.methods.base import Hyperparameter, Interval, backward
from counterpoise.methods.checks import CHECKS, check_method
from counterpoise.records import StepRecord


class Plain(Method):
    """Joint training without unimodal heads; the faults below are changes of it."""

    def loss(self, model: Any, batch: Any) -> Tensor:
        loss: Tensor = model.task.loss(model(batch.inputs, present=batch.present).logits, batch.target)
        return loss

    def steps(self, model: Any, batch: Any, *, backward: Any = backward) -> Iterator[StepRecord]:
        loss = self.loss(model, batch)
        backward(loss)
        yield StepRecord(loss.detach())


class KeepsTheGraph(Plain):
    def steps(self, model: Any, batch: Any, *, backward: Any = backward) -> Iterator[StepRecord]:
        loss = self.loss(model, batch)
        backward(loss)
        yield StepRecord(loss)


class StepsTwice(Plain):
    def steps(self, model: Any, batch: Any, *, backward: Any = backward) -> Iterator[StepRecord]:
        yield from super().steps(model, batch, backward=backward)
        yield from super().steps(model, batch, backward=backward)


class FillsNothing(Plain):
    def steps(self, model: Any, batch: Any, *, backward: Any = backward) -> Iterator[StepRecord]:
        yield StepRecord(self.loss(model, batch).detach())


class ReplacesTheFusion(Plain):
    def setup(self, model: Any, target: Tensor) -> None:
        model.fusion = type(model.fusion)(model.feature_dims, model.task.num_outputs)


class NoJointLimit(ModulatedObjective):
    """With strength 0 the encoders still move faster."""

    def steps(self, model: Any, batch: Any, *, backward: Any = backward) -> Iterator[StepRecord]:
        yield from super().steps(model, batch, backward=lambda loss: backward(1.5 * loss))


class Forgets(Plain):
    """A weight that grows with the epochs, and is not part of the state."""

    weight = 0.0

    def on_epoch_start(self, model: Any, epoch: Any) -> None:
        self.weight += 1.0

    def loss(self, model: Any, batch: Any) -> Tensor:
        return self.weight * super().loss(model, batch)


class Unfreezes(Plain):
    def on_epoch_start(self, model: Any, epoch: Any) -> None:
        model.eval()
        model.train()


class BreaksOnSmallBatches(Plain):
    def loss(self, model: Any, batch: Any) -> Tensor:
        outputs = model(batch.inputs)
        spread = outputs.logits.std(0).mean()  # no number for one sample
        return model.task.loss(outputs.logits, batch.target) + 0.1 / spread


class ReadsScaledGradients(ModulatedObjective):
    """Its coefficient is the norm of what waits in `.grad`."""

    def steps(self, model: Any, batch: Any, *, backward: Any = backward) -> Iterator[StepRecord]:
        for record in super().steps(model, batch, backward=backward):
            norm = torch.stack([p.grad.norm() for p in model.parameters() if p.grad is not None]).sum()
            yield StepRecord(record.loss, record.parts, {"norm": norm})


class RunningMaximum(ReadsScaledGradients):
    """An overflowed step stays in its state."""

    def setup(self, model: Any, target: Tensor) -> None:
        self.register_buffer("total", torch.zeros(()))

    def steps(self, model: Any, batch: Any, *, backward: Any = backward) -> Iterator[StepRecord]:
        for record in super().steps(model, batch, backward=backward):
            self.total.mul_(record.coefficients["norm"] * 0)  # inf * 0 is no number
            yield StepRecord(record.loss, record.parts)


class ReadsAbsentInputs(Plain):
    """It takes what stands in the place of absent inputs for inputs."""

    def loss(self, model: Any, batch: Any) -> Tensor:
        loss: Tensor = model.task.loss(model(batch.inputs).logits, batch.target)
        return loss


class WrongDevice(Plain):
    def loss(self, model: Any, batch: Any) -> Tensor:
        return (
            super().loss(model, batch) * torch.ones(1).expand(len(batch)).mean()
            + (torch.ones(len(batch)) * model(batch.inputs).logits[:, 0]).mean() * 0.0
        )


class Refuses(Plain):
    def setup(self, model: Any, target: Tensor) -> None:
        raise ConfigError("Only on Sundays.")


class Crashes(Plain):
    def loss(self, model: Any, batch: Any) -> Tensor:
        raise KeyError("lost")


class Nondeterministic(Plain):
    count = 0

    def loss(self, model: Any, batch: Any) -> Tensor:
        Nondeterministic.count += 1
        return (1 + 1 / Nondeterministic.count) * super().loss(model, batch)


class WrongDefault(Plain):
    rate = Hyperparameter(2.0, Interval(0, 1))


class MovesFrozenParameters(Plain):
    def on_epoch_start(self, model: Any, epoch: Any) -> None:
        with torch.no_grad():
            for p in model.encoder("b").parameters():
                p.mul_(0.9)


class MixesSamples(ModulatedObjective):
    """Its fused head reads features from which the mean of the batch is subtracted, in training and at test."""

    def setup(self, model: Any, target: Tensor) -> Any:
        from counterpoise.fusion import Concat

        class Centred(Concat):
            def forward(self, features: Any) -> Tensor:
                return super().forward({m: h - h.mean(0) for m, h in features.items()})

        return model.with_fusion(Centred(model.feature_dims, model.task.num_outputs))


FAULTS = {
    KeepsTheGraph: "steps, 2 modalities",
    StepsTwice: "steps, 3 modalities",
    FillsNothing: "steps, 4 modalities",
    ReplacesTheFusion: "prepare",
    NoJointLimit: "strength 0, 2 modalities",
    Forgets: "resume",
    Unfreezes: "frozen layers",
    MovesFrozenParameters: "frozen layers",
    BreaksOnSmallBatches: "small batches",
    ReadsScaledGradients: "loss scaling",
    RunningMaximum: "loss scaling",
    ReadsAbsentInputs: "incomplete samples, 2 modalities",
    WrongDevice: "device",
    Crashes: "learns",
    Nondeterministic: "deterministic",
    MixesSamples: "predictions",
}


def path_of(cls: type) -> str:
    return f"{cls.__module__}:{cls.__name__}"


@pytest.mark.parametrize("fault", FAULTS, ids=lambda cls: cls.__name__)
def test_each_fault_is_found_by_its_check(fault: type[Method]) -> None:
    results = {r.name: r for r in check_method(path_of(fault))}
    assert list(results) == list(CHECKS)
    result = results[FAULTS[fault]]
    assert result.status == "failed", [r for r in results.values() if r.status != "passed"]
    assert result.message


@pytest.mark.parametrize("name", sorted(METHODS))
def test_every_row_of_the_catalogue_passes(name: str) -> None:
    results = check_method(name)
    assert not [r for r in results if r.status == "failed"]
    assert sum(r.status == "passed" for r in results) >= 13


def test_a_plain_method_passes_and_says_what_does_not_apply() -> None:
    status = {r.name: r.status for r in check_method(path_of(Plain))}
    assert status.pop("strength 0, 2 modalities") == status.pop("strength 0, 3 modalities") == "skipped"
    assert set(status.values()) <= {"passed", "skipped"}


def test_a_refusal_is_no_fault() -> None:
    results = {r.name: r for r in check_method(path_of(Refuses))}
    assert results["learns"].status == "skipped"
    assert "Sundays" in results["learns"].message
    assert not [r for r in results.values() if r.status == "failed"]


def test_what_is_no_method_or_cannot_be_built_is_an_error() -> None:
    with pytest.raises(NotFoundError):
        check_method("no.such:Method")
    with pytest.raises(ConfigError, match="class derived from"):
        check_method("collections:OrderedDict")
    with pytest.raises(ConfigError, match="`rate`"):
        check_method(path_of(WrongDefault))


def test_the_command_line_prints_what_fails(capsys: pytest.CaptureFixture[str]) -> None:
    import json

    from counterpoise.cli.main import main

    assert main(["check", "uniform[strength=0.5]"]) == 0
    capsys.readouterr()
    assert main(["check", path_of(StepsTwice), "--json"]) == 1
    results = json.loads(capsys.readouterr().out)
    assert [r["name"] for r in results] == list(CHECKS)
    assert "alternates" in next(r["message"] for r in results if r["name"] == "steps, 2 modalities")
    assert main(["check", "unifrom"]) == 2
