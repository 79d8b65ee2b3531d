"""Numbers that cannot be: every interval of information lies between 0 and H(Y), and holds its own estimate."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from counterpoise.diagnosis import Diagnosis, diagnose, diagnose_arrays
from counterpoise.valuation import TOO_FEW, Estimate, Valuation, decompose, estimate
from counterpoise.valuation.assembly import SubsetEstimate, combine


def _clear_classes(n: int, classes: int, columns: int, seed: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return one modality that nearly tells the class among many columns, and a weak one."""
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(n) % classes)
    clear = 1.5 * np.eye(classes, columns)[y] + 0.3 * rng.normal(size=(n, columns))
    return {"clear": clear, "weak": np.eye(classes)[y] + rng.normal(size=(n, classes))}, y


def _information(v: Valuation) -> Iterator[Estimate]:
    yield from (v.joint_mi, *v.mi.values(), *v.cmi.values(), *v.subsets.values())


def _respected(e: Estimate, most: float) -> None:
    assert e.low <= e.value <= e.high
    assert e.value <= most
    assert e.low >= min(0.0, e.value)
    assert e.high <= most


@pytest.mark.parametrize("estimator", ["variational", "variational-linear", "gaussian"])
@pytest.mark.parametrize(("n", "classes", "columns"), [(60, 2, 3), (120, 12, 12), (90, 3, 60)])
def test_intervals_of_information_lie_between_0_and_the_entropy(
    n: int, classes: int, columns: int, estimator: str
) -> None:
    if estimator == "gaussian" and columns > 3:
        pytest.skip("needs more samples than columns")
    features, y = _clear_classes(n, classes, columns, 0)
    v = estimate(features, y, estimator=estimator)
    assert v.joint_mi.value > 0.5 * v.entropy
    for e in _information(v):
        _respected(e, v.entropy)
    assert v.co_information is not None
    assert -v.entropy <= v.co_information.low <= v.co_information.value <= v.co_information.high <= v.entropy


def test_a_table_that_tells_the_class_is_worth_the_entropy() -> None:
    """Left-out label frequencies are worse than those of the sample, so that perfect predictions seem worth more."""
    y = np.arange(60) % 5
    v = estimate({"copy": y.astype(float), "noise": np.random.default_rng(0).normal(size=60)}, y)
    assert v.mi["copy"].value == pytest.approx(v.entropy, rel=0.1)
    _respected(v.mi["copy"], v.entropy)


def test_parts_lie_between_0_and_the_entropy() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(2, size=(2, 200))
    for definition in ("imin", "broja"):
        for part in decompose({"a": a, "b": b}, a ^ b, definition=definition).values():
            for e in (part.redundant, part.unique, part.unique_rest, part.synergistic):
                assert e.low <= e.value <= e.high
                assert e.low >= min(0.0, e.value)
                assert e.high <= max(np.log(2), e.value)


def test_real_targets_without_noise_end_at_the_noise_floor() -> None:
    x = np.random.default_rng(0).normal(size=(200, 2))
    v = estimate({"a": x[:, :1], "b": x[:, 1:]}, x.sum(1))
    floor = -0.5 * np.log(1e-4)
    assert v.joint_mi.high == pytest.approx(floor)
    both = estimate({"a": x[:, :1], "b": x[:, 1:]}, np.stack([x.sum(1), x[:, 0] - x[:, 1]], 1))
    assert both.joint_mi.value <= 2 * floor + 1e-9
    assert both.joint_mi.high <= 2 * floor + 1e-9


@pytest.fixture(scope="module")
def remembering() -> Diagnosis:
    """Classifiers on the inputs remember their samples, those on the features do not."""
    features, y = _clear_classes(240, 12, 100, 1)
    inputs = {m: torch.from_numpy(x).float() for m, x in features.items()}
    names = {"clear": "first", "weak": "second"}

    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = (torch.nn.Linear(100, 12, bias=False), torch.nn.Identity())
            with torch.no_grad():
                self.first.weight.copy_(torch.eye(12, 100))

        def forward(self, clear: Tensor, weak: Tensor) -> Tensor:
            return 6.0 * self.first(clear) + self.second(weak)

    return diagnose(Model(), [(inputs, torch.from_numpy(y))], features=names, damage=False)


