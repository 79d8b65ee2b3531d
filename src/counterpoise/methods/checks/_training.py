"""Checks of what training results in: the joint limit, an effect, accuracy, and equal runs."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor

from counterpoise.inference import predict
from counterpoise.methods._joint import Joint
from counterpoise.methods.checks._loop import differing, optimizer_of, rule_of, train, weights_of
from counterpoise.methods.checks._result import NotApplicableError, expect
from counterpoise.methods.checks._subject import Subject
from counterpoise.records import Batch


def check_joint_limit(subject: Subject, modalities: int) -> None:
    """Check that with ``strength=0`` the weights are those of joint training, bit for bit."""
    equals_joint(subject, subject.batches(modalities))


def equals_joint(subject: Subject, batches: Sequence[Batch]) -> None:
    """Check that with ``strength=0`` the weights are those of joint training on the batches."""
    if "strength" not in subject.cls.declarations:
        raise NotApplicableError("it has no hyper-parameter `strength`")
    modalities = len(batches[0].modalities)
    reference = subject.model(modalities)
    train(Joint(), reference, batches)
    method, model = subject.prepared(subject.model(modalities), batches, strength=0.0)
    train(method, model, batches)
    changed = differing(weights_of(reference), weights_of(model))
    expect(
        not changed,
        f"`strength=0` should be joint training bit for bit. Found another {', '.join(changed[:3])}.",
    )


def check_acts(subject: Subject) -> None:
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


def check_learns(subject: Subject) -> None:
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


def check_deterministic(subject: Subject) -> None:
    """Check that two runs with the same seed give the same weights."""
    runs = []
    for _ in range(2):
        batches = subject.batches()
        method, model = subject.prepared(subject.model(), batches)
        train(method, model, batches, range(3))
        runs.append(weights_of(model))
    changed = differing(*runs)
    expect(not changed, f"Two runs with one seed should be equal. Found another {', '.join(changed[:3])}.")


def check_resumes(subject: Subject) -> None:
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
