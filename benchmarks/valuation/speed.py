"""Time and memory of the default valuation beside the histogram of ARM's release, and the cost per training step.

    python benchmarks/valuation/speed.py [--threads 2] [--out docs/valuation.md]

Each line is a process of its own. Times are wall-clock; processor seconds are beside them because other work on the
machine does not change those much.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time
from pathlib import Path

SIZES = ((3_000, 2, 64, 7), (10_000, 3, 128, 10), (100_000, 3, 512, 100))
ESTIMATORS = ("variational", "variational-linear", "histogram_official")
SKIP = {("variational-linear", 100_000)}
BEGIN, END = "<!-- speed: begin -->", "<!-- speed: end -->"


def measure(estimator: str, n: int, modalities: int, dim: int, classes: int, threads: int) -> dict[str, float]:
    import numpy as np
    import torch

    from counterpoise.valuation import estimate

    torch.set_num_threads(threads)
    rng = np.random.default_rng(0)
    y = rng.integers(classes, size=n)
    x = {}
    for k in range(modalities):
        means = rng.normal(size=(classes, dim)).astype(np.float32) * np.float32(1.8 / dim**0.5)
        value = rng.standard_normal((n, dim), dtype=np.float32)
        for start in range(0, n, 10_000):
            value[start : start + 10_000] += means[y[start : start + 10_000]]
        x[f"m{k}"] = value
    estimate({m: v[:500] for m, v in x.items()}, y[:500] % 2)  # imports and first calls
    wall, busy = time.perf_counter(), time.process_time()
    estimate(x, y, estimator=estimator)
    return {
        "wall": time.perf_counter() - wall,
        "busy": time.process_time() - busy,
        "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
    }


def step(threads: int) -> dict[str, float]:
    """Return milliseconds: a ResNet-18 step, the probes and contributions in it, the released histogram."""
    import statistics

    import numpy as np
    import torch

    from counterpoise.methods.replicas.arm_histograms import histogram_official
    from counterpoise.model import build_model
    from counterpoise.tasks import MultiClass
    from counterpoise.valuation import Contributions
    from counterpoise.valuation.inputs import prepare

    torch.set_num_threads(threads)
    spec = {"image": ("image", (3, 64, 64), 0), "audio": ("image", (1, 128, 128), 0)}
    model = build_model(spec, num_outputs=31, encoders=dict.fromkeys(spec, "resnet18"))
    inputs = {m: torch.randn(64, *shape) for m, (_, shape, _) in spec.items()}
    y = torch.arange(64) % 31
    task = MultiClass(31)
    z = {m: torch.randn(64, 512).relu() for m in spec}
    both = torch.cat(list(z.values()), 1)
    heads = [torch.nn.Linear(d, 31) for d in (1024, 512, 512)]
    metric = Contributions(task, tuple(spec))
    problem = prepare({m: v.numpy() for m, v in z.items()}, np.arange(64) % 2)

    def train() -> None:
        task.loss(model(inputs).logits, y).backward()

    def value() -> None:
        logits = [head(v) for head, v in zip(heads, (both, *z.values()), strict=True)]
        sum(task.loss(v, y) for v in logits).backward()
        whole, first, second = (v.detach() for v in logits)
        alone = dict(zip(spec, (first, second), strict=True))
        metric.update(whole, alone, dict(zip(spec, (second, first), strict=True)), y)

    milliseconds = {}
    for name, run, repeats in (
        ("train", train, 5),
        ("value", value, 50),
        ("released", lambda: histogram_official(problem), 20),
    ):
        run()
        times = []
        for _ in range(repeats):
            started = time.perf_counter()
            run()
            times.append(1000 * (time.perf_counter() - started))
        milliseconds[name] = statistics.median(times)
    return milliseconds


def child(arguments: list[str], threads: int) -> dict[str, float]:
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    command = [sys.executable, "-W", "ignore", __file__, "--threads", str(threads), "--child", *arguments]
    output = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    numbers: dict[str, float] = json.loads(output.strip().splitlines()[-1])
    return numbers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--child", nargs="*")
    args = parser.parse_args()
    if args.child is not None:
        name, *size = args.child
        record = step(args.threads) if name == "step" else measure(name, *map(int, size), args.threads)
        print(json.dumps(record))
        return
    lines = [
        f"{args.threads} threads, {platform.machine()}, Python {platform.python_version()}; peak memory with the "
        "features in it.",
        "",
        "| N | M | D | C | estimator | seconds | processor seconds | peak GB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for n, modalities, dim, classes in SIZES:
        for name in ESTIMATORS:
            if (name, n) not in SKIP:
                record = child([name, *map(str, (n, modalities, dim, classes))], args.threads)
                numbers = f"{record['wall']:.1f} | {record['busy']:.1f} | {record['memory']:.2f}"
                lines.append(f"| {n:,} | {modalities} | {dim} | {classes} | {name} | {numbers} |")
                print(lines[-1], flush=True)
    record = child(["step"], args.threads)
    lines += [
        "",
        f"In a training step (batch 64, two ResNet-18, features 512, C = 31): step {record['train']:.0f} ms, heads, "
        f"their gradients and contributions {record['value']:.1f} ms ({record['value'] / record['train']:.1%}), the "
        f"released histogram {record['released']:.0f} ms ({record['released'] / record['train']:.1%}).",
    ]
    text = "\n".join(lines)
    print(text)
    if args.out:
        page = args.out.read_text(encoding="utf-8")
        args.out.write_text(f"{page.split(BEGIN)[0]}{BEGIN}\n{text}\n{END}{page.split(END)[1]}", encoding="utf-8")


if __name__ == "__main__":
    main()
