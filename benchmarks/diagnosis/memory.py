"""Peak memory and time of `diagnose` on images that are larger than the memory allowed for them.

    python benchmarks/diagnosis/memory.py [--samples 5000] [--size 224] [--batch 32] [--threads 2]

The images are drawn batch by batch, so that the data themselves take no memory. The peak is that of a process of its
own, less nothing: interpreter, libraries and model are in it.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

BYTES_PER_NUMBER = 4
CHANNELS = 3


@dataclass(frozen=True)
class Images:
    """Batches of two images per sample; the brightness of one quarter of each image tells the class."""

    samples: int
    size: int
    batch: int

    def __iter__(self) -> Iterator[tuple[dict[str, object], object]]:
        import torch

        for start in range(0, self.samples, self.batch):
            count = min(self.batch, self.samples - start)
            generator = torch.Generator().manual_seed(start)
            label = torch.randint(2, (count,), generator=generator)
            views = {}
            for name in ("left", "right"):
                view = torch.randn(count, CHANNELS, self.size, self.size, generator=generator)
                view[:, :, : self.size // 2, : self.size // 2] += 0.02 * label[:, None, None, None]
                views[name] = view
            yield views, label


def measure(images: Images, *, corruptions: bool) -> dict[str, float]:
    """Return seconds, and the peak of this process in MB before and after a diagnosis."""
    import torch
    from torch import nn

    from counterpoise import diagnose

    class Model(nn.Module):
        def forward(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
            half = images.size // 2
            score = sum(50 * (view[:, :, :half, :half].mean((1, 2, 3)) - 0.01) for view in (left, right))
            return torch.stack([-score, score], 1)

    diagnose(Model(), Images(40, 32, 8), damage=corruptions)  # imports and first calls
    before, started = peak(), time.perf_counter()
    diagnose(Model(), images, damage=corruptions)
    return {"seconds": time.perf_counter() - started, "before": before, "peak": peak()}


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=5000)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--child", choices=("plain", "corruptions"))
    args = parser.parse_args()
    images = Images(args.samples, args.size, args.batch)
    if args.child:
        import torch

        torch.set_num_threads(args.threads)
        print(json.dumps(measure(images, corruptions=args.child == "corruptions")))
        return
    inputs = 2 * args.samples * CHANNELS * args.size**2 * BYTES_PER_NUMBER / 1e6
    print(
        f"{args.samples:,} samples of two {CHANNELS} x {args.size} x {args.size} images: {inputs:,.0f} MB of inputs.\n"
    )
    print("| diagnosis | seconds | peak MB | of that before |\n|---|---|---|---|")
    environment = {**os.environ, "OMP_NUM_THREADS": str(args.threads)}
    for name in ("plain", "corruptions"):
        command = [sys.executable, "-W", "ignore", str(Path(__file__)), *sys.argv[1:], "--child", name]
        output = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
        row = json.loads(output.strip().splitlines()[-1])
        print(f"| {name} | {row['seconds']:.0f} | {row['peak']:,.0f} | {row['before']:,.0f} |", flush=True)


if __name__ == "__main__":
    main()
