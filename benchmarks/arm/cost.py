"""Cost of ARM and of the recipe: a step, and what is computed between epochs, as ratios to joint training.

    python benchmarks/arm/cost.py

ResNet-18 on images of 3 x 32 x 32 and spectrograms of 1 x 64 x 64, batches of 64, one thread. Steps of all methods are
taken in turns, so that other work on the machine counts for all alike; times are of the processor. An epoch has 10,000
samples, of which 1,000 are held out. Writes ``cost.md`` beside this file.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Final

import torch

from counterpoise.methods import ARM, EpochContext, Method, SeparatedExperts, make_method
from counterpoise.model import MultimodalClassifier, build_model
from counterpoise.records import Batch

HERE: Final = Path(__file__).parent
METHODS: Final = ("joint", "uniform", "arm", "separated-experts")
SIZE, SAMPLES, HELD_OUT, TURNS = 64, 10_000, 1_000, 31


def made(n: int, start: int = 0) -> Batch:
    """Return random samples."""
    inputs = {"image": torch.randn(n, 3, 32, 32), "sound": torch.randn(n, 1, 64, 64)}
    return Batch(inputs, torch.arange(n) % 10, torch.arange(start, start + n))


def prepared(name: str) -> tuple[Method, MultimodalClassifier, torch.optim.Optimizer]:
    """Return a method, its model and optimizer; ARM's features, gradients and updates are scaled, as when it acts."""
    torch.manual_seed(0)
    kinds = {"image": ("image", (3, 32, 32), 0), "sound": ("image", (1, 64, 64), 0)}
    model = build_model(kinds, num_outputs=10, encoders=dict.fromkeys(kinds, "resnet18"))
    method = make_method(name, {})
    model = method.prepare(model, torch.arange(SAMPLES) % 10)
    if isinstance(method, ARM | SeparatedExperts):
        model.fusion.update(torch.tensor([0.5, 1.5]), torch.tensor([1.0, 0.1]))
        if method.loss_weights:
            method.loss.update(torch.tensor([0.9, 1.5]))
    return method, model, torch.optim.AdamW([*model.parameters(), *method.parameters()])


def seconds(method: Method, model: MultimodalClassifier, optimizer: torch.optim.Optimizer, batch: Batch) -> float:
    """Return the time of a step."""
    started = time.process_time()
    for _ in method.steps(model, batch):
        optimizer.step()
        optimizer.zero_grad()
    return time.process_time() - started


def main() -> None:
    """Measure, and write the table."""
    torch.set_num_threads(1)
    batch = made(SIZE)
    subjects = {name: prepared(name) for name in METHODS}
    times: dict[str, list[float]] = {name: [] for name in METHODS}
    for _ in range(TURNS):
        for name, subject in subjects.items():
            times[name].append(seconds(*subject, batch))
    step = {name: statistics.median(values[1:]) for name, values in times.items()}
    held_out = [made(100, i) for i in range(0, HELD_OUT, 100)]
    body = []
    for name, (method, model, _) in subjects.items():
        between = 0.0
        if method.needs_held_out:
            method.on_epoch_start(model, EpochContext(0, 10, held_out=lambda: held_out))
            started = time.process_time()
            method.on_epoch_start(model, EpochContext(1, 10, held_out=lambda: held_out))
            between = time.process_time() - started
        epoch = step["joint"] * (SAMPLES - HELD_OUT) / SIZE
        body.append(f"| {name} | {step[name] / step['joint']:.2f} | {100 * between / epoch:.1f} |")
    lines = [
        "# Cost",
        "",
        "Processor time with ResNet-18 encoders on one thread: a step as a ratio to that of joint training (median of "
        f"{TURNS - 1}), and what is computed between epochs in per cent of an epoch's steps, as long as samples are "
        "held out (half of the epochs). ARM scales the updates of both encoders, the most that it ever does.",
        "",
        "| method | step | between epochs, % of an epoch |",
        "|---|---:|---:|",
        *body,
    ]
    (HERE / "cost.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
