"""Checks with samples that lack modalities."""

from __future__ import annotations

from dataclasses import replace

import torch

from counterpoise.methods.checks._batches import incomplete, synthetic_batches
from counterpoise.methods.checks._contract import check_record
from counterpoise.methods.checks._loop import differing, train, weights_of
from counterpoise.methods.checks._result import NotApplicableError, expect
from counterpoise.methods.checks._subject import Subject
from counterpoise.methods.checks._training import equals_joint


def check_incomplete(subject: Subject, modalities: int) -> None:
    """Check that samples that lack modalities give finite weights, which do not depend on the absent inputs."""
    if subject.cls.incomplete is not None:
        raise NotApplicableError(f"the class says why it cannot be trained on them: {subject.cls.incomplete}")
    runs = []
    for value in (0.0, float("nan"), 1e30):
        batches = incomplete(subject.batches(modalities), value)
        held_out = incomplete(synthetic_batches(modalities, 1, seed=1), value)
        method, model = subject.prepared(subject.model(modalities), batches)
        for record in train(method, model, batches, range(3), held_out=held_out):
            check_record(record)
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


def check_incomplete_limit(subject: Subject) -> None:
    """Check that with ``strength=0`` the weights are those of joint training on samples that lack modalities, bit for
    bit.
    """
    equals_joint(subject, incomplete(subject.batches(), 0.0))


def check_complete(subject: Subject) -> None:
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
