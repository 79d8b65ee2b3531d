"""Training in two processes: the run of one with the double batch, written once, resumed, and ended together."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import Callback

from counterpoise.config import FitConfig, ModelConfig, OptimConfig, RunConfig
from counterpoise.data import BatchLoader, DataInfo, Modality, MultimodalData, Split
from counterpoise.errors import ConfigError, DataError, TrainingError
from counterpoise.experiment.runner import run
from counterpoise.methods import Joint
from counterpoise.runs import CurveId
from counterpoise.training import Fitted, fit
from counterpoise.training.module import TOTAL_LOSS

ONE = FitConfig(epochs=4, batch_size=32, accelerator="cpu")
TWO = replace(ONE, batch_size=16, devices=2, strategy="ddp_fork")


def make_split(n: int, rng: np.random.Generator) -> Split:
    target = rng.integers(3, size=n)
    a = rng.normal(size=(n, 5)).astype(np.float32)
    b = rng.normal(size=(n, 4)).astype(np.float32)
    a[np.arange(n), target] += 2
    b[np.arange(n), target] += 1
    return Split({"a": a, "b": b}, target)


@pytest.fixture(scope="module")
def data() -> MultimodalData:
    rng = np.random.default_rng(0)
    info = DataInfo("toy", (Modality("a", "vector", (5,)), Modality("b", "vector", (4,))), "multiclass", 3)
    return MultimodalData(info, make_split(165, rng), make_split(61, rng), make_split(60, rng))


def config(fitting: FitConfig = TWO, **changes: Any) -> RunConfig:
    optim = OptimConfig("sgd", lr=0.05)  # Adam would enlarge differences of rounding where a gradient is nearly zero
    return replace(
        RunConfig("toy", "arm", rule="dynamic", model=ModelConfig(width=8), fit=fitting, optim=optim), **changes
    )


class RankFiles(Callback):
    """Writes the state of each process after the last epoch."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        torch.save(pl_module.state_dict(), self.folder / f"{trainer.global_rank}.pt")


class Kill(Callback):
    """Ends one process before an epoch."""

    def __init__(self, rank: int, epoch: int) -> None:
        self.rank, self.epoch = rank, epoch

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        if (trainer.global_rank, trainer.current_epoch) == (self.rank, self.epoch):
            os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture(scope="module")
def pair(data: MultimodalData, tmp_path_factory: pytest.TempPathFactory) -> tuple[Fitted, Fitted, Path]:
    folder = tmp_path_factory.mktemp("pair")
    one = fit(data, config(ONE), folder=folder / "one")
    return one, fit(data, config(), folder=folder / "two", callbacks=[RankFiles(folder)]), folder


def test_a_run_of_two_processes_is_that_of_one_with_the_double_batch(pair: tuple[Fitted, Fitted, Path]) -> None:
    one, two, _ = pair
    assert one.history.keys() == two.history.keys()
    for curve, values in one.history.items():
        exact = curve.kind in ("loss", "score")
        assert two.history[curve] == pytest.approx(values, rel=1e-3, abs=1e-4 if exact else 5e-3, nan_ok=True), curve
    assert two.best_epoch == one.best_epoch
    for (name, x), y in zip(one.model.state_dict().items(), two.model.state_dict().values(), strict=True):
        assert torch.allclose(x, y, rtol=1e-3, atol=1e-4), name
    assert two.rule.fitted
    for (name, x), y in zip(one.rule.state_dict().items(), two.rule.state_dict().values(), strict=True):
        assert torch.allclose(x.float(), y.float(), rtol=1e-2, atol=1e-2), name


def test_all_processes_end_with_the_same_model_method_and_rule(pair: tuple[Fitted, Fitted, Path]) -> None:
    first, second = (torch.load(pair[2] / f"{rank}.pt") for rank in range(2))
    assert any(name.startswith("rule.") for name in first)
    for name, x in first.items():
        assert torch.equal(x, second[name]), name


def test_each_checkpoint_is_written_once(pair: tuple[Fitted, Fitted, Path]) -> None:
    names = sorted(p.name for p in (pair[2] / "two").iterdir())
    assert names == ["best.ckpt", "last.ckpt", "previous.ckpt"]


