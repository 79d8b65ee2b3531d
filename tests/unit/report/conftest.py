"""Constructed RunRecords with known answers: no training, no data."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from counterpoise._files import json_safe
from counterpoise.runs import RunRecord

MakeRun = Callable[..., RunRecord]
MakeStudy = Callable[..., list[RunRecord]]


def make_run(
    label: str,
    seed: int,
    metrics: Mapping[str, float],
    *,
    data: str = "smartwatch",
    modalities: Sequence[str] = ("accelerometer", "gyroscope"),
    task: str = "multiclass",
    **more: object,
) -> RunRecord:
    method, _, rule = label.partition(" (")
    fields: dict[str, object] = {
        "schema": 2,
        "key": f"{data}-{label}-{seed}",
        "data": data,
        "method": method.partition(":")[0].partition(" ")[0],
        "rule": rule.rstrip(")") or "fused",
        "seed": seed,
        "task": task,
        "modalities": tuple(modalities),
        "metrics": dict(metrics),
        "label": label,
    }
    samples = more.pop("samples", {})
    return replace(RunRecord.from_json(json.dumps(json_safe(fields | more))), samples=samples)  # type: ignore[arg-type]


def _curves(
    rng: np.random.Generator, names: Sequence[str], final: Mapping[str, float], epochs: int, method: str
) -> dict[str, list[float]]:
    t = np.linspace(0.03, 1, epochs)
    rise = 1 - np.exp(-4 * t)

    def around(x: np.ndarray, noise: float) -> list[float]:
        return [float(v) for v in x + rng.normal(0, noise, epochs)]

    curves = {
        "train_loss": around(1.8 * np.exp(-3 * t) + 0.1, 0.02),
        "val_score": around(final["accuracy"] * rise / rise[-1], 0.006),
        "val_nll": around(1.7 * np.exp(-3 * t) + 0.5, 0.01),
        "phi_mi": around(final["phi_mi"] * rise / rise[-1], 0.02),
    }
    for m in names:
        curves[f"val_score:{m}"] = around(final[f"accuracy:{m}"] * rise / rise[-1], 0.008)
        curves[f"phi_mi:{m}"] = around(final[f"phi_mi:{m}"] * rise / rise[-1], 0.02)
        curves[f"phi_cmi:{m}"] = around(final[f"phi_cmi:{m}"] * rise / rise[-1], 0.015)
    if method == "arm":
        top = max(final[f"phi_cmi:{m}"] for m in names)
        for m in names:
            curves[f"lambda:{m}"] = around(1 + 2 * (top - final[f"phi_cmi:{m}"]) / 1.8 * rise, 0.01)
    if method == "ogm-ge":
        for i, m in enumerate(names):
            curves[f"kappa:{m}"] = around(1 - 0.5 * (i == 0) * rise, 0.02)
    return curves


def make_study(
    *,
    data: str = "smartwatch",
    modalities: Sequence[str] = ("accelerometer", "gyroscope"),
    seeds: int = 3,
    epochs: int = 20,
    classes: int = 6,
    labels: Sequence[str] = (
        *("unimodal-ensemble", "joint", "joint (calibrated)", "uniform", "uniform (calibrated)", "ogm-ge"),
        *("arm", "arm (calibrated)"),
    ),
    world: int = 0,
) -> list[RunRecord]:
    """Return runs as a demo gives them: joint loses to the first modality, ARM gains; noise over seeds."""
    rng = np.random.default_rng(world)
    gain = {"unimodal-ensemble": 0.01, "joint": 0.0, "uniform": 0.012, "ogm-ge": -0.008, "arm": 0.031}
    entropy = math.log(classes) * 0.97
    base = 0.82 + 0.03 * rng.uniform(-1, 1)
    records = []
    for seed in range(seeds):
        shift = rng.normal(0, 0.006)
        for label in (*(f"unimodal:{m}" for m in modalities), *labels):
            method = label.partition(" ")[0]
            alone = label.startswith("unimodal:")
            accuracy = base + shift + rng.normal(0, 0.003) + gain.get(method, 0.0) + 0.012 * ("calibrated" in label)
            metrics: dict[str, float] = {}
            for i, m in enumerate(modalities):
                if alone and label != f"unimodal:{m}":
                    continue
                strength = 1.0 if i == 0 else 0.86 - 0.04 * i
                kept = 1.0 if alone else {"joint": 0.9, "arm": 0.985}.get(method, 0.95)
                probe = (base + 0.023) * strength * (kept if i else min(1.0, kept + 0.08)) + rng.normal(0, 0.004)
                metrics[f"probe:{m}"] = probe
                metrics[f"accuracy:{m}"] = probe - 0.01
                metrics[f"phi_mi:{m}"] = entropy * probe * 0.85 + rng.normal(0, 0.01)
                if not alone:
                    metrics[f"phi_cmi:{m}"] = entropy * (0.25 if i == 0 else 0.05 * kept**4) + rng.normal(0, 0.01)
                if alone:
                    accuracy = base + shift + 0.023 * strength - (1 - strength) * base + rng.normal(0, 0.003)
            metrics |= {
                "accuracy": accuracy,
                "macro_f1": accuracy - 0.012,
                "nll": 1.6 * (1 - accuracy) + 0.25,
                "ece": 0.05 + 0.2 * (1 - accuracy) - 0.03 * ("calibrated" in label),
                "entropy": entropy,
                "phi_mi": entropy * (accuracy * 0.95) + rng.normal(0, 0.01),
                "step_ms": 6.0 * {"arm": 1.18, "uniform": 1.06, "unimodal": 0.55}.get(method.partition(":")[0], 1.0)
                + rng.normal(0, 0.1),
            }
            present = [m for m in modalities if f"probe:{m}" in metrics]
            known = [m for m in present if f"phi_cmi:{m}" in metrics]

            def part(name: str, values: Mapping[str, float] = metrics) -> dict[str, float]:
                value = values[name]
                return {"value": value, "low": value - 0.06, "high": value + 0.06, "se": 0.03}

            config = {
                "data": data,
                "method": method.partition(":")[0],
                "method_args": {"modality": label.removeprefix("unimodal:")} if alone else {},
                "rule": "calibrated" if "calibrated" in label else "default",
                "seed": seed,
                "model": {"fusion": "concat", "encoders": {}, "width": 64},
                "optim": {"name": "adamw", "lr": 0.001, "weight_decay": 0.01, "schedule": "cosine"},
                "fit": {"epochs": epochs, "batch_size": 64, "holdout": 0.1},
            }
            final = {f"accuracy:{m}": 0.5 for m in modalities} | metrics
            records.append(
                make_run(
                    label,
                    seed,
                    metrics,
                    data=data,
                    modalities=modalities,
                    config=config,
                    validation={"accuracy": accuracy + 0.01},
                    curves=_curves(rng, known, final, epochs, method),
                    valuation={
                        "unit": "nats",
                        "n": 900,
                        "entropy": entropy,
                        "joint_mi": part("phi_mi"),
                        "modalities": {m: {"mi": part(f"phi_mi:{m}"), "cmi": part(f"phi_cmi:{m}")} for m in known},
                    },
                    best_epoch=epochs - 2,
                    seconds=12.3,
                    environment={"python": "3.11.2", "torch": "2.13.0", "device": "cpu", "threads": "1"},
                    command=f"counterpoise demo --seeds {seeds}",
                )
            )
    return records


@pytest.fixture(name="make_run", scope="session")
def _make_run() -> MakeRun:
    return make_run


@pytest.fixture(name="make_study", scope="session")
def _make_study() -> MakeStudy:
    return make_study


@pytest.fixture(scope="session")
def demo_records() -> list[RunRecord]:
    return make_study()


@pytest.fixture(scope="session")
def many_records() -> list[RunRecord]:
    sets = (
        ("smartwatch", ("accelerometer", "gyroscope")),
        ("utd-mhad", ("inertial", "skeleton", "depth")),
        ("fashion", ("image", "text")),
        ("handwritten", ("fou", "fac", "kar", "pix", "zer", "last")),
    )
    return [r for i, (data, ms) in enumerate(sets) for r in make_study(data=data, modalities=ms, world=i)]


@pytest.fixture
def golden() -> Callable[[str, str], None]:
    """Compare a text with ``tests/golden/NAME.txt``; ``COUNTERPOISE_GOLDEN=write`` writes the file again."""

    def check(name: str, text: str) -> None:
        path = Path(__file__).parents[2] / "golden" / f"{name}.txt"
        if os.environ.get("COUNTERPOISE_GOLDEN") == "write":
            path.write_text(f"{text}\n", encoding="utf-8")
        assert path.read_text(encoding="utf-8") == f"{text}\n"

    return check
