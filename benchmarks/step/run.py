"""Cost of one training step per method, as ratios to joint training: `make bench`.

Each method takes turns with joint training in one process (so that a slow moment of the machine hits both); ratios are
taken within each turn and the medians printed with their quartiles. Peak memory is the largest resident set of a
process of its own that takes two steps. ResNet-18 at full size is measured for a few methods, smaller settings for the
whole catalogue. Writes ``step.md``, ``headline.md`` (the first setting) and ``step.csv`` beside this file.
"""

from __future__ import annotations

import argparse
import csv
import gc
import platform
import re
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import torch

from counterpoise.methods import METHODS, EpochContext, Method, make_method
from counterpoise.model import MultimodalClassifier, build_model
from counterpoise.records import Batch

BATCH = 64
SETTINGS = {
    "ResNet-18, image 3x64x64 + spectrogram 1x128x128": {
        "modalities": {"image": ("image", (3, 64, 64), 0), "audio": ("image", (1, 128, 128), 0)},
        "encoders": {"image": "resnet18", "audio": "resnet18"},
        "repeats": 9,
        "methods": ["joint", "uniform", "ogm-ge", "arm"],
    },
    "ResNet-18, image 3x32x32 + spectrogram 1x64x64": {
        "modalities": {"image": ("image", (3, 32, 32), 0), "audio": ("image", (1, 64, 64), 0)},
        "encoders": {"image": "resnet18", "audio": "resnet18"},
        "repeats": 5,
        "methods": list(METHODS),
    },
    "small temporal convolutions, two sensors 100x3": {
        "modalities": {"a": ("sequence", (100, 3), 0), "b": ("sequence", (100, 3), 0)},
        "encoders": {},
        "repeats": 100,
        "methods": list(METHODS),
    },
}
CLASSES = 7


class Row(NamedTuple):
    """One method in one setting; time and memory are ratios to joint training."""

    setting: str
    method: str
    ms: float
    time: float
    low: float
    high: float
    mib: float
    memory: float


def make(setting: str, name: str) -> tuple[MultimodalClassifier, Method, torch.optim.Optimizer, Batch]:
    spec = SETTINGS[setting]
    torch.manual_seed(0)
    model = build_model(spec["modalities"], num_outputs=CLASSES, encoders=spec["encoders"])
    method = make_method(name, METHODS[name].early)  # what it costs once its warm-up is over
    inputs = {m: torch.randn(BATCH, *shape) for m, (_, shape, _) in spec["modalities"].items()}
    target = torch.arange(BATCH) % CLASSES
    method.use_teachers(dict.fromkeys(method.requires, model))
    model = method.prepare(model, target)
    batch = Batch(inputs, target, torch.arange(BATCH))
    method.on_epoch_start(model, EpochContext(0, 10, train=lambda: [batch], held_out=lambda: [batch]))
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


def against_joint(setting: str, name: str, repeats: int) -> tuple[float, list[float]]:
    """Return the median milliseconds of a step and, turn by turn, its ratio to a step of joint training."""
    pair = [make(setting, "joint"), make(setting, name)]
    turns = []
    for _ in range(repeats + 2):
        gc.disable()
        turns.append([step(*parts) for parts in pair])
        gc.enable()
    turns = turns[2:]  # the first two warm up
    return 1e3 * statistics.median(mine for _, mine in turns), [mine / joint for joint, mine in turns]


def to_markdown(rows: list[Row]) -> str:
    lines = [
        "# Cost of one training step",
        "",
        f"Batch {BATCH}, float32, {torch.get_num_threads()} threads, torch {torch.__version__}, {platform.machine()}. "
        "Ratios to joint training: median (quartiles) over turns; peak resident memory of a process that takes two "
        "steps. Regenerate with `make bench`.",
    ]
    for setting in dict.fromkeys(r.setting for r in rows):
        lines += ["", f"## {setting}", ""]
        lines += [
            "| method | ms per step | time, ratio to joint | peak memory (MiB) | ratio |",
            "|---|---:|---:|---:|---:|",
        ]
        lines += [
            f"| {r.method} | {r.ms:.1f} | {r.time:.3f} ({r.low:.3f} to {r.high:.3f}) | {r.mib:.0f} | {r.memory:.3f} |"
            for r in rows
            if r.setting == setting
        ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--methods", default="", help="comma-separated, instead of those of each setting")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder of the tables")
    parser.add_argument("--peak", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    if options.peak:
        parts = make(*options.peak)
        step(*parts)
        step(*parts)
        print(high_water())
        return
    rows = []
    for setting, spec in SETTINGS.items():
        memory = peak_memory(setting, "joint")
        for name in options.methods.split(",") if options.methods else spec["methods"]:
            ms, ratios = against_joint(setting, name, spec["repeats"])
            peak = memory if name == "joint" else peak_memory(setting, name)
            low, middle, high = statistics.quantiles(ratios, n=4)
            rows.append(Row(setting, name, ms, middle, low, high, peak, peak / memory))
            print(rows[-1], flush=True)
    with (options.out / "step.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(Row._fields)
        writer.writerows([f"{x:.4g}" if isinstance(x, float) else x for x in row] for row in rows)
    (options.out / "step.md").write_text(to_markdown(rows))
    first = [r for r in rows if r.setting == next(iter(SETTINGS))]
    (options.out / "headline.md").write_text(to_markdown(first))


if __name__ == "__main__":
    main()
