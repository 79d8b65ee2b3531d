"""Loops of one's own in two processes: the examples run, and `MethodTraining` gives the numbers of one process."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from processes import in_processes, make_model

from counterpoise.integrations import MethodSampler, MethodTraining
from counterpoise.methods import make_method

EXAMPLES = Path(__file__).parents[2] / "examples"
SAMPLES = 48


def rows(seed: int) -> list[dict[str, Any]]:
    generator = torch.Generator().manual_seed(seed)
    label = torch.arange(SAMPLES) % 3
    a, b = (torch.randn(SAMPLES, 6, generator=generator, dtype=torch.float64) + label[:, None] for _ in "ab")
    return [{"a": x, "b": z, "label": y} for x, z, y in zip(a, b, label, strict=True)]


def loop(size: int, rank: int, world: int) -> dict[str, Any]:
    """The loop of the examples, with a method that re-samples and one whose gradients conflict."""
    states = {}
    for name in ("arm", "mmpareto"):
        method = make_method(name)
        loader = torch.utils.data.DataLoader(rows(0), batch_size=size, sampler=MethodSampler(method, SAMPLES))
        training = MethodTraining(method, loader, held_out=torch.utils.data.DataLoader(rows(1), batch_size=16))
        torch.manual_seed(0)
        model = training.prepare(make_model())
        optimizer = torch.optim.SGD([*model.parameters(), *method.parameters()], lr=0.05)
        for epoch in range(3):
            training.start_epoch(epoch, total=3)
            for item in loader:
                for _ in method.steps(model, training.batch(item)):
                    optimizer.step()
                    optimizer.zero_grad()
        states[name] = {**model.state_dict(), **method.state_dict()}
    return states


def orders(rank: int, world: int) -> list[int]:
    return list(MethodSampler(make_method("joint"), 15))


def test_a_loop_in_two_processes_gives_the_numbers_of_one(tmp_path: Path) -> None:
    one = loop(16, 0, 1)
    for two in in_processes(partial(loop, 8), tmp_path):
        for name, state in one.items():
            for key, x in state.items():
                assert torch.allclose(x.double(), two[name][key].double(), atol=1e-9), (name, key)


def test_the_sampler_shares_an_epoch_without_duplicates(tmp_path: Path) -> None:
    shares = in_processes(orders, tmp_path)
    assert [len(share) for share in shares] == [7, 7]
    whole = orders(0, 1)
    assert [x for pair in zip(*shares, strict=True) for x in pair] == whole[:14]


@pytest.mark.parametrize("name", ["ddp_loop", "fabric_loop", "accelerate_loop"])
def test_the_examples_run_in_two_processes(name: str, tmp_path: Path) -> None:
    code = (EXAMPLES / f"{name}.py").read_text()
    if "smartwatch" in code:
        pytest.importorskip("seglearn")
    if "accelerate" in code:
        pytest.importorskip("accelerate")
    assert len(code.splitlines()) <= 40
    command = [sys.executable, "-W", "ignore", "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    result = subprocess.run(
        [*command, str(EXAMPLES / f"{name}.py")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert result.returncode == 0, result.stderr
    losses = [float(x) for x in re.findall(r"loss ([\d.]+)", result.stdout)]
    assert len(losses) == len(set(re.findall(r"epoch (\d+)", result.stdout))), "one process prints"
    assert losses[-1] < losses[0]
