"""Samples that belong together: a speaker recorded four times is one speaker, not four samples."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from counterpoise.diagnosis import Diagnosis, diagnose
from counterpoise.errors import DataError

COPIES = 4


def both(a: Tensor, b: Tensor) -> Tensor:
    return torch.cat([torch.zeros_like(a), a + b - 2], 1)


def made(copies: int, *, group: bool, exact: bool = False) -> Diagnosis:
    rng = np.random.default_rng(0)
    y = rng.integers(2, size=200)
    a, b = (torch.from_numpy(rng.normal(size=(200, 1)) + y[:, None]).repeat(copies, 1) for _ in "ab")
    if not exact:
        a = a + 1e-3 * torch.from_numpy(rng.normal(size=a.shape))
    who = np.tile(np.arange(200), copies) if group else None
    target = torch.from_numpy(y).repeat(copies)
    batch = ({"a": a.float(), "b": b.float()}, target)
    return diagnose(both, [batch], group=who, estimator="variational-linear")


def test_repeated_recordings_of_one_speaker_do_not_narrow_the_intervals() -> None:
    once, grouped, naive = made(1, group=False), made(COPIES, group=True), made(COPIES, group=False)
    for m in ("a", "b"):
        alone, together, as_if = (d.evidence[m].realised.se for d in (once, grouped, naive))
        assert together == pytest.approx(alone, rel=0.15)
        assert as_if < 0.6 * alone  # what goes wrong without groups: 1 / sqrt(4)
        assert grouped.valuation.mi[m].se > 0.85 * once.valuation.mi[m].se


def test_copies_count_once_in_what_is_used_as_in_what_is_available() -> None:
    once, copied = (made(copies, group=False, exact=True) for copies in (1, COPIES))
    for m in ("a", "b"):
        for name in ("mi", "realised"):
            assert getattr(copied.evidence[m], name).se > 0.8 * getattr(once.evidence[m], name).se


def test_groups_are_in_the_loaders_order_also_for_a_subset() -> None:
    rng = np.random.default_rng(1)
    x = torch.from_numpy(rng.normal(size=(300, 1))).float()
    y = (x[:, 0] > 0).long()
    batch = [({"a": x, "b": x}, y)]
    with pytest.raises(DataError, match="group should have 300 rows"):
        diagnose(both, batch, group=np.arange(299))
    diagnosis = diagnose(both, batch, group=np.arange(300) // 2, limit=100, estimator="variational-linear")
    assert diagnosis.valuation.n == 100
