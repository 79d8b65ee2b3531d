"""Checks of what a training loop relies on: hyper-parameters, preparation, steps and devices."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from counterpoise.errors import ConfigError
from counterpoise.inference import predict
from counterpoise.methods.checks._loop import differing, rule_of, start_epoch, train, weights_of
from counterpoise.methods.checks._result import CheckFailedError, NotApplicableError, expect
from counterpoise.methods.checks._subject import Subject
from counterpoise.methods.passes import batch_rows
from counterpoise.records import StepRecord


def check_hyperparameters(subject: Subject) -> None:
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


def check_steps(subject: Subject, modalities: int) -> None:
    """Check that each step fills finite gradients, leaves the batch unchanged and yields a record without a graph."""
    model, batches = subject.model(modalities), subject.batches(modalities)
    method, model = subject.prepared(model, batches)
    before = copy.deepcopy(batches[0])
    start_epoch(method, model, 0, batches)
    count = 0
    for record in method.steps(model, batches[0]):
        count += 1
        check_record(record)
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


def check_record(record: StepRecord) -> None:
    named = {"loss": record.loss, **record.parts, **record.coefficients}
    for name, value in named.items():
        expect(
            isinstance(value, Tensor) and value.shape == () and value.is_floating_point(),
            f"`{name}` of the record should be a tensor with one floating-point number. Found {value!r}.",
        )
        expect(not value.requires_grad, f"`{name}` of the record should be detached. Found a tensor with a graph.")
    expect(bool(record.loss.isfinite()), f"The loss should be finite. Found {record.loss.item()}.")


def check_own_model(subject: Subject) -> None:
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


def check_small_batches(subject: Subject) -> None:
    """Check that a batch of one sample and a batch without one of the classes give finite weights."""
    batches = subject.batches()
    method, model = subject.prepared(subject.model(), batches)
    one, other = batches[0], batches[1]
    odd = [batch_rows(one, torch.arange(1)), batch_rows(other, (other.target != 0).nonzero().flatten())]
    for record in train(method, model, odd):
        expect(bool(record.loss.isfinite()), f"The loss should be finite. Found {record.loss.item()}.")
    broken = [name for name, p in weights_of(model).items() if not bool(p.isfinite().all())]
    expect(not broken, f"Weights should be finite. Found values that are not in the {', '.join(broken[:3])}.")


def check_frozen(subject: Subject) -> None:
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


def check_predictions(subject: Subject) -> None:
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


def check_device(subject: Subject) -> None:
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
