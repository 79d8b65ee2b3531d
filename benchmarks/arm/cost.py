"""Cost of what ARM computes between steps (contributions, re-sampling, decision rule), as a share of an epoch.

    python benchmarks/arm/cost.py [--out benchmarks/arm/cost.md]

Two modalities of random 28 x 28 images, 10,000 training and 1,000 validation samples, small convolutional encoders,
thirty epochs, one thread. Times are of the processor, so that other work on the machine counts little. The step itself
is timed in ``benchmarks/step``.
"""

from __future__ import annotations

import argparse
import os
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch

from counterpoise.config import FitConfig, RunConfig
from counterpoise.data import DataInfo, Modality, MultimodalData, Split
from counterpoise.methods.arm import ContributionResampler
from counterpoise.training import fit
from counterpoise.training import module as training_module

EPOCHS = 30  # of the release's recipe


def made(n: int, seed: int) -> Split:
    rng = np.random.default_rng(seed)
    y = rng.integers(10, size=n)
    images = {m: rng.integers(0, 256, size=(n, 1, 28, 28), dtype=np.uint8) for m in ("a", "b")}
    for x in images.values():
        x[np.arange(n), 0, 2 * y, :] = 255
    return Split(images, y)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    spent: dict[str, float] = defaultdict(float)

    def timed(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            started = time.process_time()
            try:
                return function(*args, **kwargs)
            finally:
                spent[name] += time.process_time() - started

        return call

    training_module.contributions = timed("held-out contributions, for the curves", training_module.contributions)
    training_module.fit_rule = timed("fitting the dynamic rule, once", training_module.fit_rule)
    training_module.refresh_rule = timed("taking moments of the features", training_module.refresh_rule)
    setattr(ContributionResampler, "forward", timed("re-sampling", ContributionResampler.forward))  # noqa: B010
    info = DataInfo("images", tuple(Modality(m, "image", (1, 28, 28)) for m in ("a", "b")), "multiclass", 10)
    data = MultimodalData(info, made(10_000, 0), made(1_000, 1), made(1_000, 2))
    config = RunConfig("images", "arm", fit=FitConfig(epochs=EPOCHS, accelerator="cpu"))
    fitted = fit(data, config)
    steps = -(-10_000 // config.fit.batch_size)
    epoch = fitted.step_ms / 1e3 * steps
    lines = [
        "# What ARM does between steps",
        "",
        f"10,000 samples, {steps} steps of {fitted.step_ms:.0f} ms = {epoch:.1f} s an epoch; processor seconds, mean "
        f"over {EPOCHS} epochs.",
        "",
        "| part | s an epoch | of an epoch |",
        "|---|---:|---:|",
    ]
    lines += [f"| {name} | {s / EPOCHS:.3f} | {s / EPOCHS / epoch:.1%} |" for name, s in spent.items()]
    total = sum(spent.values()) / EPOCHS
    lines.append(f"| together | {total:.3f} | {total / epoch:.1%} |")
    text = "\n".join(lines) + "\n"
    print(text)
    if options.out:
        options.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
