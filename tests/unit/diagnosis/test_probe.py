"""What is done to a model's inputs, and what is read from its predictions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torchmetrics.functional.classification import multiclass_calibration_error

from counterpoise.diagnosis import adapt
from counterpoise.diagnosis._matrices import as_matrix
from counterpoise.diagnosis._probe import CHANGES, calibration_error, changed, partial_logits, predictions, scores
from counterpoise.errors import ModelError
from counterpoise.tasks import MultiClass, MultiLabel, Regression


def ready(model: Any, names: tuple[str, ...] = ("a", "b")) -> Any:
    return adapt(model, call="kwargs").resolve(names, positional=False)


def test_partial_predictions_of_an_additive_model_are_exact_up_to_a_constant() -> None:
    torch.manual_seed(0)
    inputs = {m: torch.randn(50, 3, dtype=torch.float64) for m in "abc"}

    def model(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
        return a.exp() + 30 * b + c**2

    found = partial_logits(ready(model, ("a", "b", "c")), inputs, donors=3, size=7, seed=0)
    torch.testing.assert_close(found.whole, model(**inputs))
    for value, exact in [
        (found.alone["a"], inputs["a"].exp()),
        (found.without["b"], inputs["a"].exp() + inputs["c"] ** 2),
    ]:
        offset = value - exact
        torch.testing.assert_close(offset, offset[:1].expand_as(offset))


def test_partial_predictions_of_two_modalities_are_each_others_rest() -> None:
    inputs = {m: torch.randn(20, 2) for m in "ab"}
    found = partial_logits(ready(lambda a, b: a * b), inputs, donors=20, size=8, seed=0)
    assert found.without["a"] is found.alone["b"]
    torch.testing.assert_close(found.alone["a"], (inputs["a"] * inputs["b"].mean(0)).double())


def test_a_model_that_does_not_keep_its_side_is_refused() -> None:
    inputs = {"a": torch.ones(4, 2), "b": torch.ones(4, 2)}
    with pytest.raises(ModelError, match="Found 1 for 4"):
        predictions(ready(lambda a, b: (a + b)[:1]), inputs, 4)
    with pytest.raises(ModelError, match="NaN or inf in 4 of 4 samples, the first is 0"):
        predictions(ready(lambda a, b: torch.log(a - b - 1)), inputs, 4)


@pytest.mark.parametrize("change", CHANGES)
def test_changes_touch_one_modality_and_not_the_originals(change: str) -> None:
    torch.manual_seed(0)
    inputs = {"a": torch.randn(4000, 2) * torch.tensor([1.0, 10.0]), "b": torch.ones(4000, 1)}
    before = inputs["a"].clone()
    found = changed(inputs, "a", change, seed=1)
    assert found is not None
    assert found["b"] is inputs["b"]
    torch.testing.assert_close(inputs["a"], before)
    a, again = found["a"], changed(inputs, "a", change, seed=1)
    assert isinstance(a, Tensor)
    assert again is not None
    torch.testing.assert_close(a, again["a"])
    if change == "zeros":
        assert not a.any()
    elif change == "mean":
        torch.testing.assert_close(a, before.mean(0).expand(4000, 2))
    elif change == "permuted":
        assert not torch.equal(a, before)
        torch.testing.assert_close(a.sort(0).values, before.sort(0).values)
        assert {tuple(row) for row in a.tolist()} == {tuple(row) for row in before.tolist()}  # whole rows move
    else:
        noise = (a - before).std(0) / before.std(0)
        torch.testing.assert_close(noise, torch.full((2,), float(change.split()[1])), rtol=0.05, atol=0)


def test_tokens_can_be_missing_but_have_no_mean_and_masks_stay() -> None:
    text = {"input_ids": torch.tensor([[5, 6], [7, 0]]), "attention_mask": torch.tensor([[1, 1], [1, 0]])}
    inputs = {"text": text, "image": torch.ones(2, 1, 4, 4)}
    missing: Any = changed(inputs, "text", "zeros")
    assert missing["text"]["input_ids"].tolist() == [[0, 0], [0, 0]]
    assert missing["text"]["attention_mask"] is text["attention_mask"]
    assert changed(inputs, "text", "mean") is None
    assert changed(inputs, "text", "noise 1") is None
    swapped: Any = changed(inputs, "text", "permuted", seed=3)
    assert swapped["text"]["attention_mask"].sum(1).tolist() == (swapped["text"]["input_ids"] > 0).sum(1).tolist()


def test_scores_equal_torchmetrics_and_hand_counts() -> None:
    torch.manual_seed(0)
    logits, target = 3 * torch.randn(500, 4, dtype=torch.float64), torch.randint(4, (500,))
    found = scores(MultiClass(4), logits, target)
    oracle = multiclass_calibration_error(logits.softmax(-1), target, 4, n_bins=15)
    assert found["ece"] == pytest.approx(float(oracle), abs=1e-6)
    assert found["accuracy"] == pytest.approx(float((logits.argmax(1) == target).double().mean()))
    assert found["nll"] == pytest.approx(float(torch.nn.functional.cross_entropy(logits, target)))
    labels = scores(MultiLabel(2), torch.tensor([[9.0, -9.0]], dtype=torch.float64), torch.tensor([[1.0, 1.0]]))
    assert labels["accuracy"] == 0.5
    assert labels["ece"] == pytest.approx(0.5, abs=1e-3)
    y = torch.randn(50, 2, dtype=torch.float64)
    assert scores(Regression(2), y, y)["r2"] == 1
    assert scores(Regression(2), y.mean(0).expand_as(y), y)["r2"] == pytest.approx(0, abs=1e-12)
    assert "ece" not in scores(Regression(2), y, y)


def test_calibration_error_at_the_ends() -> None:
    assert calibration_error(np.array([1.0, 1.0]), np.array([True, True])) == 0
    assert calibration_error(np.array([1e-9]), np.array([True])) == pytest.approx(1)


def test_matrices_of_images_tokens_and_mappings() -> None:
    image, done = as_matrix(torch.arange(24).reshape(2, 3, 4).float())
    assert (image.shape, done) == ((2, 12), "")
    ids = torch.tensor([[4, 4, 9], [9, 0, 0]])
    text, done = as_matrix({"input_ids": ids, "attention_mask": torch.ones(2, 3)})
    assert (text.tolist(), done) == ([[2.0, 1.0], [0.0, 1.0]], "token counts")
    assert as_matrix(torch.tensor([[1, 2], [3, 4]]))[0].tolist() == [[1.0, 2.0], [3.0, 4.0]]  # two columns are numbers
    assert as_matrix(torch.zeros(3, 4, dtype=torch.long))[0].shape == (3, 1)
    assert as_matrix(torch.tensor([[10**9, 1, 1], [0, 0, 3]]))[0].shape[1] <= 3


def test_wide_inputs_are_replaced_by_their_components_which_keep_the_large_directions() -> None:
    torch.manual_seed(0)
    factors = torch.randn(300, 5, dtype=torch.float64)
    wide = factors @ torch.randn(5, 2000, dtype=torch.float64) + 0.01 * torch.randn(300, 2000)
    state = torch.get_rng_state()
    matrix, done = as_matrix(wide)
    assert torch.equal(state, torch.get_rng_state())
    assert matrix.shape == (300, 128)
    assert "128 principal components of 2000 columns" in done
    fit = torch.linalg.lstsq(torch.cat([matrix[:, :5], torch.ones(300, 1)], 1), factors).solution
    residual = factors - torch.cat([matrix[:, :5], torch.ones(300, 1)], 1) @ fit
    assert residual.abs().max() < 0.01
    torch.testing.assert_close(matrix, as_matrix(wide)[0])
