"""Cost of one training step per method, as ratios to joint training: `make bench`.

    python benchmarks/step/run.py                          # all rows
    python benchmarks/step/run.py --missing                # methods without a row
    python benchmarks/step/run.py --methods arm --settings "small temporal"

Each method takes turns with joint training in one process (so that a slow moment of the machine hits both); ratios are
taken within each turn and the medians printed with their quartiles. Times are those of the processor. The milliseconds
of rows that are added to a table are the ratio times those of its row of joint training. Peak memory is the largest
resident set of a process of its own that takes two steps. ResNet-18 at full size is measured for a few methods, smaller
settings for the whole catalogue. Writes ``step.md``, ``headline.md`` (the first setting) and ``step.csv`` beside this
file.
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
    started = time.process_time()
    for _ in method.steps(model, batch):
        optimizer.step()
        optimizer.zero_grad()
    return time.process_time() - started


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
        f"Batch {BATCH}, float32, torch {torch.__version__}, {platform.machine()}. "
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


def known_rows(path: Path) -> dict[tuple[str, str], Row]:
    """Return the rows of a table that was written before, by setting and method."""
    if not path.is_file():
        return {}
    with path.open(newline="") as file:
        rows = [
            Row(r["setting"], r["method"], *(float(r[name]) for name in Row._fields[2:])) for r in csv.DictReader(file)
        ]
    return {(row.setting, row.method): row for row in rows}


def measured(setting: str, name: str, memory: float, joint: Row | None) -> Row:
    """Measure one row.

    Args:
        setting: One of `SETTINGS`.
        name: Method.
        memory: Peak memory of joint training in MiB.
        joint: Row of joint training in a table that the row is added to.
    """
    ms, ratios = against_joint(setting, name, SETTINGS[setting]["repeats"])
    peak = memory if name == "joint" else peak_memory(setting, name)
    low, middle, high = statistics.quantiles(ratios, n=4)
    return Row(setting, name, ms if joint is None else middle * joint.ms, middle, low, high, peak, peak / memory)


def write(folder: Path, known: dict[tuple[str, str], Row]) -> None:
    """Write the tables, in the order of the settings and the catalogue."""
    order = [*METHODS]
    settings = [*SETTINGS]
    rows = sorted(known.values(), key=lambda r: (settings.index(r.setting), order.index(r.method)))
    with (folder / "step.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(Row._fields)
        writer.writerows([f"{x:.4g}" if isinstance(x, float) else x for x in row] for row in rows)
    (folder / "step.md").write_text(to_markdown(rows))
    (folder / "headline.md").write_text(to_markdown([r for r in rows if r.setting == settings[0]]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", default="", help="comma-separated, instead of those of each setting")
    parser.add_argument("--missing", action="store_true", help="only methods without a row")
    parser.add_argument("--settings", default="", help="only settings with this word in their names")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder of the tables")
    parser.add_argument("--peak", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    if options.peak:
        parts = make(*options.peak)
        step(*parts)
        step(*parts)
        print(high_water())
        return
    adds = bool(options.methods or options.missing)
    known = known_rows(options.out / "step.csv") if adds or options.settings else {}
    for setting in [name for name in SETTINGS if options.settings in name]:
        chosen = options.methods.split(",") if options.methods else SETTINGS[setting]["methods"]
        chosen = [name for name in chosen if not (options.missing and (setting, name) in known)]
        memory = peak_memory(setting, "joint") if chosen else 0.0
        joint = known.get((setting, "joint")) if adds else None
        for name in chosen:
            known[setting, name] = measured(setting, name, memory, joint)
            print(known[setting, name], flush=True)
            write(options.out, known)


if __name__ == "__main__":
    main()
