from __future__ import annotations

import pytest
import torch

from counterpoise.errors import DataError
from counterpoise.records import Batch, Outputs, batch_size


def test_a_batch_whose_modalities_differ_in_size_is_refused_naming_both() -> None:
    with pytest.raises(DataError, match=r"`image`: 4, `text`: 3"):
        batch_size({"image": torch.zeros(4, 2), "text": {"ids": torch.zeros(3, 7)}})


def test_a_batch_without_modalities_is_refused() -> None:
    with pytest.raises(DataError, match="no modality"):
        Batch({}, torch.zeros(0), torch.zeros(0))


@pytest.mark.parametrize(("targets", "indices"), [(3, 4), (4, 3)])
def test_targets_and_indices_have_one_entry_per_sample(targets: int, indices: int) -> None:
    with pytest.raises(DataError, match="4 samples"):
        Batch({"a": torch.zeros(4, 1), "b": torch.zeros(4, 1)}, torch.zeros(targets), torch.zeros(indices))


def test_nested_inputs_move_together() -> None:
    batch = Batch({"a": torch.zeros(2, 3), "b": {"ids": torch.ones(2, 4)}}, torch.zeros(2), torch.arange(2))
    moved = batch.to("meta")
    assert moved.inputs["a"].device.type == "meta"
    assert moved.inputs["b"]["ids"].device.type == "meta"
    assert batch.inputs["a"].device.type == "cpu"


def test_experts_are_the_fused_logits_then_the_modalities_in_order() -> None:
    outputs = Outputs({"b": torch.zeros(1, 1)}, torch.zeros(2, 3), {"b": torch.ones(2, 3), "a": 2 * torch.ones(2, 3)})
    assert outputs.experts()[:, 0, 0].tolist() == [0, 1, 2]
