"""Checks of a method, also of a user-defined one: ``counterpoise check package.module:Class``.

Every check trains a small model on synthetic batches for a few steps. Modality ``a`` is easy and the others are hard.
A check is skipped if the method raises a `CounterpoiseError` for its setting.

Example:
    >>> results = check_method("uniform")
    >>> {r.status for r in results}
    {'passed'}
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import torch
from torch import Tensor, nn

from counterpoise._tree import map_leaves
from counterpoise.errors import ConfigError, CounterpoiseError
from counterpoise.inference import Rule, make_rule, predict
from counterpoise.methods._joint import Joint
from counterpoise.methods.base import EpochContext, Method
from counterpoise.methods.catalogue import METHODS, make_method
from counterpoise.methods.passes import batch_rows
from counterpoise.model import MultimodalClassifier
from counterpoise.records import Batch, StepRecord

__all__ = ["CHECKS", "CheckResult", "check_method"]

NAMES: Final = ("a", "b", "c", "d")
CLASSES, WIDTH = 3, 6


@dataclass(frozen=True)
class CheckResult:
    """Outcome of one check.

    Attributes:
        name: Name of the check.
        status: "passed", "failed" or "skipped".
        message: Expected and actual behaviour, or the reason why the check was skipped.
    """

    name: str
    status: str
    message: str = ""


class CheckFailedError(AssertionError):
    """Raised by a check that fails."""


class NotApplicableError(Exception):
    """Raised by a check that does not apply to the method."""


def expect(condition: bool, message: str) -> None:
    """Raise `CheckFailedError` with ``message`` unless ``condition`` holds."""
    if not condition:
        raise CheckFailedError(message)


class Subject:
    """The method under test, with the small models and batches of the checks.

    Args:
        name: Name or import path of the method.
        arguments: Hyper-parameters; those with which a row of the catalogue is active early are added.
    """

    def __init__(self, name: str, arguments: Mapping[str, Any]) -> None:
        self.name = name
        entry = METHODS.get(name)
        early = {} if entry is None else entry.early
        self.arguments = {**early, **arguments}
        self.cls: type[Method] = type(self.make())

    def make(self, **changes: Any) -> Method:
        """Return a new method."""
        return make_method(self.name, {**self.arguments, **changes})

    def model(self, modalities: int = 2, *, frozen: bool = False, seed: int = 0) -> MultimodalClassifier:
        """Return a small model, the same for every call with the same arguments."""
        torch.manual_seed(seed)
        names = NAMES[:modalities]
        encoders = {m: _Encoder(frozen=frozen) for m in names}
        model = MultimodalClassifier(encoders, num_outputs=CLASSES, feature_dims=dict.fromkeys(names, 8)).train()
        for part in model.modules():
            if frozen and isinstance(part, nn.BatchNorm1d | nn.Dropout):
                part.eval()
        return model

    def batches(self, modalities: int = 2, count: int = 4) -> list[Batch]:
        """Return the training batches."""
        return synthetic_batches(modalities, count, seed=0)

    def prepared(
        self, model: MultimodalClassifier, batches: Sequence[Batch], **changes: Any
    ) -> tuple[Method, MultimodalClassifier]:
        """Return a prepared method, with untrained teachers if it needs them, and the model to train."""
        method = self.make(**changes)
        method.use_teachers({required: copy.deepcopy(model) for required in method.requires})
        return method, method.prepare(model, torch.cat([b.target for b in batches]))


def synthetic_batches(modalities: int, count: int, seed: int, size: int = 32) -> list[Batch]:
    """Return batches in which the first columns of each input carry the class, in unit noise."""
    generator = torch.Generator().manual_seed(seed)
    target = torch.randint(CLASSES, (count * size,), generator=generator)
    inputs = {}
    for m in NAMES[:modalities]:
        x = torch.randn(len(target), WIDTH, generator=generator)
        x[:, :CLASSES] += (3.0 if m == "a" else 1.0) * nn.functional.one_hot(target, CLASSES)
        inputs[m] = x
    index = torch.arange(len(target))
    return [Batch({m: x[r] for m, x in inputs.items()}, target[r], r) for r in index.split(size)]


def incomplete(batches: Sequence[Batch], value: float) -> list[Batch]:
    """Return batches whose samples lack modalities, with ``value`` instead of the absent inputs.

    Nearly half of the inputs are absent. In the second batch no sample has the last modality, and in the third one
    sample has it.
    """
    generator = torch.Generator().manual_seed(2)
    result = []
    for number, batch in enumerate(batches):
        names = batch.modalities
        masks = torch.rand(len(names), len(batch), generator=generator) > 0.45
        if number in (1, 2):
            masks[-1] = torch.arange(len(batch)) < number - 1
        masks[0] |= ~masks.any(0)
        inputs = {
            m: map_leaves(lambda z, x=x: torch.where(x.unsqueeze(1), z, value), batch.inputs[m])
            for m, x in zip(names, masks, strict=True)
        }
        result.append(replace(batch, inputs=inputs, present=dict(zip(names, masks, strict=True))))
    return result


class _Encoder(nn.Module):
    """Two linear layers, optionally with a batch norm and a dropout between them."""

    def __init__(self, *, frozen: bool) -> None:
        super().__init__()
        middle: list[nn.Module] = [nn.BatchNorm1d(12), nn.Dropout(0.5)] if frozen else []
        self.layers = nn.Sequential(nn.Linear(WIDTH, 12), *middle, nn.ReLU(), nn.Linear(12, 8))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layers(x)
        return y


def start_epoch(
    method: Method,
    model: MultimodalClassifier,
    number: int,
    batches: Sequence[Batch],
    held_out: Sequence[Batch] | None = None,
) -> None:
    """Seed the generators and start an epoch as a training loop does."""
    held = held_out or synthetic_batches(len(batches[0].modalities), 1, seed=1)
    torch.manual_seed(number)
    context = EpochContext(number, 10, train=lambda: batches, held_out=lambda: held)
    method.on_epoch_start(model, context)


def optimizer_of(method: Method, model: MultimodalClassifier) -> torch.optim.Optimizer:
    """Return an optimizer of all trainable parameters."""
    parameters = [p for p in [*model.parameters(), *method.parameters()] if p.requires_grad]
    return torch.optim.SGD(parameters, lr=1e-2, momentum=0.9)


def train(
    method: Method,
    model: MultimodalClassifier,
    batches: Sequence[Batch],
    epochs: Iterable[int] = range(2),
    optimizer: torch.optim.Optimizer | None = None,
    held_out: Sequence[Batch] | None = None,
) -> list[StepRecord]:
    """Train for some epochs; return the records of all steps."""
    optimizer = optimizer or optimizer_of(method, model)
    records = []
    for number in epochs:
        start_epoch(method, model, number, batches, held_out)
        for batch in batches:
            for record in method.steps(model, batch):
                optimizer.step()
                optimizer.zero_grad()
                records.append(record)
    return records


def rule_of(method: Method, model: MultimodalClassifier) -> Rule:
    """Return the default decision rule of the method."""
    single = method.single_modality
    return make_rule(
        method.default_rule, model.modalities, model.task, modality=single, feature_dims=model.feature_dims
    )


def weights_of(model: MultimodalClassifier) -> dict[str, Tensor]:
    """Return the weights of the encoders, the unimodal heads and the fused head, comparable across fusions."""
    parts = {f"encoder of `{m}`": model.encoder(m) for m in model.modalities}
    parts |= {f"unimodal head of `{m}`": model.head(m) for m in model.modalities} | {"fused head": model.fusion}
    weights = {}
    for name, part in parts.items():
        for k, p in enumerate(part.parameters()):
            weights[f"{name}, tensor {k}"] = p.detach().clone()
    return weights


def differing(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> list[str]:
    """Return the names of the tensors that are not equal bit for bit."""
    return [name for name, value in one.items() if name not in other or not torch.equal(value, other[name])]


# -- the checks --------------------------------------------------------------------------------------------------------


def _hyperparameters(subject: Subject) -> None:
    """Check that defaults are valid, that `repr` describes the method, and that values outside the limits are
    refused.
    """
    method = subject.make()
    rebuilt = eval(repr(method), {subject.cls.__name__: subject.cls})
    expect(repr(rebuilt) == repr(method), f"`repr` should build the method again. Found {method!r} and {rebuilt!r}.")
    for name, declared in subject.cls.declarations.items():
        try:
            subject.make(**{name: declared.limits.invalid()})
        except ConfigError:
            continue
        raise CheckFailedError(
            f"`{name} = {declared.limits.invalid()!r}` should be refused: it should be {declared.domain}."
        )


def _steps(subject: Subject, modalities: int) -> None:
    """Check that each step fills finite gradients, leaves the batch unchanged and yields a record without a graph."""
    model, batches = subject.model(modalities), subject.batches(modalities)
    method, model = subject.prepared(model, batches)
    before = copy.deepcopy(batches[0])
    start_epoch(method, model, 0, batches)
    count = 0
    for record in method.steps(model, batches[0]):
        count += 1
        _check_record(record)
        filled = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
        expect(bool(filled), "A step should fill `.grad`. Found none: call `backward(loss)` before the yield.")
        broken = [name for name, g in filled.items() if not bool(g.isfinite().all())]
        expect(not broken, f"Gradients should be finite. Found values that are not in {', '.join(broken[:3])}.")
        model.zero_grad()
    expect(count > 0, "`steps` should yield at least once per batch. Found no yield.")
    expect(
        method.alternates or count == 1,
        f"`steps` yields {count} times per batch. A method that does should set `alternates = True` in its class.",
    )
    same = all(torch.equal(before.inputs[m], x) for m, x in batches[0].inputs.items())  # type: ignore[arg-type]
    expect(same and torch.equal(before.target, batches[0].target), "The batch should not be changed by a step.")


def _check_record(record: StepRecord) -> None:
    named = {"loss": record.loss, **record.parts, **record.coefficients}
    for name, value in named.items():
        expect(
            isinstance(value, Tensor) and value.shape == () and value.is_floating_point(),
            f"`{name}` of the record should be a tensor with one floating-point number. Found {value!r}.",
        )
        expect(not value.requires_grad, f"`{name}` of the record should be detached. Found a tensor with a graph.")
    expect(bool(record.loss.isfinite()), f"The loss should be finite. Found {record.loss.item()}.")


def _own_model(subject: Subject) -> None:
    """Check that `prepare` does not change the caller's model."""
    model, batches = subject.model(), subject.batches()
    fusion, before = model.fusion, weights_of(model)
    state = torch.get_rng_state()
    subject.prepared(model, batches)
    expect(
        model.fusion is fusion, "`setup` should return `model.with_fusion(...)`. Found that it replaced `model.fusion`."
    )
    changed = differing(before, weights_of(model))
    expect(not changed, f"`setup` should not change weights. Found a change of the {', '.join(changed[:3])}.")
    torch.manual_seed(0)
    state = torch.get_rng_state()
    method = subject.make()
    method.use_teachers(dict.fromkeys(method.requires, model))
    method.prepare(model, torch.cat([b.target for b in batches]))
    expect(
        torch.equal(state, torch.get_rng_state()),
        "`setup` should draw no random numbers, so that all methods start equal. Found that it did.",
    )


