"""Work of methods between epochs: rows and joins of batches, losses in evaluation mode, separate snapshots."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from counterpoise.errors import DataError
from counterpoise.methods import EpochContext, Joint
from counterpoise.methods.passes import batch_rows, concat_batches, head_losses, iterate_batches, trained_alone
from counterpoise.records import Batch


def _nested(count: int) -> Batch:
    rows = torch.arange(count)
    return Batch({"a": torch.randn(count, 2), "b": {"ids": rows + 10, "mask": rows > 1}}, rows % 3, rows)


@pytest.mark.parametrize("parts", [[5], [2, 3], [1, 1, 3]])
def test_joined_rows_are_the_batch_again(parts: list[int]) -> None:
    whole = _nested(5)
    again = concat_batches([batch_rows(whole, rows) for rows in torch.arange(5).split(parts)])
    assert torch.equal(again.inputs["a"], whole.inputs["a"])
    for key in ("ids", "mask"):
        assert torch.equal(again.inputs["b"][key], whole.inputs["b"][key])
    assert torch.equal(again.target, whole.target)
    assert torch.equal(again.index, whole.index)


def test_a_pass_that_the_loop_does_not_offer_is_refused() -> None:
    epoch = EpochContext(0, 1, train=lambda: ["train"], held_out=lambda: ["held out"])
    assert [list(iterate_batches(Joint(), epoch)), list(iterate_batches(Joint(), epoch, "held_out"))] == [
        ["train"],
        ["held out"],
    ]
    with pytest.raises(DataError, match="reads the train samples"):
        iterate_batches(Joint(), EpochContext(0, 1, held_out=epoch.held_out))
    with pytest.raises(DataError, match="reads the held-out samples"):
        iterate_batches(Joint(), EpochContext(0, 1, train=epoch.train), "held_out")


def test_losses_are_summed_in_float64(make_model: Any, make_batches: Any) -> None:
    model, batches = make_model(2), make_batches(2, size=100)
    with torch.no_grad():
        nll = [-model.task.log_likelihood(model(b.inputs).experts(), b.target) for b in batches]
    losses = head_losses(model, batches)
    assert losses.dtype == torch.float64
    torch.testing.assert_close(losses, torch.cat(nll, -1).double().mean(-1), rtol=1e-13, atol=0)


def test_losses_of_one_sample_and_of_none(make_model: Any, make_batches: Any) -> None:
    model, batches = make_model(2), make_batches(2, size=1)
    expected = -model.task.log_likelihood(model(batches[0].inputs).experts(), batches[0].target)[:, 0]
    torch.testing.assert_close(head_losses(model, batches[:1]), expected.detach().double())
    assert head_losses(model, []).tolist() == [0, 0, 0]


def test_a_snapshot_trains_in_batches_of_64_that_its_seed_shuffles(make_model: Any, make_batches: Any) -> None:
    model, (whole,) = make_model(2), make_batches(2, batches=1, size=130)
    sizes: list[int] = []
    model.encoder("a").register_forward_hook(lambda _, inputs, __: sizes.append(len(inputs[0])))

    def trained(seed: int) -> list[torch.Tensor]:
        torch.rand(1)  # wherever the global generator stands
        clone = trained_alone(model, [[whole], [whole]], "a", lr=1e-2, seed=seed)
        return [p.detach() for p in clone.parameters()]

    first, again, other = trained(1), trained(1), trained(2)
    assert sizes[:6] == [64, 64, 2] * 2
    assert all(map(torch.equal, first, again))
    assert not all(map(torch.equal, first, other))


@pytest.mark.parametrize("head", [None, "b"])
def test_only_the_head_asked_for_trains_at_its_rate_in_the_modes_of_its_layers(
    head: str | None, make_model: Any, make_batches: Any
) -> None:
    model, batches = make_model(2), make_batches(2, batches=1)
    model.encoder("a").eval()
    before, random = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    clone = trained_alone(model, [batches], head, lr=0.05, seed=0)
    assert clone.training
    assert not clone.encoder("a").training
    assert torch.equal(random, torch.get_rng_state())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    trained = model.head("b") if head else model.fusion
    after = clone.head("b") if head else clone.fusion
    change = [(p - q).abs().max().item() for p, q in zip(trained.parameters(), after.parameters(), strict=True)]
    assert max(change) == pytest.approx(0.05, rel=0.05), "the first step of Adam is as long as the learning rate"
    for m in "ab":
        same = all(map(torch.equal, model.encoder(m).parameters(), clone.encoder(m).parameters()))
        assert same is (head not in (None, m))
