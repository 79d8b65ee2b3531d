"""Used information belongs to the predictions, and a model is one of the things that find available information."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from counterpoise.diagnosis import Diagnosis, DiagnosisOptions, diagnose

FAST = DiagnosisOptions(damage=False)


def two(n: int, noise: float, seed: int = 0, classes: int = 2) -> tuple[dict[str, Tensor], Tensor]:
    g = torch.Generator().manual_seed(seed)
    y = torch.randint(classes, (n,), generator=g)
    x = {m: noise * torch.randn(n, classes + 2, generator=g) for m in ("image", "text")}
    for value in x.values():
        value[:, :classes] += nn.functional.one_hot(y, classes)
    return x, y


Planted = Callable[[float], Callable[[Tensor, Tensor], Tensor]]
FORMS: dict[str, Planted] = {
    "linear": lambda w: lambda image, text: 4 * text[:, :3] + w * image[:, :3],
    "gated": lambda w: lambda image, text: 4 * text[:, :3] * (1 + w * image[:, :3].tanh()) + w * image[:, :3],
    "hidden": lambda w: lambda image, text: 4 * text[:, :3] + w * (image[:, :3] ** 3).tanh(),
}


@pytest.mark.parametrize("form", list(FORMS))
def test_used_rises_and_falls_with_the_weight_and_only_the_unused_is_accused(form: str) -> None:
    x, y = two(500, 0.5, classes=3)
    used = []
    for weight in (0.0, 1e-6, 0.1, 1.0, 4.0):
        diagnosis = diagnose(FORMS[form](weight), [(x, y)], options=FAST)
        used.append(diagnosis.evidence["image"].realised.value)  # type: ignore[union-attr]
        assert diagnosis.findings["text"].verdict == "balanced", (weight, diagnosis.findings["text"].sentence)
        if weight <= 1e-6:
            assert diagnosis.findings["image"].verdict == "under-trained"
    assert used[0] == 0
    assert abs(used[1]) < 1e-3
    assert used[1] < used[2] < used[3] < 1.05 * used[4] + 0.02


@pytest.mark.parametrize(("classes", "n"), [(2, 300), (10, 300), (25, 400)])
def test_the_exact_posterior_wastes_nothing(classes: int, n: int) -> None:
    for seed in range(2 if classes <= 10 else 1):
        g = torch.Generator().manual_seed(seed)
        centres = {m: torch.randn(classes, 6, generator=g) for m in "ab"}
        y = (torch.arange(n) % classes)[torch.randperm(n, generator=g)]
        spread = {"a": 1.0, "b": 3.0}
        x = {m: centres[m][y] + spread[m] * torch.randn(n, 6, generator=g) for m in "ab"}

        def posterior(a: Tensor, b: Tensor, centres=centres, spread=spread) -> Tensor:  # type: ignore[no-untyped-def]
            parts = zip((a, b), "ab", strict=True)
            return sum(-0.5 * (torch.cdist(v.double(), centres[m].double()) / spread[m]) ** 2 for v, m in parts)

        diagnosis = diagnose(posterior, [(x, y)], seed=seed, options=FAST)
        for m in "ab":
            lost = diagnosis.evidence[m].lost
            assert lost is not None
            assert diagnosis.findings[m].verdict != "under-trained"
            assert lost.low <= 0.05


def check_no_contradiction(diagnosis: Diagnosis) -> None:
    assert diagnosis.joint_realised is not None
    pairs = [(diagnosis.joint_realised, diagnosis.valuation.joint_mi, diagnosis.joint_available)]
    pairs += [(e.realised, diagnosis.valuation.mi[m], e.mi) for m, e in diagnosis.evidence.items()]
    for used, *available in pairs:
        for e in available:
            assert used is not None
            assert e.low <= e.value <= e.high
            if used.low > 0:
                assert used.value <= e.value
                assert used.low <= e.low
    for m, e in diagnosis.evidence.items():
        assert e.realised is not None
        assert e.realised.low <= e.mi.high, m
        assert e.mi.low <= diagnosis.valuation.entropy


@pytest.mark.parametrize("count", [2, 3])
def test_a_perfect_parity_of_modalities_is_never_uninformative(count: int) -> None:
    g = torch.Generator().manual_seed(0)
    names = "abc"[:count]
    bits = torch.randint(2, (count, 700), generator=g)
    x = {m: 0.3 * torch.randn(700, 30, generator=g) for m in names}
    for bit, m in zip(bits, names, strict=True):
        x[m][:, 0] += 2 * bit - 1

    def model(batch: dict[str, Tensor]) -> Tensor:
        odds = 4 * torch.stack([batch[m][:, 0] for m in names]).prod(0) * (-1) ** count
        return torch.stack([odds, -odds], 1)

    diagnosis = diagnose(model, [(x, bits.sum(0) % 2)], call="dict", options=FAST)
    assert {f.verdict for f in diagnosis.findings.values()} == {"balanced"}
    assert min(e.cmi.value for e in diagnosis.evidence.values()) > 0.6
    assert any("too weak" in note for note in diagnosis.notes)
    check_no_contradiction(diagnosis)


def test_information_inside_one_modality_that_no_classifier_finds() -> None:
    g = torch.Generator().manual_seed(0)
    a, b = torch.randn(600, 20, generator=g), torch.randn(600, 5, generator=g)
    y = (a[:, :4].prod(1) > 0).long()

    def model(a: Tensor, b: Tensor) -> Tensor:
        odds = 20 * a[:, :4].prod(1).sign() + 0 * b[:, 0]
        return torch.stack([-odds, odds], 1)

    diagnosis = diagnose(model, [({"a": a, "b": b}, y)], options=FAST)
    assert {m: f.verdict for m, f in diagnosis.findings.items()} == {"a": "balanced", "b": "uninformative"}
    assert diagnosis.evidence["a"].mi.value > 0.68
    check_no_contradiction(diagnosis)


@pytest.mark.parametrize("real", [False, True])
def test_a_model_shows_information_that_uncertain_classifiers_do_not_resolve(real: bool) -> None:
    """Sixty columns and two hundred samples: the estimates of classifiers are uncertain, the predictions are sharp."""
    raised = 0
    for seed in range(3):
        g = torch.Generator().manual_seed(seed)
        x, y = {m: torch.randn(200, 60, generator=g) for m in "ab"}, torch.randint(2, (200,), generator=g)
        for m, shift in (("a", 1.2), ("b", 0.7)):
            x[m][:, 0] += shift * (2 * y - 1)

        def odds(a: Tensor, b: Tensor) -> Tensor:
            return (2.4 * a[:, 0] + 1.4 * b[:, 0])[:, None]

        if real:
            result = diagnose(odds, [(x, odds(**x) + 2 * torch.randn(200, 1, generator=g))], options=FAST)
        else:
            result = diagnose(lambda a, b: torch.cat([-odds(a, b), odds(a, b)], 1) / 2, [(x, y)], options=FAST)
        check_no_contradiction(result)
        assert {f.verdict for f in result.findings.values()} == {"balanced"}
        raised += sum(e.mi.value == e.realised.value for e in result.evidence.values())  # type: ignore[union-attr]
    assert raised >= 2


def test_noise_in_the_used_information_is_not_available_information() -> None:
    for seed in range(5):
        g = torch.Generator().manual_seed(seed)
        x, y = {m: torch.randn(60, 5, generator=g) for m in "ab"}, torch.randint(2, (60,), generator=g)
        x["a"][:, 0] += 2.0 * (2 * y - 1)
        result = diagnose(lambda a, b: torch.stack([-a[:, 0], a[:, 0] + b[:, 0]], 1), [(x, y)], options=FAST)
        check_no_contradiction(result)
        assert result.findings["b"].verdict in ("uninformative", "undecided")
        assert not any("impossible" in note for note in result.notes)


def test_a_perfect_regression_is_balanced_and_a_blind_one_is_not() -> None:
    g = torch.Generator().manual_seed(0)
    audio, video = torch.randn(400, 5, generator=g), torch.randn(400, 5, generator=g)
    loader = [({"audio": audio, "video": video}, video[:, 1] - video[:, 0])]
    exact = diagnose(lambda audio, video: (video[:, 1] - video[:, 0])[:, None] + 0 * audio[:, :1], loader, options=FAST)
    assert exact.valuation.task == "regression"
    assert exact.findings["video"].verdict == "balanced"
    weak = diagnose(lambda audio, video: audio[:, :1] + 1e-6 * video[:, :1], loader, options=FAST)
    assert weak.findings["video"].verdict == "under-trained"
    assert abs(weak.evidence["video"].realised.value) < 0.02  # type: ignore[union-attr]


def test_shared_information_may_be_taken_from_both_copies() -> None:
    """Each of three copies has a third of the weight: all are used, though each alone predicts less than it could."""
    g = torch.Generator().manual_seed(0)
    y = torch.randint(2, (1000,), generator=g)
    a = torch.randn(1000, 1, generator=g) + 2 * y[:, None]
    copies = {m: a.clone() for m in "abc"}
    diagnosis = diagnose(lambda a, b, c: torch.cat([0 * a, (2 / 3) * (a + b + c) - 2], 1), [(copies, y)], options=FAST)
    assert diagnosis.verdict == "balanced", diagnosis.summary


def test_a_modality_that_changes_nothing_is_unused_though_it_can_be_decoded() -> None:
    x, y = two(600, 0.3)
    diagnosis = diagnose(lambda image, text: 5 * text[:, :2] + 1e-6 * image[:, :2], [(x, y)], options=FAST)
    e = diagnosis.evidence["image"]
    assert e.changed == 0
    assert e.decodable is not None
    assert e.decodable.value > 0.3
    assert e.realised is not None
    assert abs(e.realised.value) < 1e-3


@pytest.mark.parametrize("seed", [0, 6])
def test_more_used_than_available_is_noted_with_the_reason(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    target = torch.arange(14) % 2
    a, b = target[:, None] + torch.randn(14, 3, generator=generator), torch.randn(14, 3, generator=generator)
    diagnosis = diagnose(lambda a, b: torch.stack([0.5 - a[:, 0], a[:, 0] - 0.5], 1), [((a, b), target)], damage=False)
    for m, e in diagnosis.evidence.items():
        if e.realised.value > max(e.mi.value, 0) + 0.02:
            assert any(f"more of {m}" in note and "too few samples" in note for note in diagnosis.notes)


def test_nothing_used_is_a_plain_zero() -> None:
    inputs, target = two(200, 1.0)
    diagnosis = diagnose(
        lambda image, text: torch.cat([-image[:, :1], image[:, :1]], 1), [(inputs, target)], damage=False
    )
    used = diagnosis.evidence["text"].realised
    assert [math.copysign(1, number) for number in (used.value, used.low, used.high)] == [1, 1, 1]
    assert (used.value, used.low, used.high) == (0, 0, 0)