def test_intervals_of_a_diagnosis_respect_the_limits(remembering: Diagnosis) -> None:
    most = remembering.valuation.entropy
    for e in _information(remembering.valuation):
        _respected(e, most)
    for evidence in remembering.evidence.values():
        for e in (evidence.mi, evidence.cmi, evidence.realised, evidence.joint, evidence.encoder):
            assert e is not None
            _respected(e, most)
        for e in (evidence.lost, evidence.lost_cmi, evidence.shortfall, evidence.joint_lost):
            assert e is not None
            assert -most <= e.low <= e.value <= e.high <= most


def test_available_information_is_not_less_certain_than_that_in_the_features(remembering: Diagnosis) -> None:
    evidence = remembering.evidence["clear"]
    assert evidence.encoder is not None
    assert evidence.mi.high - evidence.mi.low <= 1.2 * (evidence.encoder.high - evidence.encoder.low)


def test_the_doubt_about_one_source_cancels_in_differences() -> None:
    points = np.random.default_rng(0).normal(size=(2, 100))
    same = [SubsetEstimate(x, bias=0.3, source="inputs") for x in points]
    other = SubsetEstimate(points[1], bias=0.3, source="features")
    paired = combine([(1.0, same[0]), (-1.0, same[1])])
    apart = combine([(1.0, same[0]), (-1.0, other)])
    assert apart.se**2 - paired.se**2 == pytest.approx(2 * 0.3**2, rel=1e-6)


def test_what_was_found_out_of_sample_is_there() -> None:
    """However uncertain the correction is, the interval starts at the bound less the error of the samples."""
    points = np.random.default_rng(0).normal(1.0, 0.1, size=400)
    term = SubsetEstimate(points, correction=0.2, bias=0.5, floor=float(points.mean()))
    e = combine([(1.0, term)], least=0.0, most=2.0)
    assert e.low == pytest.approx(points.mean(), abs=0.05)
    assert e.high > 1.8


def test_a_number_that_cannot_be_is_not_shown() -> None:
    """Four groups support no estimate: the tables say so instead of a number, and no verdict rests on one."""
    rng = np.random.default_rng(0)
    y = rng.integers(2, size=200)
    features = {m: y[:, None] + rng.normal(size=(200, 2)) for m in "ab"}
    group = np.repeat(np.arange(4), 50)
    v = estimate(features, y, group=group, folds=3)
    assert set(v.too_few_samples) == {"mi", "mi:a", "mi:b", "cmi:a", "cmi:b"}
    assert str(v).count(TOO_FEW) == 5
    assert v._repr_html_().count(TOO_FEW) == 5
    assert v.to_pandas().query("quantity != 'co_information'").too_few_samples.all()
    d = diagnose_arrays(features, y, group=group, folds=3)
    assert {f.verdict for f in d.findings.values()} == {"undecided"}
    assert str(d).count(TOO_FEW) >= 5
    assert d.to_dict()["too_few_samples"] == list(v.too_few_samples)


@pytest.mark.parametrize("classes", [3, 12])
def test_the_seed_of_the_folds_changes_little(classes: int) -> None:
    """Penalties are mixed, not chosen, so that other folds give the same number within its interval."""
    features, y = _clear_classes(180, classes, 40, 2)
    valuations = [estimate(features, y, seed=seed) for seed in range(3)]
    for numbers in ([v.mi[m] for v in valuations] for m in features):
        values = [e.value for e in numbers]
        assert max(values) - min(values) < 2.0 * max(e.se for e in numbers)
