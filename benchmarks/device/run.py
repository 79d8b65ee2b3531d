"""Check and time the library on an accelerator: the contract battery, a table of full-size steps, and one training.

    python benchmarks/device/run.py --device cuda            # meant to take less than eight minutes
    python benchmarks/device/run.py --device cpu --tiny      # checks this script

The table times a step of some methods on two ResNet-18 encoders, relative to joint training.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn

from counterpoise.inference import make_rule, predict
from counterpoise.methods import METHODS, EpochContext, Method, make_method
from counterpoise.model import MultimodalClassifier
from counterpoise.records import Batch

ROOT: Final = Path(__file__).parents[2]
SHOWN: Final = ("joint", "uniform", "ogm-ge", "agm", "mmpareto", "dgl", "arm")
CLASSES: Final = 10
WARM_UP: Final = 3


def synchronise(device: torch.device) -> None:
    """Wait for queued kernels, so that a clock measures them."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def encoder(width: int, blocks: Sequence[int]) -> nn.Module:
    """Return a ResNet with basic blocks; width 64 and blocks (2, 2, 2, 2) are ResNet-18."""
    layers: list[nn.Module] = [nn.Conv2d(3, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
    layers.append(nn.MaxPool2d(3, 2, 1))
    channels = width
    for stage, count in enumerate(blocks):
        out = width * 2**stage
        for k in range(count):
            layers.append(Block(channels, out, 2 if stage and not k else 1))
            channels = out
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


class Block(nn.Module):
    """Basic residual block (He et al., CVPR 2016)."""

    def __init__(self, channels: int, out: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, out, 3, stride, 1, bias=False),
            nn.BatchNorm2d(out),
            nn.ReLU(),
            nn.Conv2d(out, out, 3, 1, 1, bias=False),
            nn.BatchNorm2d(out),
        )
        same = stride == 1 and channels == out
        self.skip: nn.Module = nn.Identity() if same else nn.Conv2d(channels, out, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the activations of the block."""
        return torch.relu(self.body(x) + self.skip(x))


def make_model(tiny: bool) -> MultimodalClassifier:
    """Return two ResNet encoders with concatenation."""
    width, blocks = (8, (1, 1)) if tiny else (64, (2, 2, 2, 2))
    torch.manual_seed(0)
    encoders = {m: encoder(width, blocks) for m in ("image", "sound")}
    dim = width * 2 ** (len(blocks) - 1)
    return MultimodalClassifier(encoders, num_outputs=CLASSES, feature_dims=dict.fromkeys(encoders, dim))


def batches(count: int, size: int, side: int, device: torch.device, seed: int = 0) -> Iterator[Batch]:
    """Yield images whose brightness and contrast tell the class."""
    generator = torch.Generator().manual_seed(seed)
    for k in range(count):
        target = torch.randint(CLASSES, (size,), generator=generator)
        level = target.view(-1, 1, 1, 1) / CLASSES - 0.5
        noise = [torch.randn(size, 3, side, side, generator=generator) for _ in range(2)]
        inputs = {"image": 0.5 * noise[0] + level, "sound": noise[1] * (1 + level)}
        index = torch.arange(k * size, (k + 1) * size)
        yield Batch(inputs, target, index).to(device)


def prepare(name: str, tiny: bool, device: torch.device, data: Sequence[Batch]) -> tuple[Method, MultimodalClassifier]:
    """Return a method and its model on the device, in the second epoch."""
    method = make_method(name, METHODS[name].early)
    model = method.prepare(make_model(tiny), torch.cat([b.target.cpu() for b in data]))
    model, method = model.to(device), method.to(device)
    for epoch in (0, 2):
        method.on_epoch_start(model, EpochContext(epoch, 10, train=lambda: data, held_out=lambda: data[:1]))
    return method, model


def step_seconds(name: str, tiny: bool, device: torch.device, data: Sequence[Batch], repeats: int) -> float:
    """Return the median seconds of one batch."""
    method, model = prepare(name, tiny, device, data)
    optimizer = torch.optim.SGD([*model.parameters(), *method.parameters()], lr=1e-3)
    times = []
    for k in range(WARM_UP + repeats):
        synchronise(device)
        started = time.perf_counter()
        for _ in method.steps(model, data[k % len(data)]):
            optimizer.step()
            optimizer.zero_grad()
        synchronise(device)
        times.append(time.perf_counter() - started)
    return sorted(times[WARM_UP:])[repeats // 2]


def train(tiny: bool, device: torch.device, data: Sequence[Batch], held_out: Sequence[Batch]) -> dict[str, float]:
    """Train ARM for some steps; return the first and the last loss, the accuracy on new samples, and the seconds."""
    method, model = prepare("arm", tiny, device, data)
    optimizer = torch.optim.SGD([*model.parameters(), *method.parameters()], lr=0.02, momentum=0.9)
    losses, started = [], time.perf_counter()
    for epoch in range(2 if tiny else 5):
        method.on_epoch_start(model, EpochContext(epoch, 5, train=lambda: data, held_out=lambda: held_out))
        for batch in data:
            for record in method.steps(model, batch):
                optimizer.step()
                optimizer.zero_grad()
                losses.append(record.loss)
    rule = make_rule("dynamic", model.modalities, model.task, feature_dims=model.feature_dims).to(device)
    hits = [predict(model, b.inputs, rule).argmax(-1) == b.target for b in held_out]
    return {
        "first_loss": losses[0].item(),
        "last_loss": losses[-1].item(),
        "accuracy": torch.cat(hits).float().mean().item(),
        "seconds": time.perf_counter() - started,
    }


def main() -> int:
    """Run all three parts and print one JSON object; the exit status is that of the battery."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--tiny", action="store_true", help="small networks and inputs, to check the script")
    parser.add_argument("--tests", default="tests/contract/test_devices.py tests/contract/test_methods.py")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    size, side, repeats = (8, 32, 3) if arguments.tiny else (64, 224, 20)
    data = list(batches(4, size, side, device))
    joint = 0.0
    rows = {}
    for name in SHOWN:
        seconds = step_seconds(name, arguments.tiny, device, data, repeats)
        joint = joint or seconds
        rows[name] = {"ms": round(1000 * seconds, 2), "relative": round(seconds / joint, 2)}
        print(f"{name:10} {1000 * seconds:8.2f} ms  {seconds / joint:5.2f} x joint", flush=True)
    training = train(arguments.tiny, device, data, list(batches(2, size, side, device, seed=1)))
    print(json.dumps({"device": str(device), "torch": torch.__version__, "steps": rows, "training": training}))
    environment = {**os.environ, "COUNTERPOISE_TEST_DEVICE": device.type}
    command = [sys.executable, "-m", "pytest", "-q", "--no-header", *arguments.tests.split()]
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode


if __name__ == "__main__":
    raise SystemExit(main())