def _joint_limit(subject: Subject, modalities: int) -> None:
    """Check that with ``strength=0`` the weights are those of joint training, bit for bit."""
    if "strength" not in subject.cls.declarations:
        raise NotApplicableError("it has no hyper-parameter `strength`")
    batches = subject.batches(modalities)
    reference = subject.model(modalities)
    train(Joint(), reference, batches)
    method, model = subject.prepared(subject.model(modalities), batches, strength=0.0)
    train(method, model, batches)
    changed = differing(weights_of(reference), weights_of(model))
    expect(
        not changed,
        f"`strength=0` should be joint training bit for bit. Found another {', '.join(changed[:3])}.",
    )


def _incomplete(subject: Subject, modalities: int) -> None:
    """Check that samples that lack modalities give finite weights, which do not depend on the absent inputs."""
    if subject.cls.incomplete is not None:
        raise NotApplicableError(f"the class says why it cannot be trained on them: {subject.cls.incomplete}")
    runs = []
    for value in (0.0, float("nan"), 1e30):
        batches = incomplete(subject.batches(modalities), value)
        held_out = incomplete(synthetic_batches(modalities, 1, seed=1), value)
        method, model = subject.prepared(subject.model(modalities), batches)
        for record in train(method, model, batches, range(3), held_out=held_out):
            _check_record(record)
        runs.append(weights_of(model))
    broken = [name for name, p in runs[0].items() if not bool(p.isfinite().all())]
    expect(not broken, f"Weights should be finite. Found values that are not in the {', '.join(broken[:3])}.")
    for other in runs[1:]:
        changed = differing(runs[0], other)
        expect(
            not changed,
            "Inputs of modalities that a sample lacks should have no influence. Found another "
            f"{', '.join(changed[:3])}: pass `batch.present` to the model (`model(batch.inputs, "
            "present=batch.present)`), or declare in the class why the method needs them (`incomplete`).",
        )


