"""Train on prepared data that are larger than memory should be, and say what it took.

    python benchmarks/scale/memory.py --gigabytes 5

The data are pictures of one byte per value, written once in pieces. The model is a small one of the user's own, so that
reading is what is measured. Two numbers are asserted on Linux: the largest resident memory of the process, with and
without the pages of mapped files (``RssFile``), which the system may drop at any time; and the time of the loader per
batch as a ratio to a training step of two ResNet-18 on the same batch.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import torch

SIDE, CLASSES, BATCH = 224, 4, 64
ROW = 3 * SIDE * SIDE

ENCODER = '''
from torch import nn

class Thumbnail(nn.Module):
    """Every 32nd pixel, and one linear layer."""

    def __init__(self, shape, width):
        super().__init__()
        self.feature_dim = width
        self.linear = nn.Linear(shape[0] * (shape[1] // 32) * (shape[2] // 32), width)

    def forward(self, x):
        return self.linear(x[:, :, ::32, ::32].flatten(1)).relu()
'''


class Pictures:
    """An array ``(n, 3, 224, 224)`` of uint8 that is made when it is read: noise around a grey that tells the class."""

    def __init__(self, target: np.ndarray) -> None:
        self.target, self.shape, self.dtype = target, (len(target), 3, SIDE, SIDE), np.dtype(np.uint8)
        self.ndim, self.size = 4, len(target) * ROW
        self.noise = np.random.default_rng(0).integers(0, 60, (8, 3, SIDE, SIDE), dtype=np.uint8)

    def __len__(self) -> int:
        return len(self.target)

    def __getitem__(self, index: object) -> np.ndarray:
        rows = np.arange(len(self))[index]  # type: ignore[index]
        grey = (40 * self.target[rows]).astype(np.uint8)[:, None, None, None]
        return self.noise[rows % 8] + grey


def write(folder: Path, gigabytes: float) -> None:
    """Write the prepared data."""
    from counterpoise.data import DataInfo, Modality, MultimodalData, Split, save_prepared

    n = max(round(gigabytes * 1e9 / ROW), 64)
    rng = np.random.default_rng(0)
    splits = {}
    for part, share in (("train", 0.9), ("val", 0.05), ("test", 0.05)):
        target = rng.integers(CLASSES, size=max(int(share * n), 16))
        numbers = (np.eye(CLASSES)[target] + rng.normal(size=(len(target), CLASSES))).astype(np.float32)
        splits[part] = Split({"image": Pictures(target), "numbers": numbers}, target)  # type: ignore[dict-item]
    modalities = (Modality("image", "image", (3, SIDE, SIDE)), Modality("numbers", "vector", (CLASSES,)))
    save_prepared(MultimodalData(DataInfo("large", modalities, "multiclass", CLASSES), **splits), folder)


def status() -> dict[str, float]:
    """Return resident memory in MiB, by kind."""
    text = Path("/proc/self/status").read_text()
    fields = dict(re.findall(r"(\w+):\s+(\d+)", text))
    return {name: int(fields[name]) / 1024 for name in ("VmHWM", "VmRSS", "RssAnon", "RssFile")}


def train(folder: Path) -> None:
    """Train one epoch in this process and print the memory that it took, and before it."""
    from counterpoise.config import FitConfig, ModelConfig, RunConfig
    from counterpoise.experiment.runner import run

    small = folder.parent / "small"
    fit = FitConfig(epochs=1, batch_size=BATCH, accelerator="cpu")
    model = ModelConfig(encoders={"image": "thumbnail:Thumbnail"}, width=16)
    run(RunConfig(str(small), model=model, fit=fit), folder.parent / "runs-small")  # everything is imported after this
    before, largest, stop = status(), {"RssAnon": 0.0, "RssFile": 0.0, "VmRSS": 0.0}, threading.Event()

    def watch() -> None:
        while not stop.wait(0.02):
            now = status()
            for name in largest:
                largest[name] = max(largest[name], now[name])

    watcher = threading.Thread(target=watch)
    watcher.start()
    started, cpu = time.perf_counter(), time.process_time()
    record = run(RunConfig(str(folder), model=model, fit=fit), folder.parent / "runs")
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    stop.set()
    watcher.join()
    numbers = {"before": before, "largest": largest, "VmHWM": status()["VmHWM"], "seconds": seconds, "cpu": cpu}
    print(json.dumps(numbers | {"accuracy": record.value("accuracy")}))


def loader_ratio(folder: Path, batches: int) -> float:
    """Return the CPU time of the loader per batch over that of a training step of two ResNet-18."""
    from counterpoise.data import BatchLoader, open_data
    from counterpoise.encoders import ResNet18

    torch.set_num_threads(1)
    data = open_data(folder)
    loader = iter(BatchLoader(data.train, BATCH, seed=0))
    next(loader)
    started = time.process_time()
    for _ in range(batches):
        batch = next(loader)
    reading = (time.process_time() - started) / batches
    del loader
    network = torch.nn.Sequential(ResNet18((3, SIDE, SIDE)), torch.nn.Linear(512, CLASSES))
    part = batch.inputs["image"][:8]
    steps = []
    for _ in range(2):
        started = time.process_time()
        torch.nn.functional.cross_entropy(network(part), batch.target[:8]).backward()
        steps.append((time.process_time() - started) / 8 * BATCH)
    return reading / min(steps)


def measure(gigabytes: float, work: Path, batches: int = 20) -> dict[str, float]:
    """Write the data, train on them in a process of its own, and return what it took; memory in MiB."""
    work.mkdir(parents=True, exist_ok=True)
    (work / "thumbnail.py").write_text(ENCODER)
    if not (work / "large").exists():
        write(work / "large", gigabytes)
    if not (work / "small").exists():
        write(work / "small", 0.05)
    for name in ("runs", "runs-small"):
        shutil.rmtree(work / name, ignore_errors=True)
    command = [sys.executable, str(Path(__file__).resolve()), "--train", str((work / "large").resolve())]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=work)
    numbers = json.loads(done.stdout.splitlines()[-1])
    return {
        "data": sum(f.stat().st_size for f in (work / "large").rglob("*.arrow")) / 2**20,
        "before": numbers["before"]["VmRSS"],
        "before, maps": numbers["before"]["RssFile"],
        "resident": numbers["VmHWM"],
        "resident without maps": numbers["largest"]["RssAnon"],
        "maps": numbers["largest"]["RssFile"],
        "seconds": numbers["seconds"],
        "cpu": numbers["cpu"],
        "loader over step": loader_ratio(work / "large", batches),
        "accuracy": numbers["accuracy"],
    }


def table(numbers: dict[str, float]) -> str:
    """Return the numbers as Markdown."""
    return (
        "# Memory\n\n"
        f"An epoch on {numbers['data'] / 1024:.1f} GiB of pictures, with its record (processes of one core):\n\n"
        "| | MiB |\n|---|---:|\n"
        f"| resident memory before, with everything imported | {numbers['before']:.0f} |\n"
        f"| largest resident memory, pages of mapped files included | {numbers['resident']:.0f} |\n"
        f"| of it at most: memory of the process itself | {numbers['resident without maps']:.0f} |\n"
        f"| of it at most: pages of mapped files (data and libraries) | {numbers['maps']:.0f} |\n\n"
        f"Reading a batch of {BATCH} took {100 * numbers['loader over step']:.1f} % of the processor time of a "
        "ResNet-18 step on it.\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=5.0)
    parser.add_argument("--work", type=Path, default=None, help="folder that keeps the data")
    parser.add_argument("--train", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.train:
        train(options.train)
        return
    with tempfile.TemporaryDirectory() as temporary:
        numbers = measure(options.gigabytes, options.work or Path(temporary))
    print(json.dumps(numbers, indent=1))
    (Path(__file__).parent / "memory.md").write_text(table(numbers))
    assert numbers["resident"] < 1024, f"{numbers['resident']:.0f} MiB"
    assert numbers["loader over step"] < 1


if __name__ == "__main__":
    main()
