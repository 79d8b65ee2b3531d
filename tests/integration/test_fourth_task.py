"""A task that the package does not know: it trains, is scored, valued, diagnosed and reported, with no other change."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from poisson import Poisson
from torch import Tensor

import counterpoise
from counterpoise.config import FitConfig, ModelConfig, OptimConfig, RunConfig
from counterpoise.data import DataInfo, Modality, MultimodalData, Split
from counterpoise.diagnosis import diagnose
from counterpoise.experiment.runner import run
from counterpoise.report import write_report
from counterpoise.runs import read_records
from counterpoise.training import fit
from counterpoise.valuation import Contributions, estimate

RATES = (0.8, 0.5)


class Counts(Poisson):
    """Counts whose experts are averaged with weights that sum to 1."""

    def combine(self, experts: Tensor, weights: Tensor) -> Tensor:
        return super().combine(experts, weights / weights.sum(0))


def counts(n: int, seed: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return inputs and counts whose log-rate is linear in the first column of each modality."""
    rng = np.random.default_rng(seed)
    inputs = {m: rng.normal(size=(n, 3)).astype(np.float32) for m in "ab"}
    rate = np.exp(0.5 + RATES[0] * inputs["a"][:, :1] + RATES[1] * inputs["b"][:, :1])
    return inputs, rng.poisson(rate).astype(np.float32)


@pytest.fixture(scope="module")
def data() -> MultimodalData:
    info = DataInfo("counts", tuple(Modality(m, "vector", (3,)) for m in "ab"), Counts(1), 1)
    return MultimodalData(info, *(Split(*counts(n, seed)) for seed, n in enumerate((600, 200, 300))))


def config(method: str) -> RunConfig:
    fitting = FitConfig(epochs=6, batch_size=32, accelerator="cpu")
    return RunConfig("counts", method, model=ModelConfig(width=8), optim=OptimConfig(lr=0.05), fit=fitting)


@pytest.mark.parametrize("method", ["joint", "uniform", "arm"])
def test_it_trains_and_beats_the_constant_prediction(method: str, data: MultimodalData) -> None:
    fitted = fit(data, config(method))
    outputs = fitted.model({m: torch.from_numpy(x) for m, x in data.test.arrays.items()})
    task = fitted.model.task
    logits, target = fitted.rule(outputs).detach(), torch.from_numpy(data.test.target)
    assert task.score(logits, target) > 0.2
    best = 0.5 + sum(r * torch.from_numpy(data.test.arrays[m][:, :1]) for r, m in zip(RATES, "ab", strict=True))
    assert task.score(logits, target) < task.score(best, target) + 0.05


def test_it_is_valued() -> None:
    """The contributions of exact predictions are those that the likelihood says."""
    inputs, y = counts(2000, 7)
    value = estimate(inputs, y, task=Counts(1))
    assert value.task == "poisson"
    assert value.mi["a"].value > value.mi["b"].value > 0.03
    assert value.joint_mi.value > value.mi["a"].value
    task, target = Counts(1), torch.from_numpy(y)
    whole = 0.5 + sum(r * torch.from_numpy(inputs[m][:, :1]) for r, m in zip(RATES, "ab", strict=True))
    prior = task.prior_logits(target).expand(2000, 1)
    exact = (task.log_likelihood(whole, target) - task.log_likelihood(prior, target)).mean().item()
    assert value.joint_mi.value == pytest.approx(exact, abs=0.06)


def test_it_is_valued_in_a_stream() -> None:
    inputs, y = counts(2000, 8)
    task, target = Counts(1), torch.from_numpy(y)
    whole = 0.5 + sum(r * torch.from_numpy(inputs[m][:, :1]) for r, m in zip(RATES, "ab", strict=True))
    metric = Contributions(task, ("a", "b"))
    for part in torch.arange(2000).split(500):
        metric.update(whole[part], {}, {}, target[part])
    prior = task.prior_logits(target).expand(2000, 1)
    exact = (task.log_likelihood(whole.double(), target) - task.log_likelihood(prior, target)).mean().item()
    assert metric.compute()["mi"].item() == pytest.approx(exact, abs=1e-4)


def test_it_is_diagnosed(data: MultimodalData) -> None:
    fitted = fit(data, config("joint"))
    diagnosis = diagnose(fitted.model, data.test.batches(100))
    assert diagnosis.valuation.task == "poisson"
    assert diagnosis.clean["deviance_explained"] > 0.2
    assert set(diagnosis.findings) == {"a", "b"}
    assert json.loads(json.dumps(diagnosis.to_dict()))["verdict"] == diagnosis.verdict


def test_it_is_recorded_and_reported(data: MultimodalData, tmp_path: Path) -> None:
    record = run(config("uniform"), tmp_path, data=data)
    assert (record.task, record.score) == ("poisson", "deviance_explained")
    assert record.value("deviance_explained") > 0.2
    records, skipped = read_records([tmp_path])
    assert (len(records), skipped) == (1, [])
    write_report(records, tmp_path / "page.html")
    assert "deviance" in (tmp_path / "page.html").read_text()


NAMES = {"multiclass", "multilabel", "regression"}
EXEMPT = ("data/", "_arrays/", "runs/", "tasks/", "valuation/_decompose.py")
"""Code that reads files whose labels are of a built-in task or old records, and a decomposition that is for classes."""


def test_no_code_compares_names_of_tasks() -> None:
    root = Path(counterpoise.__file__).parent
    places = []
    for path in sorted(root.rglob("*.py")):
        where = path.relative_to(root).as_posix()
        if where.startswith(EXEMPT):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Compare):
                sides = [n.value for n in ast.walk(node) if isinstance(n, ast.Constant)]
                if NAMES & {v for v in sides if isinstance(v, str)}:
                    places.append(f"{where}:{node.lineno}")
    assert not places
