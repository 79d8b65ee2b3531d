"""The table of a method's parts: all combinations, paired, and effects that a factorial design gives."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from counterpoise.report import ablation_table
from counterpoise.runs import Metric, RowId, RunRecord

PARTS = ("fusion", "loss_weights", "resampling")


def made(noise: float = 0.01) -> tuple[list[RunRecord], dict[tuple[bool, ...], np.ndarray]]:
    rng = np.random.default_rng(0)
    records, scores = [], {}
    for on in itertools.product((False, True), repeat=3):
        scores[on] = 0.7 + 0.03 * on[0] + 0.01 * on[1] + noise * rng.normal(size=5)
        arguments = {part: False for part, kept in zip(PARTS, on, strict=True) if not kept}
        for seed, value in enumerate(scores[on]):
            records.append(
                RunRecord(
                    f"{on}{seed}", "digits", RowId("arm", arguments), seed, metrics=(Metric("accuracy", float(value)),)
                )
            )
    return records, scores


def cells(page: str, start: str) -> list[str]:
    (line,) = [x for x in page.splitlines() if x.startswith(start)]
    return [c.strip() for c in line.strip("|").split("|")]


def test_there_are_all_eight_rows_with_differences_paired_by_seed() -> None:
    records, scores = made()
    page = ablation_table(records, "arm", PARTS)
    row = cells(page, "| digits | ✓ |  |  |")
    value, none, everything = scores[True, False, False], scores[False, False, False], scores[True, True, True]
    assert row[4] == f"{100 * value.mean():.1f} ± {100 * value.std(ddof=1) / 5**0.5:.1f}"
    d = 100 * (value - none)
    assert row[5] == f"{d.mean():+.1f} ± {d.std(ddof=1) / 5**0.5:.1f}"
    assert float(row[6].lstrip("<= p")) == pytest.approx(stats.ttest_rel(value, none).pvalue, abs=6e-4)
    assert row[7].startswith(f"{100 * (value - everything).mean():+.1f}")
    assert sum(line.startswith("| digits |") for line in page.splitlines()) == 8 + 3


def test_the_effect_of_a_part_is_its_mean_over_the_other_parts() -> None:
    records, scores = made()
    page = ablation_table(records, "arm", PARTS)
    for k, part in enumerate(PARTS):
        on = np.mean([v for key, v in scores.items() if key[k]], axis=0)
        off = np.mean([v for key, v in scores.items() if not key[k]], axis=0)
        d = 100 * (on - off)
        assert cells(page, f"| digits | {part} |")[2] == f"{d.mean():+.1f} ± {d.std(ddof=1) / 5**0.5:.1f}"


def test_a_row_that_is_missing_leaves_the_others() -> None:
    records, _ = made()
    page = ablation_table([r for r in records if r.row.arguments], "arm", PARTS)
    assert sum(line.startswith("| digits |") for line in page.splitlines()) == 7 + 3
    assert cells(page, "| digits | ✓ |  |  |")[7] == "–"
