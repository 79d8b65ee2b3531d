"""The streaming class: equal to the pure functions, over batches, processes, pickling and precision."""

from __future__ import annotations

import json
import pickle
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torchmetrics import MetricCollection

from counterpoise.errors import DataError
from counterpoise.tasks import MultiClass, MultiLabel, Regression, Task
from counterpoise.valuation import Contributions
from counterpoise.valuation import functional as vf

NAMES = ("a", "b", "c")
TASKS: list[Task] = [MultiClass(4), MultiLabel(3), Regression(2, scale=0.7)]


def _stream(task: Task, n: int = 120, seed: int = 0) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor], Tensor]:
    g = torch.Generator().manual_seed(seed)
    c = task.num_outputs

    def logits() -> Tensor:
        return torch.randn(n, c, generator=g, dtype=torch.float64)

    target = {
        "multiclass": torch.randint(c, (n,), generator=g),
        "multilabel": torch.randint(2, (n, c), generator=g).double(),
        "regression": logits(),
    }[task.name]
    return logits(), {m: logits() for m in NAMES}, {m: logits() for m in NAMES}, target


def _part(stream: Any, rows: slice) -> Any:
    whole, alone, without, target = stream
    return whole[rows], {m: v[rows] for m, v in alone.items()}, {m: v[rows] for m, v in without.items()}, target[rows]


@pytest.mark.parametrize("task", TASKS, ids=lambda t: t.name)
def test_equals_the_pure_functions_over_batches(task: Task) -> None:
    stream = _stream(task)
    metric = Contributions(task, NAMES)
    for start in range(0, 120, 50):
        metric.update(*_part(stream, slice(start, start + 50)))
    results = metric.compute()
    whole, alone, without, target = stream
    ll = task.log_likelihood(whole, target)
    entropy = task.entropy(target)
    torch.testing.assert_close(results["mi"], vf.mi_lower_bound(entropy, -ll.mean()))
    for m in NAMES:
        other = task.log_likelihood(without[m], target)
        pointwise = vf.pointwise_cmi(ll, other)
        torch.testing.assert_close(results[f"cmi:{m}"], pointwise.mean())
        torch.testing.assert_close(results[f"se:cmi:{m}"], pointwise.std() / 120**0.5)
        torch.testing.assert_close(results[f"kl:{m}"], vf.label_free_contribution(whole, without[m], task).mean())
        torch.testing.assert_close(results[f"mi:{m}"], entropy + task.log_likelihood(alone[m], target).mean())


@pytest.mark.parametrize("task", TASKS[:2], ids=lambda t: t.name)
def test_standard_error_of_mi_is_that_of_the_pointwise_ratio(task: Task) -> None:
    whole, alone, without, target = _stream(task)
    metric = Contributions(task, NAMES)
    metric.update(whole, alone, without, target)
    log_p = task.log_likelihood(task.prior_logits(target).expand(120, -1), target)
    expected = vf.pointwise_mi(task.log_likelihood(whole, target), log_p).std() / 120**0.5
    torch.testing.assert_close(metric.compute()["se:mi"], expected)


def test_per_class_means_average_to_the_whole() -> None:
    stream = _stream(TASKS[0])
    metric = Contributions(TASKS[0], NAMES)
    metric.update(*stream)
    results = metric.compute()
    share = torch.bincount(stream[3], minlength=4) / 120
    for name in ("mi", "mi:a", "cmi:b", "kl:c"):
        torch.testing.assert_close((share * results[f"per_class:{name}"]).sum(), results[name])


def test_per_label_shares_sum_to_the_whole() -> None:
    metric = Contributions(TASKS[1], NAMES)
    metric.update(*_stream(TASKS[1]))
    results = metric.compute()
    for name in ("mi", "mi:a", "cmi:b"):
        torch.testing.assert_close(results[f"per_class:{name}"].sum(), results[name])


