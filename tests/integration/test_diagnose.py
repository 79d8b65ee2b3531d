"""Diagnosis from end to end: models of every shape, our own, more modalities, other tasks, and the examples."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from counterpoise.data import Split
from counterpoise.diagnosis import Diagnosis, Thresholds, adapt, diagnose
from counterpoise.errors import ConfigError, DataError, ModelError
from counterpoise.model import MultimodalClassifier
from counterpoise.records import Batch

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def batches() -> list[Batch]:
    torch.manual_seed(0)
    y = torch.randint(3, (400,))
    code = nn.functional.one_hot(y, 3).float()
    inputs = {"a": torch.randn(400, 3) + 2 * code, "b": torch.randn(400, 3) + 1.5 * code, "c": torch.randn(400, 3)}
    return [Batch({m: x[r] for m, x in inputs.items()}, y[r], r) for r in torch.arange(400).split(64)]


def test_our_model_tells_its_features_and_stays_as_it_was(batches: list[Batch]) -> None:
    torch.manual_seed(0)
    model = MultimodalClassifier({m: nn.Linear(3, 2) for m in "abc"}, num_outputs=3).train()
    optimiser = torch.optim.Adam(model.parameters(), lr=0.05)
    for _ in range(20):
        for batch in batches:
            optimiser.zero_grad()
            nn.functional.cross_entropy(model(batch.inputs).logits, batch.target).backward()
            optimiser.step()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    diagnosis = diagnose(model, batches)
    assert diagnosis.source == "features"
    assert diagnosis.modalities == ("a", "b", "c")
    assert {m: f.verdict for m, f in diagnosis.findings.items()} == {
        "a": "balanced",
        "b": "balanced",
        "c": "uninformative",
    }
    assert model.training
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert all(len(part._forward_hooks) == 0 for part in model.modules())


def test_all_ways_of_calling_give_the_same_diagnosis(batches: list[Batch]) -> None:
    torch.manual_seed(0)
    weights = torch.randn(6, 3)

    def args(a: Tensor, b: Tensor) -> Tensor:
        return torch.cat([a, b], 1) @ weights

    split = [({m: b.inputs[m] for m in "ab"}, b.target) for b in batches[:2]]
    tuples = [(x["a"], x["b"], y) for x, y in split]
    results = [
        diagnose(args, split),
        diagnose(args, tuples),
        diagnose(lambda batch: args(batch["a"], batch["b"]), split, call="dict"),
        diagnose(lambda pair: args(*pair), [((a, b), y) for a, b, y in tuples], modalities=["a", "b"]),
        diagnose(adapt(args, call="args", modalities=["a", "b"]), tuples),
    ]
    assert len({repr(d) for d in results}) == 1


def test_one_column_of_log_odds_is_two_classes(batches: list[Batch]) -> None:
    binary = [({m: b.inputs[m] for m in "ab"}, (b.target > 0).float()[:, None]) for b in batches]
    one = diagnose(lambda a, b: -(a + b)[:, :1], binary)
    two = diagnose(lambda a, b: torch.cat([torch.zeros(len(a), 1), -(a + b)[:, :1]], 1), binary)
    assert one.clean == two.clean
    assert one.clean["accuracy"] > 0.6
    assert one.verdict == two.verdict


def test_synergy_is_balanced_if_used_and_under_trained_if_not() -> None:
    torch.manual_seed(0)
    a, b = (torch.randint(2, (600, 1)).float() for _ in "ab")
    y = (a != b).long().flatten()

    def used(a: Tensor, b: Tensor) -> Tensor:
        return torch.cat([torch.zeros_like(a), 8 * (a - b) ** 2 - 4], 1)

    def unused(a: Tensor, b: Tensor) -> Tensor:
        return torch.cat([a, b], 1)

    loader = [({"a": a, "b": b}, y)]
    assert diagnose(used, loader).verdict == "balanced"
    diagnosis = diagnose(unused, loader)
    assert [f.verdict for f in diagnosis.findings.values()] == ["under-trained", "under-trained"]
    assert "to the other modalities" in diagnosis.summary
    assert diagnose(used, loader).samples.need_several.size > 500  # type: ignore[union-attr]


def test_a_copy_that_is_ignored_is_unused_information() -> None:
    torch.manual_seed(0)
    y = torch.randint(2, (500,))
    a = torch.randn(500, 1) + 2 * y[:, None]
    diagnosis = diagnose(lambda a, b: torch.cat([1 - a, a - 1], 1), [({"a": a, "b": a.clone()}, y)])
    assert diagnosis.findings["b"].verdict == "under-trained"
    assert "robustness" in diagnosis.findings["b"].sentence
    assert diagnosis.findings["b"].role == "redundant"


def test_potential_says_what_an_encoder_could_hold() -> None:
    """A sign pattern that no head on the inputs was offered: given as features it is there, and unused."""
    torch.manual_seed(0)
    x = torch.randn(600, 50)
    hidden = (x[:, 0] * x[:, 1] * x[:, 2] > 0).float()[:, None]
    y = hidden.long().flatten()
    a = y[:, None] + torch.randn(600, 1)
    loader = [({"a": a, "b": x}, y)]

    def model(a: Tensor, b: Tensor) -> Tensor:
        return torch.cat([torch.zeros_like(a), 2 * a - 1], 1)

    assert diagnose(model, loader).findings["b"].verdict in ("uninformative", "undecided")
    diagnosis = diagnose(model, loader, reference_features={"b": hidden})
    assert diagnosis.findings["b"].verdict == "under-trained"
    assert any("given as reference" in note for note in diagnosis.notes)
    with pytest.raises(DataError, match=r"600 rows, as the loader. Found 10"):
        diagnose(model, loader, reference_features={"b": hidden[:10]})


def test_several_labels_and_real_targets() -> None:
    torch.manual_seed(0)
    x = {m: torch.randn(300, 2) for m in "ab"}
    labels = (x["a"] + 0.3 * torch.randn(300, 2) > 0).float()
    several = diagnose(lambda a, b: 4 * a, [(x, labels)], task="multilabel")
    assert {m: f.verdict for m, f in several.findings.items()} == {"a": "balanced", "b": "uninformative"}
    assert set(several.clean) >= {"accuracy", "nll"}
    real = diagnose(lambda a, b: a, [(x, x["a"] + 0.5 * torch.randn(300, 2))], task="regression")
    assert {m: f.verdict for m, f in real.findings.items()} == {"a": "balanced", "b": "uninformative"}
    assert real.clean["r2"] > 0.7
    deaf = diagnose(lambda a, b: 0 * a, [(x, x["a"] + 0.5 * torch.randn(300, 2))], task="regression")
    assert deaf.findings["a"].verdict == "under-trained"


def test_a_subset_is_noted_and_positions_are_those_of_the_loader(batches: list[Batch]) -> None:
    diagnosis = diagnose(lambda a, b, c: a, batches, limit=300)
    assert diagnosis.valuation.n == 300
    assert any("300 of 400" in note for note in diagnosis.notes)
    assert diagnosis.samples is not None
    whole = torch.cat([b.target for b in batches])
    model_says = torch.cat([b.inputs["a"] for b in batches]).argmax(1)
    rows = diagnosis.samples.relies_on["a"][:30]
    assert (whole[rows] == model_says[rows]).float().mean() > 0.9


def test_thresholds_reach_the_verdict(batches: list[Batch]) -> None:
    loader = [({m: b.inputs[m] for m in "ab"}, b.target) for b in batches]
    assert diagnose(lambda a, b: 2 * a + b, loader).findings["b"].verdict == "balanced"
    strict = Thresholds(negligible=0.9, room=1.0)
    assert diagnose(lambda a, b: 2 * a + b, loader, thresholds=strict).findings["b"].verdict == "uninformative"


Y = torch.arange(40) % 2
X = {"a": torch.randn(40, 2), "b": torch.randn(40, 2)}


@pytest.mark.parametrize(
    ("loader", "options", "kind", "message"),
    [
        ([], {}, DataError, "yielded no samples"),
        ([({"a": X["a"]}, Y)], {}, DataError, "at least two modalities. Found 1: a"),
        ([(X, Y * 0)], {}, DataError, "one class"),
        ([({"a": X["a"].abs() / 0, "b": X["b"]}, Y)], {}, DataError, "`a` holds NaN or inf in 40 of 40"),
        ([(X, Y + 5)], {}, DataError, r"0\.\.1"),
        ([(X, Y)], {"task": "regression"}, DataError, "(?i)target"),
        ([(X, Y)], {"background_size": 0}, ConfigError, "`background_size` of `diagnose`"),
        ([(X, Y)], {"batch_size": 0}, ConfigError, "`batch_size` of `diagnose`"),
        (
            [(X, Y)],
            {"features": lambda batch: {"a": batch["a"]}},
            ModelError,
            "features of the modalities a, b. Found a",
        ),
        ([(X, Y)], {"class_names": ["one"]}, DataError, "2 class names. Found 1"),
    ],
)
def test_bad_input_is_refused(loader: Any, options: Any, kind: Any, message: str) -> None:
    with pytest.raises(kind, match=message):
        diagnose(lambda a, b=None: a if b is None else a + b, loader, **options)


def test_a_split_of_ours_is_a_loader() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(2, size=100)
    split = Split({m: rng.normal(size=(100, 2)).astype(np.float32) + y[:, None] for m in "ab"}, y)
    assert (
        diagnose(lambda a, b: torch.stack([-(a + b).sum(1), (a + b).sum(1) - 2], 1), split.batches(30)).valuation.n
        == 100
    )


def _run(name: str) -> Callable[..., Diagnosis]:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("name", "verdicts"),
    [
        ("diagnose_arrays", {"blood": "balanced", "scan": "balanced", "shoe_size": "uninformative"}),
        ("diagnose_concat", {"audio": "balanced", "video": "under-trained"}),
        ("diagnose_image_table", {"image": "balanced", "table": "balanced"}),
        ("diagnose_two_towers", {"image": "under-trained", "text": "under-trained"}),
    ],
)
def test_examples_say_what_they_were_written_to_show(name: str, verdicts: dict[str, str], capsys: Any) -> None:
    diagnosis = _run(name)()
    assert {m: f.verdict for m, f in diagnosis.findings.items()} == verdicts
    assert capsys.readouterr().out.startswith("Diagnosis: ")
