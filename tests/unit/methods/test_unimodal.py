"""One modality alone: which one, and that it is there."""

from __future__ import annotations

from typing import Any

import pytest

from counterpoise.errors import ModelError
from counterpoise.methods import Unimodal


@pytest.mark.parametrize(("asked", "trained"), [(None, "a"), ("a", "a"), ("b", "b")])
def test_the_modality_that_was_asked_for_is_trained_and_the_first_without_asking(
    asked: str | None, trained: str, make_model: Any, make_batches: Any
) -> None:
    model, (batch, *_) = make_model(2), make_batches(2)
    method = Unimodal(asked)
    assert method.prepare(model, batch.target) is model
    assert method.single_modality == trained
    (record,) = method.steps(model, batch)
    assert list(record.parts) == [trained]
    for m in "ab":
        learnt = [p.grad is not None for p in model.encoder_parameters(m)]
        assert learnt == [m == trained] * len(learnt)


def test_a_modality_that_is_not_there_is_refused(make_model: Any, make_batches: Any) -> None:
    with pytest.raises(ModelError, match="`smell`"):
        Unimodal("smell").prepare(make_model(2), make_batches(2)[0].target)
