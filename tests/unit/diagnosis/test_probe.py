"""What is done to a model's inputs, and what is read from its predictions."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from counterpoise.corruptions import Corruption
from counterpoise.diagnosis import adapt
from counterpoise.diagnosis._calls import CORRUPTIONS, Predictor
from counterpoise.diagnosis._loader import collect
from counterpoise.diagnosis._matrices import as_matrix
from counterpoise.errors import ModelError
from counterpoise.tasks import MultiClass, Regression, Task


def predictor(
    model: Any, inputs: dict[str, Any], task: Task | None = None, n: int | None = None, **options: Any
) -> Predictor:
    n = n or len(next(iter(inputs.values())))
    samples, adapter = collect([(inputs, torch.zeros(n))], adapt(model))
    made = Predictor(adapter, samples, **options)
    made.task = task or Regression(1)
    made.whole()
    return made


def test_partial_predictions_of_an_additive_model_are_exact_up_to_a_constant() -> None:
    torch.manual_seed(0)
    inputs = {m: torch.randn(50, 3, dtype=torch.float64) for m in "abc"}

    def model(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
        return a.exp() + 30 * b + c**2

    made = predictor(model, inputs, Regression(3), size=7)
    torch.testing.assert_close(made.outputs, model(**inputs))
    background = made.background(3)
    for known, exact in [("a", inputs["a"].exp()), ("ac", inputs["a"].exp() + inputs["c"] ** 2)]:
        subset = frozenset(known)
        offset = made.partials([subset], background, [1.0])[subset].logits - exact
        torch.testing.assert_close(offset, offset[:1].expand_as(offset))


def test_a_mixture_is_the_mean_of_the_probabilities() -> None:
    torch.manual_seed(0)
    inputs = {m: torch.randn(20, 2) for m in "ab"}
    made = predictor(lambda a, b: a * b, inputs, MultiClass(2), size=8)
    partial = made.partials([frozenset("a")], made.background(20), [2.0])[frozenset("a")]
    expected = torch.stack([(2 * inputs["a"] * b).double().softmax(-1) for b in inputs["b"]]).mean(0)
    torch.testing.assert_close(partial.mixtures[2.0].softmax(-1), expected)
    torch.testing.assert_close(partial.logits, (inputs["a"] * inputs["b"].mean(0)).double())


def test_a_model_that_does_not_keep_its_side_is_refused() -> None:
    inputs = {"a": torch.ones(4, 2), "b": torch.ones(4, 2)}
    with pytest.raises(ModelError, match="Found 1 for 4"):
        predictor(lambda a, b: (a + b)[:1], inputs)
    with pytest.raises(ModelError, match="NaN or inf in 4 of 4 samples, the first is 0"):
        predictor(lambda a, b: torch.log(a - b - 1), inputs).check_finite()
    with pytest.raises(ModelError, match="different predictions"):
        predictor(lambda a, b: a + torch.randn(4, 2), inputs)


def test_a_model_whose_rows_interact_keeps_the_loaders_batches() -> None:
    torch.manual_seed(0)
    a, b = torch.randn(12, 2), torch.randn(12, 2)
    loader = [({"a": a[r], "b": b[r]}, torch.zeros(len(r))) for r in torch.arange(12).split(4)]
    model = lambda a, b: a - a.mean(0) + b  # noqa: E731
    samples, adapter = collect(loader, adapt(model))
    made = Predictor(adapter, samples, size=12)
    expected = torch.cat([model(**inputs) for inputs, _ in loader])
    torch.testing.assert_close(made.whole(), expected.double())
    assert made.notes
    samples, adapter = collect(loader, adapt(model), limit=9)
    with pytest.raises(ModelError, match="cannot be reproduced"):
        Predictor(adapter, samples, size=12).whole()


def test_another_samples_input_replaces_all_rows_also_on_disk_and_in_batches_of_differing_length() -> None:
    inputs = {"a": torch.arange(30.0)[:, None], "b": torch.ones(30, 1)}
    made = predictor(lambda a, b: a, inputs, size=7)
    shuffled = made.corrupted("a", Corruption("permute"))
    assert shuffled is not None
    assert (shuffled[:, 0] != torch.arange(30)).all()
    assert sorted(shuffled[:, 0].tolist()) == list(range(30))
    loader = [({"a": torch.full((4, k), float(k)), "b": torch.ones(4, 1)}, torch.zeros(4)) for k in (2, 3, 5)]
    samples, adapter = collect(loader, adapt(lambda a, b: a.mean(1, keepdim=True)))
    ragged = Predictor(adapter, samples, size=4)
    ragged.task = Regression(1)
    ragged.whole()
    swapped = ragged.corrupted("a", Corruption("permute"))
    assert swapped is not None
    assert (swapped != ragged.outputs).all()


def echo(values: list[Tensor]) -> Any:
    """Return a model that remembers its first input and has one output per sample."""

    def model(a: Any, b: Tensor) -> Tensor:
        values.append(a)
        return b[:, :1]

    return model


@pytest.mark.parametrize("corruption", CORRUPTIONS, ids=str)
def test_corruptions_touch_one_modality_and_not_the_originals(corruption: Corruption) -> None:
    torch.manual_seed(0)
    inputs = {"a": torch.randn(4000, 2) * torch.tensor([1.0, 10.0]), "b": torch.ones(4000, 1)}
    before = inputs["a"].clone()
    values: list[Tensor] = []
    made = predictor(echo(values), inputs, size=4000)
    values.clear()
    made.corrupted("a", corruption)
    made.corrupted("a", corruption)
    a, again = values
    torch.testing.assert_close(inputs["a"], before)
    torch.testing.assert_close(a, again)
    if corruption.kind == "zeros":
        assert not a.any()
    elif corruption.kind == "mean":
        torch.testing.assert_close(a, before.mean(0).expand(4000, 2))
    elif corruption.kind == "permute":
        assert not torch.equal(a, before)
        torch.testing.assert_close(a.sort(0).values, before.sort(0).values)
        assert {tuple(row) for row in a.tolist()} == {tuple(row) for row in before.tolist()}  # whole rows move
    else:
        noise = (a - before).std(0) / before.std(0)
        torch.testing.assert_close(noise, torch.full((2,), corruption.strength), rtol=0.05, atol=0)


def test_tokens_can_be_zeroed_but_have_no_mean_and_masks_stay() -> None:
    text = {"input_ids": torch.tensor([[5, 6], [7, 0]]), "attention_mask": torch.tensor([[1, 1], [1, 0]])}
    values: list[Any] = []
    made = predictor(echo(values), {"a": text, "b": torch.ones(2, 1)}, n=2)
    values.clear()
    made.corrupted("a", Corruption("zeros"))
    assert values[0]["input_ids"].tolist() == [[0, 0], [0, 0]]
    assert values[0]["attention_mask"].tolist() == text["attention_mask"].tolist()
    assert made.corrupted("a", Corruption("mean")) is None
    assert made.corrupted("a", Corruption("noise")) is None
    made.corrupted("a", Corruption("permute"))
    swapped = values[-1]
    assert swapped["attention_mask"].sum(1).tolist() == (swapped["input_ids"] > 0).sum(1).tolist()


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