def _incomplete_limit(subject: Subject) -> None:
    """Check that with ``strength=0`` the weights are those of joint training on samples that lack modalities, bit for
    bit.
    """
    if "strength" not in subject.cls.declarations:
        raise NotApplicableError("it has no hyper-parameter `strength`")
    batches = incomplete(subject.batches(), 0.0)
    reference = subject.model()
    train(Joint(), reference, batches)
    method, model = subject.prepared(subject.model(), batches, strength=0.0)
    train(method, model, batches)
    changed = differing(weights_of(reference), weights_of(model))
    expect(
        not changed,
        f"`strength=0` should be joint training bit for bit. Found another {', '.join(changed[:3])}.",
    )


def _complete(subject: Subject) -> None:
    """Check that masks without a gap change nothing, bit for bit."""
    runs = []
    for masked in (False, True):
        batches = subject.batches()
        if masked:
            batches = [replace(b, present={m: torch.ones(len(b), dtype=torch.bool) for m in b.inputs}) for b in batches]
        method, model = subject.prepared(subject.model(), batches)
        train(method, model, batches)
        runs.append(weights_of(model))
    changed = differing(*runs)
    expect(not changed, f"Masks without a gap should change nothing. Found another {', '.join(changed[:3])}.")


def _acts(subject: Subject) -> None:
    """Check that the method differs from joint training with its default strength."""
    if subject.cls is Joint:
        raise NotApplicableError("it is joint training")
    batches = subject.batches()
    reference = subject.model()
    train(Joint(), reference, batches, range(8))
    method, model = subject.prepared(subject.model(), batches)
    train(method, model, batches, range(8))
    if not differing(weights_of(reference), weights_of(model)):
        raise NotApplicableError(
            "no difference from joint training within 8 epochs; if the method becomes active later, pass "
            "hyper-parameters with which it is active early, for example `[start=0]`"
        )


