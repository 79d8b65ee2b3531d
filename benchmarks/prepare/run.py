"""Measure speed and memory of preparing raw clips (against ffmpeg) and of the loader (against a ResNet-18 step).

    python benchmarks/prepare/run.py [--distinct 200] [--clips 1000] [--few 200] [--many 2000]

Clips are made here: five seconds of 320 x 240 at 25 frames per second, h264 and aac. On a busy machine compare the
seconds of processor time, which do not depend on who else is at work. Writes ``prepare.md`` beside this file.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

HERE = Path(__file__).parent
SECONDS, FPS, HEIGHT, WIDTH = 5, 25, 240, 320

PREPARE = """
import json, os, resource, sys, time
from counterpoise.data import prepare
from counterpoise.data.preparation import Settings
from joblib.externals.loky import get_reusable_executor

def cpu():
    return sum(os.times()[:4])

start, before = time.perf_counter(), cpu()
settings = Settings(size=112, keep=5, frames=3, audio="fbank")
prepare("own", sys.argv[1], sys.argv[2], settings=settings, jobs=int(sys.argv[3]))
seconds = time.perf_counter() - start
get_reusable_executor().shutdown(wait=True)
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
mib = lambda text: int(text.split()[0]) / 1024
print(json.dumps({
    "seconds": seconds, "cpu": cpu() - before, "end": mib(status["RssAnon"]), "peak": mib(status["VmHWM"]),
    "reader": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024,
}))
"""


@dataclass(frozen=True)
class Cost:
    """What preparing took.

    Attributes:
        seconds: on the clock.
        cpu: of processor time, of all processes.
        end: anonymous memory at the end, MiB.
        peak: highest resident memory of the main process, mapped files included, MiB.
        reader: of the largest process that reads, MiB.
    """

    seconds: float
    cpu: float
    end: float = 0.0
    peak: float = 0.0
    reader: float = 0.0


def make_clip(path: Path, seed: int) -> None:
    import av

    rng = np.random.default_rng(seed)
    noise = rng.integers(0, 255, (HEIGHT // 8, WIDTH // 8, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("h264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        voice = container.add_stream("aac", rate=16000)
        voice.layout = "mono"
        for k in range(SECONDS * FPS):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(np.roll(noise, 2 * k, 1)), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        sound = (0.1 * rng.normal(size=(1, SECONDS * 16000))).astype(np.float32)
        for k in range(0, sound.shape[1] - 1023, 1024):
            piece = av.AudioFrame.from_ndarray(sound[:, k : k + 1024], format="fltp", layout="mono")
            piece.sample_rate, piece.pts = 16000, k
            container.mux(voice.encode(piece))
        container.mux(voice.encode(None))


def manifest(folder: Path, clips: int, distinct: int) -> Path:
    """Write a table of ``clips`` rows. Rows beyond ``distinct`` are hard links, read as separate files."""
    rows = []
    for k in range(clips):
        path = folder / f"c{k}.mp4"
        if not path.exists():
            if k < distinct:
                make_clip(path, k)
            else:
                os.link(folder / f"c{k % distinct}.mp4", path)
        rows.append(f"{path.name},{path.name},{k % 2}")
    table = folder / f"m{clips}.csv"
    table.write_text("clip,audio,label\n" + "\n".join(rows))
    return table


def prepare(table: Path, out: Path, jobs: int) -> Cost:
    """Prepare in a process of its own."""
    for folder in (out, out.parent / f".{out.name}.partial"):  # also what a run that was stopped has left
        shutil.rmtree(folder, ignore_errors=True)
    command = [sys.executable, "-c", PREPARE, str(table), str(out), str(jobs)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return Cost(**json.loads(done.stdout))


def ffmpeg(inputs: Sequence[Sequence[str]]) -> Cost:
    """Return what ffmpeg takes to decode the same frames and sound on one thread, one process after the other."""
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    for arguments in inputs:
        command = ["ffmpeg", "-v", "error", "-threads", "1", *arguments, "-vf", "fps=1,scale=112:112"]
        subprocess.run([*command, "-threads", "1", "-ar", "16000", "-ac", "1", "-f", "null", "-"], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(time.perf_counter() - start, cpu)


def concatenated(folder: Path, clips: int) -> list[str]:
    """Return ffmpeg's arguments for all clips in one process, so that starting it does not count."""
    (folder / "all.txt").write_text("".join(f"file c{k}.mp4\n" for k in range(clips)))
    return ["-f", "concat", "-i", str(folder / "all.txt")]


