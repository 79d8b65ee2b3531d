"""Every method of the catalogue on samples that lack modalities: it works on what is present, or says why it cannot."""

from __future__ import annotations

import pytest
import torch

from counterpoise.errors import DataError
from counterpoise.methods import METHODS
from counterpoise.methods.checks import Subject, incomplete, train

CONFIRMED = {"arm-official": {"labels_at_test": True}}
REFUSING = {"arm-official", "mbsd-toolkit", "tcmax"}


def test_methods_that_cannot_say_why() -> None:
    """All others pass the checks of `counterpoise.methods.checks` (see the tests of the checks)."""
    assert {name for name in METHODS if METHODS[name].load().incomplete is not None} == REFUSING & set(METHODS)


@pytest.mark.parametrize("name", sorted(REFUSING))
def test_a_refusal_names_the_reason(name: str) -> None:
    subject = Subject(name, CONFIRMED.get(name, {}))
    batches = incomplete(subject.batches(), 0.0)
    method, model = subject.prepared(subject.model(), batches)
    with pytest.raises(DataError, match=subject.cls.incomplete):
        train(method, model, batches)
    assert train(method, model, subject.batches())  # complete samples are no problem


@pytest.mark.parametrize("name", ["joint", "ogm-ge", "arm", "separated-experts", "greedy", "uncertainty-weighting"])
@pytest.mark.parametrize("task", ["regression", "multilabel"])
def test_other_tasks(name: str, task: str) -> None:
    """Absent inputs have no influence on real targets and several labels, either."""
    from dataclasses import replace

    from counterpoise.model import MultimodalClassifier

    subject = Subject(name, {})
    results = []
    for value in (0.0, float("nan")):
        batches = incomplete(subject.batches(), value)
        target = {"regression": torch.float32, "multilabel": torch.int64}[task]
        batches = [replace(b, target=torch.nn.functional.one_hot(b.target, 3).to(target)) for b in batches]
        torch.manual_seed(0)
        encoders = {m: torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.ReLU()) for m in "ab"}
        dims = dict.fromkeys("ab", 8)
        model = MultimodalClassifier(encoders, num_outputs=3, task=task, feature_dims=dims)
        method, model = subject.prepared(model, batches)
        train(method, model, batches, range(3), held_out=batches[:2])
        results.append([p.detach().clone() for p in model.parameters()])
    assert all(bool(p.isfinite().all()) for p in results[0])
    assert all(torch.equal(p, q) for p, q in zip(*results, strict=True))