def _learns(subject: Subject) -> None:
    """Check that the default decision rule, or the head of the easy modality, is better than chance on the training
    batches.
    """
    batches = subject.batches(count=6)
    method, model = subject.prepared(subject.model(), batches)
    train(method, model, batches, range(12))
    rule = rule_of(method, model)
    scores: list[list[Tensor]] = [[], []]
    for batch in batches:
        with torch.no_grad():
            logits = [
                predict(model, batch.inputs, rule),
                model(batch.inputs, present=batch.present).unimodal_logits["a"],
            ]
        for values, z in zip(scores, logits, strict=True):
            values.append(model.task.sample_score(z, batch.target))
    accuracy = max(torch.cat(values).mean().item() for values in scores)
    expect(accuracy > 0.5, f"The accuracy after 12 epochs should exceed 0.5 (chance is 0.33). Found {accuracy:.2f}.")


def _deterministic(subject: Subject) -> None:
    """Check that two runs with the same seed give the same weights."""
    runs = []
    for _ in range(2):
        batches = subject.batches()
        method, model = subject.prepared(subject.model(), batches)
        train(method, model, batches, range(3))
        runs.append(weights_of(model))
    changed = differing(*runs)
    expect(not changed, f"Two runs with one seed should be equal. Found another {', '.join(changed[:3])}.")


