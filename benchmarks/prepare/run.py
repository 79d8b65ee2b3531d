"""How fast raw clips are prepared, beside ffmpeg doing the same decode; how fast the loader is, beside a ResNet-18's step; how much memory it takes.

    python benchmarks/prepare/run.py [--clips 200] [--many 2000]

Clips are made here: five seconds of 320 x 240 at 25 frames per second, h264 and aac. Writes ``prepare.md`` beside this file.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

HERE = Path(__file__).parent
SECONDS, FPS, HEIGHT, WIDTH = 5, 25, 240, 320

PREPARE = """
import sys, time
from counterpoise.data import prepare
from counterpoise.data.raw import Settings
start = time.perf_counter()
prepare("own", sys.argv[1], sys.argv[2], settings=Settings(size=112, keep=5, frames=3, audio="fbank"), jobs=int(sys.argv[3]))
seconds = time.perf_counter() - start
peak = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("RssAnon"))
high = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(seconds, int(peak) / 1024, int(high) / 1024)
"""


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
    """Write a table of ``clips`` rows; beyond ``distinct`` files they are hard links, so that each is a file of its own to the preparation."""
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


def prepare(table: Path, out: Path, jobs: int) -> tuple[float, float, float]:
    """Return seconds, anonymous memory at the end and the peak (MiB), of a process of its own."""
    shutil.rmtree(out, ignore_errors=True)
    done = subprocess.run(
        [sys.executable, "-c", PREPARE, str(table), str(out), str(jobs)],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    seconds, anonymous, peak = map(float, done.stdout.split())
    return seconds, anonymous, peak


def ffmpeg(folder: Path, clips: int) -> float | None:
    """Return the seconds that ffmpeg takes to decode the same frames and sound, one thread, one clip after the other."""
    if shutil.which("ffmpeg") is None:
        return None
    start = time.perf_counter()
    for k in range(clips):
        command = [
            "ffmpeg",
            "-v",
            "error",
            "-threads",
            "1",
            "-i",
            str(folder / f"c{k}.mp4"),
            "-vf",
            "fps=1,scale=112:112",
        ]
        subprocess.run([*command, "-threads", "1", "-ar", "16000", "-ac", "1", "-f", "null", "-"], check=True)
    return time.perf_counter() - start


def loader(folder: Path) -> tuple[float, float]:
    """Return the loader's samples per second, with random frames and crops, and those of a joint ResNet-18 step."""
    from counterpoise.data import BatchLoader, open_data
    from counterpoise.data._views import View
    from counterpoise.methods import Joint
    from counterpoise.model import build_model

    torch.set_num_threads(os.cpu_count() or 1)
    data = open_data(folder)
    view = View(frames={"clip": 3}, visual=("clip",), smallest=0.5)
    split = type(data.train)(data.train.arrays, data.train.target, data.train.group, view)
    batches = BatchLoader(split, 32, seed=0)
    start = time.perf_counter()
    count = sum(len(batch.target) for batch in batches)
    speed = count / (time.perf_counter() - start)
    kinds = {m.name: (m.kind, m.shape, m.vocabulary) for m in data.info.modalities}
    model = build_model(kinds, num_outputs=2, encoders=dict.fromkeys(kinds, "resnet18"))
    method = Joint()
    method.setup(model, torch.from_numpy(data.train.target))
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=200)
    parser.add_argument("--many", type=int, default=2000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        few, many = (manifest(folder, n, options.clips) for n in (options.clips, options.many))
        one = prepare(few, folder / "one", 1)
        two = prepare(few, folder / "two", 2)
        reference = ffmpeg(folder, options.clips)
        large = prepare(many, folder / "large", 2)
        speed, step = loader(folder / "one")
    rows = [
        "# Preparing raw clips",
        "",
        f"{options.clips} clips of {SECONDS} s, {WIDTH} x {HEIGHT}, {FPS} frames per second, h264 and aac; five frames of 112 x 112 and Kaldi's filter bank are kept of each. "
        f"{os.cpu_count()} cores. Made by `python benchmarks/prepare/run.py`.",
        "",
        "| | seconds | clips per second | against ffmpeg |",
        "|---|---:|---:|---:|",
    ]
    for label, seconds in (
        ("`prepare`, 1 process", one[0]),
        ("`prepare`, 2 processes", two[0]),
        ("`ffmpeg`, decoding only, one clip after the other", reference),
    ):
        if seconds is not None:
            ratio = f"{seconds / reference:.2f}" if reference else "–"
            rows.append(f"| {label} | {seconds:.1f} | {options.clips / seconds:.1f} | {ratio} |")
    rows += [
        "",
        "| clips | memory at the end (MiB) | peak, with mapped files (MiB) |",
        "|---:|---:|---:|",
        f"| {options.clips} | {two[1]:.0f} | {two[2]:.0f} |",
        f"| {options.many} | {large[1]:.0f} | {large[2]:.0f} |",
        "",
        f"The loader gives {speed:.0f} samples per second (random frames, crops and mirrors); a joint step of two ResNet-18 takes {step:.1f} samples per second: the loader is "
        f"{speed / step:.0f} times as fast.",
    ]
    (HERE / "prepare.md").write_text("\n".join(rows) + "\n")
    print("\n".join(rows))


if __name__ == "__main__":
    main()
