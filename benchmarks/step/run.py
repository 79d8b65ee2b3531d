"""Cost of one training step per method, as ratios to joint training: `make bench`.

Methods take turns in one process (so that a slow moment of the machine hits all of them); ratios are taken within each turn and the medians
printed with their quartiles. Peak memory is the largest resident set of a process of its own that takes two steps.
Writes ``step.md`` beside this file.
"""

from __future__ import annotations

import argparse
import gc
import platform
import re
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch

from counterpoise.methods import METHODS, Epoch, Method, make_method
from counterpoise.model import MultimodalClassifier, build_model
from counterpoise.records import Batch

BATCH = 64
SETTINGS = {
    "ResNet-18, image 3x64x64 + spectrogram 1x128x128": {
        "modalities": {"image": ("image", (3, 64, 64), 0), "audio": ("image", (1, 128, 128), 0)},
        "encoders": {"image": "resnet18", "audio": "resnet18"},
        "repeats": 7,
    },
    "small temporal convolutions, two sensors 100x3": {
        "modalities": {"a": ("sequence", (100, 3), 0), "b": ("sequence", (100, 3), 0)},
        "encoders": {},
        "repeats": 200,
    },
}
CLASSES = 7


def make(setting: str, name: str) -> tuple[MultimodalClassifier, Method, torch.optim.Optimizer, Batch]:
    spec = SETTINGS[setting]
    torch.manual_seed(0)
    model = build_model(spec["modalities"], num_outputs=CLASSES, encoders=spec["encoders"])
    method = make_method(name, METHODS[name].early)  # what it costs once its warm-up is over
    inputs = {m: torch.randn(BATCH, *shape) for m, (_, shape, _) in spec["modalities"].items()}
    target = torch.arange(BATCH) % CLASSES
    method.use_teachers(dict.fromkeys(method.requires, model))
    method.setup(model, target)
    batch = Batch(inputs, target, torch.arange(BATCH))
    method.on_epoch_start(model, Epoch(0, 10, train=lambda: [batch], held_out=lambda: [batch]))
    optimizer = torch.optim.AdamW([*model.parameters(), *method.parameters()])
    return model, method, optimizer, batch


def step(model: MultimodalClassifier, method: Method, optimizer: torch.optim.Optimizer, batch: Batch) -> float:
    started = time.perf_counter()
    for _ in method.steps(model, batch):
        optimizer.step()
        optimizer.zero_grad()
    return time.perf_counter() - started


def high_water() -> float:
    """Return this process's peak resident set in MiB.

    Not from ``getrusage``: on Linux a started process inherits its parent's peak there.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        return int(re.search(r"VmHWM:\s+(\d+)", status.read_text())[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def peak_memory(setting: str, name: str) -> float:
    """Return the peak resident set, in MiB, of a process that takes two steps."""
    command = [sys.executable, __file__, "--peak", setting, name]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def quartiles(values: list[float]) -> str:
    low, middle, high = statistics.quantiles(values, n=4)
    return f"{middle:.3f} ({low:.3f} to {high:.3f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--methods", default="joint,uniform,ogm-ge,arm", help="comma-separated, or all")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("step.md"))
    parser.add_argument("--peak", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak:
        parts = make(*options.peak)
        step(*parts)
        step(*parts)
        print(high_water())
        return
    names = list(METHODS) if options.methods == "all" else options.methods.split(",")
    lines = [
        "# Cost of one training step",
        "",
        f"Batch {BATCH}, float32, {torch.get_num_threads()} threads, torch {torch.__version__}, {platform.machine()}. Ratios to joint "
        "training: median (quartiles) over turns; peak resident memory of a process that takes two steps. Regenerate with `make bench`.",
    ]
    for setting, spec in SETTINGS.items():
        parts = {name: make(setting, name) for name in dict.fromkeys(["joint", *names])}
        times: dict[str, list[float]] = {name: [] for name in parts}
        for turn in range(spec["repeats"] + 2):
            for name, part in parts.items():
                gc.disable()
                seconds = step(*part)
                gc.enable()
                if turn >= 2:
                    times[name].append(seconds)
        del parts
        memory = {name: peak_memory(setting, name) for name in times}
        lines += [
            "",
            f"## {setting}",
            "",
            "| method | ms per step | time, ratio to joint | peak memory (MiB) | ratio |",
            "|---|---|---|---|---|",
        ]
        for name, values in times.items():
            ratios = [a / b for a, b in zip(values, times["joint"], strict=True)]
            lines.append(
                f"| {name} | {1e3 * statistics.median(values):.1f} | {quartiles(ratios)} | {memory[name]:.0f} | {memory[name] / memory['joint']:.3f} |"
            )
    text = "\n".join(lines) + "\n"
    options.out.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