def _resumes(subject: Subject) -> None:
    """Check that a run that is resumed from state dicts equals an uninterrupted one."""
    batches = subject.batches()
    method, model = subject.prepared(subject.model(), batches)
    train(method, model, batches, range(4))
    first, first_model = subject.prepared(subject.model(), batches)
    optimizer = optimizer_of(first, first_model)
    train(first, first_model, batches, range(2), optimizer)
    saved = copy.deepcopy([first.state_dict(), first_model.state_dict(), optimizer.state_dict()])
    second, second_model = subject.prepared(subject.model(), batches)
    second_optimizer = optimizer_of(second, second_model)
    for part, state in zip((second, second_model, second_optimizer), saved, strict=True):
        part.load_state_dict(state)  # type: ignore[attr-defined]
    train(second, second_model, batches, range(2, 4), second_optimizer)
    changed = differing(weights_of(model), weights_of(second_model))
    expect(
        not changed,
        "A resumed run should equal an uninterrupted one: keep state that lasts longer than an epoch in buffers. Found "
        f"another {', '.join(changed[:3])}.",
    )


def _small_batches(subject: Subject) -> None:
    """Check that a batch of one sample and a batch without one of the classes give finite weights."""
    batches = subject.batches()
    method, model = subject.prepared(subject.model(), batches)
    one, other = batches[0], batches[1]
    odd = [batch_rows(one, torch.arange(1)), batch_rows(other, (other.target != 0).nonzero().flatten())]
    for record in train(method, model, odd):
        expect(bool(record.loss.isfinite()), f"The loss should be finite. Found {record.loss.item()}.")
    broken = [name for name, p in weights_of(model).items() if not bool(p.isfinite().all())]
    expect(not broken, f"Weights should be finite. Found values that are not in the {', '.join(broken[:3])}.")


def _frozen(subject: Subject) -> None:
    """Check that layers in evaluation mode stay in it, and that frozen parameters do not change."""
    batches = subject.batches()
    model = subject.model(frozen=True)
    model.encoder("b").requires_grad_(False)
    method, trained = subject.prepared(model, batches)
    before = [p.clone() for p in model.encoder("b").parameters()]
    train(method, trained, batches)
    for part in trained.modules():
        if isinstance(part, nn.BatchNorm1d | nn.Dropout):
            expect(
                not part.training,
                "A layer that was frozen in evaluation mode should stay in it. Found it in training mode: use "
                "`counterpoise.model.evaluation_mode`.",
            )
    same = all(torch.equal(p, q) for p, q in zip(before, model.encoder("b").parameters(), strict=True))
    expect(same, "Parameters with `requires_grad = False` should not change. Found that they did.")


def _mixed_precision(subject: Subject) -> None:
    """Check that a step under bfloat16 autocast is finite."""
    batches = subject.batches()
    method, model = subject.prepared(subject.model(), batches)
    optimizer = optimizer_of(method, model)
    start_epoch(method, model, 0, batches)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        for record in method.steps(model, batches[0]):
            expect(bool(record.loss.isfinite()), f"The loss should be finite. Found {record.loss.item()}.")
            optimizer.step()
            optimizer.zero_grad()
    broken = [name for name, p in weights_of(model).items() if not bool(p.isfinite().all())]
    expect(not broken, f"Weights should be finite. Found values that are not in the {', '.join(broken[:3])}.")


def _loss_scaling(subject: Subject) -> None:
    """Check that scaled losses (``16-mixed``) give the same coefficients and gradients, and that an overflowing step
    has no effect.
    """
    runs = []
    for scale in (1.0, 2.0**14):
        batches = subject.batches()
        method, model = subject.prepared(subject.model(), batches)
        start_epoch(method, model, 0, batches)
        record = next(iter(method.steps(model, batches[0], backward=_scaled(scale))))
        gradients = {name: p.grad / scale for name, p in model.named_parameters() if p.grad is not None}
        runs.append((dict(record.coefficients), gradients, method, model, batches))
    (plain, expected, *_), (scaled, gradients, method, model, batches) = runs
    for name, value in plain.items():
        expect(
            torch.allclose(value, scaled[name], rtol=1e-3, atol=1e-6),
            f"Coefficient `{name}` should not depend on the loss scale. Found {value.item():.4g} and "
            f"{scaled[name].item():.4g}. Use `measured_backward` to read gradients.",
        )
    for name, g in expected.items():
        close = torch.allclose(g, gradients[name], rtol=1e-3, atol=1e-6)
        expect(close, f"Gradients should be proportional to the loss scale. Found another one for {name}.")
    model.zero_grad()
    for _ in method.steps(model, batches[1], backward=_scaled(float("inf"))):
        model.zero_grad()
    broken = [name for name, value in method.state_dict().items() if bool(value.isnan().any())]
    expect(
        not broken,
        "A step whose gradients overflow should have no effect. Found values that are not numbers in "
        f"{', '.join(broken[:3])}. Use `keep_finite`.",
    )