def loader(folder: Path) -> tuple[float, float]:
    """Return the loader's samples per second, with random frames and crops, and those of a joint ResNet-18 step."""
    from counterpoise.data import BatchLoader, open_data
    from counterpoise.data._augmentation import ClipAugmentation
    from counterpoise.methods import Joint
    from counterpoise.model import build_model

    torch.set_num_threads(os.cpu_count() or 1)
    data = open_data(folder)
    view = ClipAugmentation(frames={"clip": 3}, visual=("clip",), smallest=0.5)
    split = type(data.train)(data.train.arrays, data.train.target, data.train.group, view)
    batches = BatchLoader(split, 32, seed=0)
    start = time.perf_counter()
    count = sum(len(batch.target) for batch in batches)
    speed = count / (time.perf_counter() - start)
    kinds = {m.name: (m.kind, m.shape, m.vocabulary) for m in data.info.modalities}
    model = build_model(kinds, num_outputs=2, encoders=dict.fromkeys(kinds, "resnet18"))
    method = Joint()
    model = method.prepare(model, torch.from_numpy(data.train.target))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    batch = split.batch(range(16), torch.Generator().manual_seed(0))
    times = []
    for _ in range(3):
        start = time.perf_counter()
        for _record in method.steps(model, batch):
            optimizer.step()
            optimizer.zero_grad()
        times.append(time.perf_counter() - start)
    return speed, 16 / min(times)


def row(label: str, cost: Cost, clips: int, reference: float | None) -> str:
    per_clip = 1000 * cost.cpu / clips
    ratio = f"{per_clip / reference:.2f}" if reference else "–"
    return f"| {label} | {clips:,} | {cost.seconds:.1f} | {clips / cost.seconds:.1f} | {per_clip:.1f} | {ratio} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--distinct", type=int, default=200)
    parser.add_argument("--clips", type=int, default=1000)
    parser.add_argument("--few", type=int, default=200)
    parser.add_argument("--many", type=int, default=2000)
    parser.add_argument("--folder", type=Path, help="keeps the clips that are made")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = options.folder or Path(name)
        folder.mkdir(exist_ok=True)
        tables = {n: manifest(folder, n, options.distinct) for n in (options.clips, options.few, options.many)}
        costs = {jobs: prepare(tables[options.clips], folder / "out", jobs) for jobs in (1, 2)}
        memory = {n: prepare(tables[n], folder / "memory", 2) for n in (options.few, options.many)}
        alone, together, reference = None, None, None
        if shutil.which("ffmpeg"):
            alone = ffmpeg([["-i", str(folder / f"c{k}.mp4")] for k in range(options.distinct)])
            together = ffmpeg([concatenated(folder, options.distinct)])
            reference = 1000 * together.cpu / options.distinct
        speed, step = loader(folder / "out")
        shutil.rmtree(folder / "out")
        shutil.rmtree(folder / "memory")
    rows = [
        "# Preparing raw clips",
        "",
        f"Clips of {SECONDS} s, {WIDTH} x {HEIGHT}, {FPS} frames per second, h264 and aac, {options.distinct} "
        f"different ones; five frames of 112 x 112 and Kaldi's filter bank are kept of each. {os.cpu_count()} cores, "
        f"load {os.getloadavg()[2]:.1f} over the last 15 minutes. Made by `python benchmarks/prepare/run.py`.",
        "",
        "| | clips | seconds | clips per second | processor time per clip (ms) | against ffmpeg |",
        "|---|---:|---:|---:|---:|---:|",
        *(
            row(f"`prepare`, {jobs} process{'es' * (jobs > 1)}", cost, options.clips, reference)
            for jobs, cost in costs.items()
        ),
    ]
    if alone and together:
        rows.append(row("`ffmpeg`, decoding alone, all clips in one process", together, options.distinct, reference))
        rows.append(row("`ffmpeg`, decoding alone, one process per clip", alone, options.distinct, reference))
    rows += [
        "",
        "| clips | memory at the end (MiB) | peak (MiB) | peak of a process that reads (MiB) |",
        "|---:|---:|---:|---:|",
        *(f"| {n:,} | {cost.end:.0f} | {cost.peak:.0f} | {cost.reader:.0f} |" for n, cost in memory.items()),
        "",
        f"The loader gives {speed:.0f} samples per second (random frames, crops and mirrors); a joint step of two "
        f"ResNet-18 takes {step:.1f} samples per second: the loader is {speed / step:.0f} times as fast.",
    ]
    (HERE / "prepare.md").write_text("\n".join(rows) + "\n")
    print("\n".join(rows))


if __name__ == "__main__":
    main()