def test_a_killed_process_ends_all_and_the_run_resumes(
    data: MultimodalData, pair: tuple[Fitted, Fitted, Path], tmp_path: Path
) -> None:
    with pytest.raises(TrainingError, match="Process 2 of 2 was ended by SIGKILL"):
        fit(data, config(), folder=tmp_path, callbacks=[Kill(rank=1, epoch=3)])
    resumed = fit(data, config(), folder=tmp_path)
    assert resumed.history == pair[1].history
    for x, y in zip(pair[1].model.state_dict().values(), resumed.model.state_dict().values(), strict=True):
        assert torch.equal(x, y)


def test_an_error_of_a_process_is_raised_as_it_is(data: MultimodalData, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="Training diverged in epoch"):
        fit(data, config(method="joint", rule="fused", optim=OptimConfig("sgd", lr=1e30)), folder=tmp_path)


class Alone(Joint):
    """A method for one process."""

    one_process = "it counts its own calls"


def test_what_cannot_train_on_several_devices_is_refused_before_anything_starts(data: MultimodalData) -> None:
    with pytest.raises(ConfigError, match="it counts its own calls"):
        fit(data, config(method=f"{__name__}:Alone", rule="fused"))
    with pytest.raises(ConfigError, match=r"fit\.devices = 1000"):
        fit(data, config(replace(TWO, devices=1000), method="joint", rule="fused"))
    with pytest.raises(ConfigError, match="`devices` of `fit`"):
        FitConfig(devices=0)


def test_fresh_processes_write_one_record(data: MultimodalData, tmp_path: Path, capfd: Any) -> None:
    settings = config(replace(TWO, strategy="auto", epochs=2), method="joint", rule="fused")
    record = run(settings, tmp_path, data=data, progress=True)
    assert len(list(tmp_path.rglob("record.json"))) == 1
    printed = capfd.readouterr()
    assert printed.out.count(" 1/2 ") == 1, "one process prints"
    assert not printed.err
    assert len(next(c.values for c in record.curves if c.id == TOTAL_LOSS)) == 2
    assert json.loads(next(tmp_path.rglob("record.json")).read_text())["config"]["fit"]["devices"] == 2


# -- samplers ----------------------------------------------------------------------------------------------------------


def loader(n: int, size: int, rank: int = 0, world: int = 1, plan: Callable[..., Any] | None = None) -> BatchLoader:
    split = Split({"a": np.zeros((n, 1), np.float32), "b": np.zeros((n, 1), np.float32)}, np.zeros(n, int))
    made = BatchLoader(split, size, seed=0, plan=plan)
    made.set_epoch(3)
    if world > 1:
        made.share(rank, world)
    return made


@pytest.mark.parametrize("n", [12, 13, 14, 15, 16, 17, 23])
@pytest.mark.parametrize("plan", [None, lambda order, generator: order[torch.arange(len(order)) // 2]])
def test_shares_join_to_the_batches_of_one_process(n: int, plan: Callable[..., Any] | None) -> None:
    for world, size in ((2, 3), (3, 2)):
        whole = [batch.index for batch in loader(n, size * world, plan=plan)]
        shares = [[batch.index for batch in loader(n, size, rank, world, plan)] for rank in range(world)]
        joined = [torch.cat(parts) for parts in zip(*shares, strict=True)]
        assert len({len(loader(n, size, rank, world)) for rank in range(world)} | {len(joined)}) == 1
        assert min(len(part) for share in shares for part in share) >= 1, "no process is left without a sample"
        assert torch.equal(torch.cat(joined), torch.cat(whole)), "each sample is given once, in the same order"
        if world == 2:
            assert [b.tolist() for b in joined] == [b.tolist() for b in whole]


def test_too_few_samples_for_the_processes_are_refused() -> None:
    with pytest.raises(DataError, match="Found 2 samples"):
        loader(2, 1, 0, 3)


def test_devices_are_a_part_of_the_key_and_one_device_leaves_it_as_it_was() -> None:
    base = RunConfig("toy")
    assert base.key("x") != replace(base, fit=FitConfig(devices=2)).key("x")
    assert "devices" not in base.to_dict()["fit"]
    assert CurveId("loss", "total") == TOTAL_LOSS