def _scaled(scale: float) -> Callable[[Tensor], None]:
    def backward(loss: Tensor) -> None:
        (scale * loss).backward()

    return backward


def _predictions(subject: Subject) -> None:
    """Check that the prediction for a sample does not depend on the other samples of the batch."""
    batches = subject.batches()
    method, model = subject.prepared(subject.model(), batches)
    train(method, model, batches, range(1))
    rule = rule_of(method, model)
    together = predict(model, batches[0].inputs, rule)[3:4]
    alone = predict(model, batch_rows(batches[0], torch.tensor([3])).inputs, rule)
    expect(
        torch.allclose(together, alone, rtol=1e-4, atol=1e-5),
        "The prediction for a sample should not depend on the other samples of its batch. Found that it does.",
    )


def _device(subject: Subject) -> None:
    """Check that tensors are created on the device of the inputs (with torch's meta device, which holds no data)."""
    batches = subject.batches()
    model = subject.model().to("meta")
    method = subject.make()
    method.use_teachers({required: copy.deepcopy(model) for required in method.requires})
    model = method.prepare(model, torch.cat([b.target for b in batches]))
    try:
        for _ in method.steps(model, batches[0].to("meta")):
            pass
    except RuntimeError as error:
        if "expected device" in str(error) or "same device" in str(error):
            raise CheckFailedError(
                f"Tensors should be created on the device of the inputs (`x.new_zeros(...)`). Found: {error}."
            ) from error
        raise NotApplicableError("the step reads values, which the meta device does not have") from error


CHECKS: Final[dict[str, Callable[[Subject], None]]] = {
    "hyper-parameters": _hyperparameters,
    "prepare": _own_model,
    "steps, 2 modalities": lambda subject: _steps(subject, 2),
    "steps, 3 modalities": lambda subject: _steps(subject, 3),
    "steps, 4 modalities": lambda subject: _steps(subject, 4),
    "strength 0, 2 modalities": lambda subject: _joint_limit(subject, 2),
    "strength 0, 3 modalities": lambda subject: _joint_limit(subject, 3),
    "incomplete samples, 2 modalities": lambda subject: _incomplete(subject, 2),
    "incomplete samples, 3 modalities": lambda subject: _incomplete(subject, 3),
    "incomplete samples, strength 0": _incomplete_limit,
    "incomplete samples, nothing missing": _complete,
    "acts": _acts,
    "learns": _learns,
    "deterministic": _deterministic,
    "resume": _resumes,
    "small batches": _small_batches,
    "frozen layers": _frozen,
    "bfloat16": _mixed_precision,
    "loss scaling": _loss_scaling,
    "predictions": _predictions,
    "device": _device,
}
"""The checks by name, in the order in which they run."""


def check_method(name: str, arguments: Mapping[str, Any] | None = None) -> list[CheckResult]:
    """Run all checks on a method.

    Args:
        name: Name in the catalogue, or import path of a class (``package.module:Class``).
        arguments: Hyper-parameters, for example those with which the method is active from the first epoch.

    Raises:
        NotFoundError: If there is no such method.
        ConfigError: If the class is not a method, or a hyper-parameter is wrong.
    """
    subject = Subject(name, dict(arguments or {}))
    with torch.random.fork_rng(devices=[]):
        return [_run(check, function, subject) for check, function in CHECKS.items()]


def _run(name: str, check: Callable[[Subject], None], subject: Subject) -> CheckResult:
    try:
        check(subject)
    except CheckFailedError as failure:
        return CheckResult(name, "failed", str(failure))
    except NotApplicableError as reason:
        return CheckResult(name, "skipped", str(reason))
    except CounterpoiseError as refusal:
        return CheckResult(name, "skipped", f"the method refuses: {refusal}")
    except Exception as error:  # any error of the author's code is a result, not the end of the checks
        frames = inspect.trace()
        own = next((f for f in reversed(frames) if "torch" not in f.filename), frames[-1])
        return CheckResult(name, "failed", f"{type(error).__name__}: {error} ({own.filename}:{own.lineno})")
    return CheckResult(name, "passed")