def test_reset_forgets_and_pickling_does_not() -> None:
    metric = Contributions(TASKS[0], NAMES)
    metric.update(*_stream(TASKS[0], seed=1))
    copy = pickle.loads(pickle.dumps(metric))
    torch.testing.assert_close(copy.compute(), metric.compute())
    metric.reset()
    metric.update(*_stream(TASKS[0], seed=2))
    fresh = Contributions(TASKS[0], NAMES)
    fresh.update(*_stream(TASKS[0], seed=2))
    torch.testing.assert_close(metric.compute(), fresh.compute())


def test_float32_logits_agree() -> None:
    whole, alone, without, target = _stream(TASKS[0])
    double, single = Contributions(TASKS[0], NAMES), Contributions(TASKS[0], NAMES)
    double.update(whole, alone, without, target)
    single.update(
        whole.float(), {m: v.float() for m, v in alone.items()}, {m: v.float() for m, v in without.items()}, target
    )
    torch.testing.assert_close(single.compute(), double.compute(), rtol=1e-5, atol=1e-6)


def test_member_of_a_collection() -> None:
    stream = _stream(TASKS[0])
    collection = MetricCollection({"phi": Contributions(TASKS[0], NAMES)})
    collection.update(*stream)
    alone = Contributions(TASKS[0], NAMES)
    alone.update(*stream)
    assert collection.compute()["mi"] == alone.compute()["mi"]


def test_a_class_never_seen_is_not_a_number() -> None:
    metric = Contributions(MultiClass(3), ["a", "b"])
    metric.update(torch.zeros(2, 3), {}, {}, torch.tensor([0, 1]))
    results = metric.compute()
    assert results["per_class:mi"].isnan().tolist() == [False, False, True]
    assert torch.isclose(results["mi"], torch.tensor(2 / 3, dtype=torch.float64).log())


def test_bad_input() -> None:
    metric = Contributions(MultiClass(2), ["a", "b"])
    with pytest.warns(UserWarning, match="before"), pytest.raises(DataError, match="Call update before compute"):
        metric.compute()
    with pytest.raises(DataError, match="no modality `c`"):
        metric.update(torch.zeros(1, 2), {"c": torch.zeros(1, 2)}, {}, torch.tensor([0]))
    with pytest.raises(DataError, match=r"shape \(B, 2\). Found \(1, 3\)"):
        metric.update(torch.zeros(1, 3), {}, {}, torch.tensor([0]))
    with pytest.raises(DataError, match=r"`a` should have shape \(2, 2\)"):
        metric.update(torch.zeros(2, 2), {"a": torch.zeros(1, 2)}, {}, torch.tensor([0, 1]))
    with pytest.raises(DataError, match=r"in 0\.\.1. Found 2"):
        metric.update(torch.zeros(1, 2), {}, {}, torch.tensor([2]))


WORKER = """
import json, sys, torch
rank, port, path = int(sys.argv[1]), sys.argv[2], sys.argv[3]
torch.distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
from counterpoise.tasks import MultiClass
from counterpoise.valuation import Contributions
metric = Contributions(MultiClass(4), ("a", "b", "c"))
metric.update(*torch.load(path)[rank])
print(json.dumps({k: v.tolist() for k, v in metric.compute().items()}))
torch.distributed.destroy_process_group()
"""


def test_two_processes_give_the_same_as_one(tmp_path: Path) -> None:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    stream = _stream(TASKS[0])
    # Uneven shares: 70 samples here, 50 there.
    torch.save([_part(stream, slice(0, 70)), _part(stream, slice(70, 120))], tmp_path / "shares.pt")
    command = [sys.executable, "-c", WORKER]
    workers = [
        subprocess.Popen([*command, str(rank), str(port), str(tmp_path / "shares.pt")], stdout=subprocess.PIPE)
        for rank in (0, 1)
    ]
    outputs = [worker.communicate(timeout=120)[0] for worker in workers]
    metric = Contributions(TASKS[0], NAMES)
    metric.update(*stream)
    for output in outputs:
        content = json.loads(output.decode().strip().splitlines()[-1])
        assert set(content) == set(metric.compute())
        for key, value in metric.compute().items():
            torch.testing.assert_close(torch.tensor(content[key]), torch.tensor(value.tolist()))
