"""Two processes equal one process with the double batch, for every method of the catalogue."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from processes import EPOCHS, SIZE, in_processes, incomplete, make_batches, make_model, share, train, train_all
from torch import Tensor, nn

from counterpoise import distributed, wrap
from counterpoise.errors import ModelError
from counterpoise.methods import METHODS, Method, make_method
from counterpoise.methods.base import backward, joint_step
from counterpoise.model import MultimodalClassifier
from counterpoise.records import Batch, StepRecord

ALL = sorted(METHODS)
INCOMPLETE = ("joint", "uniform", "ogm-ge", "pmr", "aug", "arm")
pytestmark = pytest.mark.skipif(not torch.distributed.is_available(), reason="torch was built without distributed")


class OneProcess(Method):
    """Joint training that refuses several processes."""

    one_process = "it is an example"

    def steps(self, model: MultimodalClassifier, batch: Batch, *, backward: Any = backward) -> Iterator[StepRecord]:
        yield from joint_step(model, batch, backward)


class Partial(Method):
    """Encodes a part of its batch only."""

    def steps(self, model: MultimodalClassifier, batch: Batch, *, backward: Any = backward) -> Iterator[StepRecord]:
        model.encode({m: x[:5] for m, x in batch.inputs.items()})  # type: ignore[index]
        yield from joint_step(model, batch, backward)


class Net(nn.Module):
    """A module with an encoder's mask, and a layer outside of its encoders that reads an input."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 8), nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8))
        self.head, self.skip = nn.Linear(8, 3), nn.Linear(6, 3)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        logits: Tensor = self.head(torch.tanh(self.first(a) * self.second(b))) + self.skip(a)
        return logits


def train_wrapped(name: str, rank: int, world: int) -> dict[str, Any]:
    torch.manual_seed(0)
    net = Net().double()
    batches = make_batches(0)
    method = make_method(name)
    model = method.prepare(
        wrap(net, encoders={"a": "first", "b": "second"}, num_outputs=3).double(),
        torch.cat([b.target for b in batches]),
    )
    optimizer = torch.optim.SGD([*model.parameters(), *method.parameters()], lr=0.05)
    for batch in batches:
        for _ in method.steps(model, share(batch, rank, world)):
            optimizer.step()
            optimizer.zero_grad()
    return net.state_dict()


def masks_of(rank: int, world: int) -> dict[str, Any]:
    """What each process draws in its encoders, and what all of them draw for the whole batch."""
    with distributed.sharing([3] * world):
        with distributed.local_randomness(torch.device("cpu")):
            own = torch.rand(4)
        with distributed.local_randomness(torch.device("cpu")):
            second = torch.rand(4)
        before = torch.get_rng_state()
        with distributed.local_randomness(torch.device("cpu")):
            pass
        assert torch.equal(before, torch.get_rng_state()), "encoders without random numbers leave the state"
    return {"own": own, "second": second, "common": torch.rand(4)}


def refusal(make: type[Method]) -> str:
    batches = make_batches(0)
    try:
        method = make()
        model = method.prepare(make_model(), torch.cat([b.target for b in batches]))
        next(iter(method.steps(model, share(batches[0], 0, 1))))
    except ModelError as error:
        return str(error)
    return ""


def work(rank: int, world: int) -> dict[str, Any]:
    results: dict[str, Any] = {"methods": train_all(ALL, rank, world)}
    results["wrapped"] = {name: train_wrapped(name, rank, world) for name in ("ogm-ge", "mmpareto")}
    results["dropout"] = train("ogm-ge", {}, rank, world, dropout=0.5)
    results["incomplete"] = {m: train(m, {}, rank, world, edit=incomplete) for m in INCOMPLETE}
    results["masks"] = masks_of(rank, world)
    results["refusals"] = [refusal(OneProcess), refusal(Partial)]
    return results


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return in_processes(work, Path(tmp_path_factory.mktemp("processes")))


def differing(one: Mapping[str, Tensor], other: Mapping[str, Tensor], tolerance: float) -> list[str]:
    assert one.keys() == other.keys()
    return [
        name
        for name, x in one.items()
        if not torch.allclose(x.double(), other[name].double(), rtol=tolerance, atol=tolerance, equal_nan=True)
    ]


@pytest.mark.parametrize("name", ALL)
def test_two_processes_equal_one_with_the_double_batch(name: str, both: list[dict[str, Any]]) -> None:
    one = train_all([name], 0, 1)[name]
    first, second = (results["methods"][name] for results in both)
    assert len(one["losses"]) >= 2 * len(EPOCHS), "the method has stepped"
    start = {k: x for k, x in make_model().state_dict().items() if k.startswith("_encoders")}
    assert differing(start, {k: one["model"][k] for k in start}, 1e-3), "the encoders have moved"
    for kind in ("model", "method"):
        assert not differing(one[kind], first[kind], 1e-10), kind
        assert not differing(first[kind], second[kind], 0.0), "both processes hold the same numbers"
    assert one["losses"] == pytest.approx(first["losses"], abs=1e-10)
    assert torch.equal(one["order"], first["order"])
    assert torch.equal(one["order"], second["order"])


def test_statistics_of_half_a_batch_are_others(both: list[dict[str, Any]]) -> None:
    """The equality above is none of small effects: a process that sees its own samples only goes elsewhere."""
    alone = train("ogm-ge", {}, rank=0, world=2)
    first = both[0]["methods"]["ogm-ge"]
    assert max(abs(a - b) for a, b in zip(alone["losses"], first["losses"], strict=True)) > 1e-3


@pytest.mark.parametrize("name", ["ogm-ge", "mmpareto"])
def test_a_wrapped_module_equals_one_process(name: str, both: list[dict[str, Any]]) -> None:
    one = train_wrapped(name, 0, 1)
    for results in both:
        assert not differing(one, results["wrapped"][name], 1e-10)


@pytest.mark.parametrize("name", INCOMPLETE)
def test_samples_may_lack_modalities(name: str, both: list[dict[str, Any]]) -> None:
    one = train(name, {}, edit=incomplete)
    for results in both:
        assert not differing(one["model"], results["incomplete"][name]["model"], 1e-10)


def test_encoders_draw_differently_in_each_process_and_methods_draw_the_same(both: list[dict[str, Any]]) -> None:
    first, second = (results["masks"] for results in both)
    assert not torch.equal(first["own"], second["own"])
    assert not torch.equal(first["own"], first["second"]), "each encoder has draws of its own"
    assert torch.equal(first["common"], second["common"])
    trained = [results["dropout"] for results in both]
    assert not differing(trained[0]["model"], trained[1]["model"], 0.0)


def test_a_method_for_one_process_says_why(both: list[dict[str, Any]]) -> None:
    for results in both:
        declared, partial = results["refusals"]
        assert "`OneProcess` trains in one process: it is an example. Found 2 processes." in declared
        assert "5 of 25" in partial or f"5 of {SIZE}" in partial


def test_in_one_process_nothing_is_exchanged() -> None:
    x = torch.arange(6.0)
    assert distributed.shared_features(x) is x
    assert distributed.gather_rows(x, [6]) is x
    assert distributed.local_rows(x) is x
    norm = nn.Sequential(nn.BatchNorm1d(3))
    assert make_method("joint").prepare(make_model(), torch.zeros(4, dtype=torch.long)) is not None
    assert type(norm[0]) is nn.BatchNorm1d
