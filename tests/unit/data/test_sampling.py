"""Orders are functions of (seed, epoch); held-out parts respect groups and classes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from counterpoise.data import BatchLoader, Split, epoch_order, holdout_split
from counterpoise.errors import ConfigError, DataError


def make_split(n: int) -> Split:
    rows = np.arange(n, dtype=np.float32)
    return Split({"a": rows[:, None], "b": np.stack([rows, -rows], 1)}, np.arange(n) % 3)


def test_order_is_a_permutation_and_depends_on_seed_and_epoch_only() -> None:
    first = epoch_order(50, seed=3, epoch=2)
    torch.rand(10)  # the global generator has no say
    assert torch.equal(first, epoch_order(50, seed=3, epoch=2))
    assert first.sort().values.tolist() == list(range(50))
    assert not torch.equal(first, epoch_order(50, seed=3, epoch=3))
    assert not torch.equal(first, epoch_order(50, seed=4, epoch=2))
    assert not torch.equal(epoch_order(50, seed=2, epoch=3), epoch_order(50, seed=3, epoch=2))


def test_every_position_is_uniform_over_seeds() -> None:
    # chi-square of where sample 0 lands, 600 seeds, 5 places: mean 4, 99.9 % quantile 18.5
    places = [int((epoch_order(5, seed=s, epoch=0) == 0).nonzero()) for s in range(600)]
    counts = np.bincount(places, minlength=5)
    assert ((counts - 120) ** 2 / 120).sum() < 18.5


@pytest.mark.parametrize(
    ("n", "size", "sizes"), [(10, 4, [4, 4, 2]), (9, 4, [4, 5]), (8, 4, [4, 4]), (1, 4, [1]), (3, 1, [1, 1, 1])]
)
def test_loader_gives_every_sample_once(n: int, size: int, sizes: list[int]) -> None:
    loader = BatchLoader(make_split(n), size, seed=0)
    batches = list(loader)
    assert [len(batch) for batch in batches] == sizes
    assert len(loader) == len(sizes)
    index = torch.cat([batch.index for batch in batches])
    assert index.sort().values.tolist() == list(range(n))
    for batch in batches:  # inputs, targets and indices belong together
        assert torch.equal(batch.inputs["a"][:, 0], batch.index.float())
        assert torch.equal(batch.inputs["b"][:, 1], -batch.index.float())
        assert torch.equal(batch.target, batch.index % 3)


def test_loader_repeats_an_epoch_and_changes_between_epochs() -> None:
    loader = BatchLoader(make_split(40), 8, seed=1)
    first = torch.cat([b.index for b in loader])
    assert torch.equal(first, torch.cat([b.index for b in loader]))
    loader.set_epoch(1)
    second = torch.cat([b.index for b in loader])
    assert not torch.equal(first, second)
    resumed = BatchLoader(make_split(40), 8, seed=1)
    resumed.set_epoch(1)
    assert torch.equal(second, torch.cat([b.index for b in resumed]))


def test_indices_restrict_but_count_in_the_whole_split() -> None:
    kept = np.array([3, 5, 7, 11])
    batches = list(BatchLoader(make_split(12), 3, seed=0, indices=kept))
    index = torch.cat([b.index for b in batches])
    assert sorted(index.tolist()) == kept.tolist()
    assert torch.equal(torch.cat([b.inputs["a"][:, 0] for b in batches]), index.float())


def test_plan_replaces_the_order_with_a_generator_of_its_own() -> None:
    seen = []

    def plan(order: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        seen.append((order.clone(), torch.rand(3, generator=generator)))
        return order[:1].expand(len(order))

    loader = BatchLoader(make_split(10), 5, seed=0, plan=plan)
    index = torch.cat([b.index for b in loader])
    assert len(index) == 10
    assert index.unique().tolist() == [int(seen[0][0][0])]
    assert torch.equal(seen[0][0], epoch_order(10, 0, 0))
    list(loader)
    assert torch.equal(seen[0][1], seen[1][1])


def test_batch_size_is_checked() -> None:
    with pytest.raises(ConfigError, match="batch_size = 0"):
        BatchLoader(make_split(3), 0, seed=0)


@pytest.mark.parametrize("share", [0.1, 0.25, 0.4])
def test_holdout_is_a_stratified_partition(share: float) -> None:
    rng = np.random.default_rng(0)
    target = rng.choice(4, size=400, p=[0.7, 0.2, 0.08, 0.02])
    kept, held = holdout_split(target, None, share, seed=5)
    assert sorted([*kept, *held]) == list(range(400))
    assert len(held) == round(share * 400)
    for c in range(4):
        assert abs((target[held] == c).sum() - share * (target == c).sum()) <= 1 + share
    assert set(target[kept]) == set(target)


def test_holdout_keeps_the_only_sample_of_a_class() -> None:
    target = np.array([0] * 20 + [1])
    for seed in range(20):
        kept, _ = holdout_split(target, None, 0.5, seed=seed)
        assert 20 in kept


@pytest.mark.parametrize("groups", [2, 3, 6, 40])
@pytest.mark.parametrize("share", [0.05, 0.1, 0.5, 0.95])
def test_holdout_keeps_groups_whole(groups: int, share: float) -> None:
    rng = np.random.default_rng(groups)
    group = np.r_[np.arange(groups), rng.integers(groups, size=300)]
    target = rng.integers(3, size=len(group))
    kept, held = holdout_split(target, group, share, seed=1)
    assert len(kept)
    assert len(held)
    assert not set(group[kept]) & set(group[held])
    assert sorted([*kept, *held]) == list(range(len(group)))
    # No single group outside could come nearer by being added.
    if len(set(group[held])) > 1:
        missing = [(group == g).sum() for g in set(group[kept])]
        gap = abs(len(held) - share * len(group))
        assert len(missing) == 1 or all(abs(len(held) + m - share * len(group)) >= gap for m in missing)


def test_holdout_of_groups_varies_with_the_seed_and_repeats() -> None:
    group = np.repeat(np.arange(6), 50)
    target = np.zeros(300, dtype=np.int64)
    held = {int(group[holdout_split(target, group, 0.1, seed=s)[1]][0]) for s in range(30)}
    assert len(held) > 3
    again = holdout_split(target, group, 0.1, seed=3)[1]
    assert np.array_equal(again, holdout_split(target, group, 0.1, seed=3)[1])


def test_holdout_of_one_group_or_of_real_targets_is_by_sample() -> None:
    _, held = holdout_split(np.zeros(50, dtype=np.int64), np.zeros(50), 0.2, seed=0)
    assert len(held) == 10
    _, held = holdout_split(np.random.default_rng(0).normal(size=(50, 2)), None, 0.2, seed=0)
    assert len(held) == 10


def test_holdout_refuses_what_cannot_be() -> None:
    with pytest.raises(ConfigError, match="share = 1"):
        holdout_split(np.zeros(4, dtype=np.int64), None, 1.0, seed=0)
    with pytest.raises(DataError, match="Too few samples"):
        holdout_split(np.array([0, 1, 2]), None, 0.5, seed=0)
