"""How costs grow with samples N, modalities M and classes C: valuation, diagnosis, a training step, a report.

    python benchmarks/scale/run.py                # everything, about 15 minutes of one core; resumes
    python benchmarks/scale/run.py --only report  # one part
    python benchmarks/scale/run.py --tables       # only write the tables again

Every number is a ratio of two times that were measured in turns in one process: the operation over the least that it
could cost (its limit). Times are those of the processor, which other work on the machine changes little. An operation
that takes longer than ``--patience`` is ended, and the table gives the ratio as a lower bound. Writes
``growth.md`` and ``points.jsonl`` beside this file; docs/scale.md shows the table.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import Any, TypeAlias

import numpy as np
import torch

Point: TypeAlias = dict[str, Any]
"""What was measured at one point: ``seconds`` and ``limit``; ``ended`` where the operation was ended."""

HERE = Path(__file__).parent
POINTS = HERE / "points.jsonl"
AXES: dict[str, dict[str, list[int]]] = {
    "valuation": {"N": [1_000, 10_000, 100_000, 1_000_000], "M": [2, 4, 8, 16], "C": [2, 10, 100, 1_000]},
    "diagnosis": {"N": [1_000, 10_000, 100_000, 1_000_000], "M": [2, 4, 8, 16], "C": [2, 10, 100, 1_000]},
    "training step": {"M": [2, 4, 8, 16], "C": [2, 10, 100, 1_000]},
    "report": {"N": [50, 500, 5_000], "M": [2, 4, 8, 16], "C": [2, 10, 100]},
}
"""Values of each axis; N of a report is the number of runs."""
BASE: dict[str, dict[str, int]] = {
    "valuation": {"N": 10_000, "M": 2, "C": 10},
    "diagnosis": {"N": 10_000, "M": 2, "C": 10},
    "training step": {"N": 64, "M": 2, "C": 10},
    "report": {"N": 100, "M": 2, "C": 10},
}
"""Values of the other axes."""
SMALL = (200, 2, 2)
DIM = 16
"""Features of a modality."""
LIMITS = {
    "valuation": "one pass over the features",
    "diagnosis": "one pass of the model over the samples",
    "training step": "a step of joint training",
    "report": "one decoding of the records",
}


def make_features(n: int, modalities: int, classes: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return noisy class means, the same information in every modality."""
    rng = np.random.default_rng(0)
    y = rng.integers(classes, size=n)
    y[:classes] = np.arange(min(classes, n))
    x = {}
    for k in range(modalities):
        means = rng.normal(size=(classes, DIM)).astype(np.float32)
        x[f"m{k}"] = means[y] + rng.standard_normal((n, DIM), dtype=np.float32)
    return x, y


def cpu(function: Callable[[], object], least: float = 0.0) -> float:
    """Return the processor seconds of one call, of several if one takes less than ``least``."""
    calls, started = 0, time.process_time()
    while True:
        function()
        calls += 1
        spent = time.process_time() - started
        if spent >= least:
            return spent / calls


class OverTimeError(BaseException):
    """An operation took too long. Not an `Exception`, so that no operation takes it for a failure of a stage."""


@contextmanager
def patience(seconds: float) -> Iterator[None]:
    """Raise `OverTimeError` inside of the block after so much time of the processor."""

    def end(signum: int, frame: FrameType | None) -> None:
        raise OverTimeError

    before = signal.signal(signal.SIGPROF, end)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def timed(operation: Callable[[], object], limit: float) -> Point:
    """Return the seconds of one call and of its limit; `OverTimeError` ends the call."""
    started = time.process_time()
    try:
        operation()
    except OverTimeError:
        return {"seconds": time.process_time() - started, "limit": limit, "ended": True}
    return {"seconds": time.process_time() - started, "limit": limit}


def valuation(n: int, modalities: int, classes: int) -> Point:
    from counterpoise.valuation import estimate

    x, y = make_features(n, modalities, classes)
    limit = cpu(lambda: [v.sum(0) for v in x.values()], 0.05)
    return timed(lambda: estimate(x, y), limit)


def diagnosis(n: int, modalities: int, classes: int) -> Point:
    """Diagnose a model, with the default limit of 5,000 samples; count the samples that it reads."""
    from counterpoise import diagnose
    from counterpoise.model import MultimodalClassifier
    from counterpoise.records import Batch

    x, y = make_features(n, modalities, classes)
    torch.manual_seed(0)
    encoders = {m: torch.nn.Sequential(torch.nn.Linear(DIM, DIM), torch.nn.ReLU()) for m in x}
    model = MultimodalClassifier(encoders, num_outputs=classes, feature_dims=dict.fromkeys(x, DIM)).eval()
    rows = torch.arange(n).split(512)
    inputs, target = {m: torch.from_numpy(v) for m, v in x.items()}, torch.from_numpy(y)
    batches = [Batch({m: v[r] for m, v in inputs.items()}, target[r], r) for r in rows]

    def one_pass() -> None:
        with torch.no_grad():
            for batch in batches:
                model(batch.inputs)

    limit = cpu(one_pass, 0.05)
    rows = {"read": 0, "computed": 0}

    def loader() -> Iterator[Batch]:
        for batch in batches:
            rows["read"] += len(batch)
            yield batch

    def count(module: torch.nn.Module, arguments: object, outputs: Any) -> None:
        rows["computed"] += len(outputs.logits)

    model.register_forward_hook(count)
    return timed(lambda: diagnose(model, loader()), limit) | rows


def training_step(n: int, modalities: int, classes: int) -> Point:
    """The step of `arm`, measured in turns with joint training."""
    from counterpoise.methods import METHODS, EpochContext, make_method
    from counterpoise.model import build_model
    from counterpoise.records import Batch

    names = [f"m{k}" for k in range(modalities)]
    batch = Batch({m: torch.randn(n, 100, 3) for m in names}, torch.arange(n) % classes, torch.arange(n))

    def make(name: str) -> Callable[[], None]:
        torch.manual_seed(0)
        model = build_model(dict.fromkeys(names, ("sequence", (100, 3), 0)), num_outputs=classes)
        method = make_method(name, METHODS[name].early)
        model = method.prepare(model, batch.target)
        method.on_epoch_start(model, EpochContext(0, 10, train=lambda: [batch], held_out=lambda: [batch]))
        optimizer = torch.optim.AdamW([*model.parameters(), *method.parameters()])

        def step() -> None:
            for _ in method.steps(model, batch):
                optimizer.step()
                optimizer.zero_grad()

        return step

    joint, arm = make("joint"), make("arm")
    turns = [(cpu(arm), cpu(joint)) for _ in range(24)][4:]
    seconds, limit = sorted(turns, key=lambda turn: turn[0] / turn[1])[len(turns) // 2]
    return {"seconds": seconds, "limit": limit}


def report(n: int, modalities: int, classes: int) -> Point:
    """Read and render ``n`` runs, of ten data sets where there are more than 50 of them."""
    from counterpoise.report import write_page
    from counterpoise.runs import read_records

    lines = list(made_records(n, modalities, classes, sets=10 if n > 50 else 1))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "runs.jsonl"
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        limit = cpu(lambda: [json.loads(line) for line in lines], 0.05)

        def render() -> None:
            records, _ = read_records([path])
            write_page(records, Path(folder) / "page.html")

        return timed(render, limit)


def made_records(n: int, modalities: int, classes: int, sets: int, epochs: int = 30) -> Iterator[str]:
    """Yield records as runs write them, in JSON: five seeds, rows of the catalogue, numbers around those of one run."""
    from counterpoise.config import FitConfig, RunConfig
    from counterpoise.data import from_arrays
    from counterpoise.experiment.runner import run
    from counterpoise.methods.catalogue import METHODS

    x, y = make_features(max(600, 12 * classes), modalities, classes)
    data = from_arrays(x, y, num_classes=classes, name="made")
    with tempfile.TemporaryDirectory() as folder:
        fit = FitConfig(epochs=2, accelerator="cpu")
        template = json.loads(run(RunConfig("made", fit=fit), Path(folder), data=data).to_json())
    rng, names, rules = np.random.default_rng(0), [*METHODS], ("default", "fused", "calibrated", "dynamic")
    for k in range(n):
        one, (position, seed) = json.loads(json.dumps(template)), divmod(k // sets, 5)
        method, rule = names[position % len(names)], rules[position // len(names) % len(rules)]
        name = f"set {k % sets}"
        one |= {"key": f"{k:016d}", "data": name, "source": name, "fingerprint": name, "seed": seed}
        one["row"] = {"method": method, "rule": rule}
        one["config"] |= {"data": name, "method": method, "rule": rule, "seed": seed}
        for metric in one["metrics"]:
            metric["value"] = None if metric["value"] is None else metric["value"] * (1 + 0.05 * rng.normal())
        for curve in one["curves"]:
            last = curve["values"][-1] or 0.0
            curve["values"] = [last * (1 + 0.05 * z) for z in rng.normal(size=epochs)]
        yield json.dumps(one)


MEASURES: dict[str, Callable[[int, int, int], Point]] = {
    "valuation": valuation,
    "diagnosis": diagnosis,
    "training step": training_step,
    "report": report,
}


def points(parts: Sequence[str]) -> Iterator[dict[str, Any]]:
    for part in parts:
        for axis, values in AXES[part].items():
            for value in values:
                yield {"part": part, "axis": axis, **BASE[part], axis: value}


def known_points() -> dict[str, Point]:
    lines = POINTS.read_text().splitlines() if POINTS.exists() else []
    return {key(point): point for point in map(json.loads, lines)}


def key(point: Point) -> str:
    return json.dumps([point[name] for name in ("part", "axis", "N", "M", "C")])


def axis_points(part: str, axis: str, known: dict[str, Point]) -> list[Point | None]:
    """Return what is known of each value of an axis."""
    return [known.get(key({"part": part, "axis": axis, **BASE[part], axis: v})) for v in AXES[part][axis]]


def work(point: Point) -> float:
    """Return a number that grows with the time of a point: the short ones are measured first."""
    n, size = point["N"], point["N"] * point["M"] * point["C"]
    if point["part"] == "report":
        return float(n)
    if point["part"] == "diagnosis":
        size = min(n, 5_000) * point["M"] * point["C"]
    elif point["part"] == "valuation" and DIM * size > 3e8:  # no iterations over the samples
        size /= 100
    return float(size)


def exponents(axis: str, measured: Sequence[Point | None]) -> list[float]:
    """Return by which power of the axis the time grows, from each value to the next."""
    pairs = [(a, b) for a, b in pairwise(measured) if a and b and not (a.get("ended") or b.get("ended"))]
    return [math.log(b["seconds"] / a["seconds"]) / math.log(b[axis] / a[axis]) for a, b in pairs]


def ratio(point: Point | None) -> str:
    if point is None:
        return "-"
    more = "> " if point.get("ended") else ""
    return f"{more}{point['seconds'] / point['limit']:.3g}"


def duration(point: Point | None) -> str:
    if point is None:
        return "-"
    more = "> " if point.get("ended") else ""
    return f"{more}{point['seconds']:.3g}"


def table(known: dict[str, Point]) -> str:
    lines = [
        "# Growth",
        "",
        "| operation | limit | axis | values | time over the limit | seconds | grows as |",
        "|---|---|---|---|---|---|---|",
    ]
    for part, axes in AXES.items():
        for axis, values in axes.items():
            measured = axis_points(part, axis, known)
            if not any(measured):
                continue
            cells = [
                part,
                LIMITS[part],
                f"{axis} ({', '.join(f'{k} = {v:,}' for k, v in BASE[part].items() if k != axis)})",
                ", ".join(f"{v:,}" for v in values),
                ", ".join(map(ratio, measured)),
                ", ".join(map(duration, measured)),
                ", ".join(f"{axis}^{e:.2f}" for e in exponents(axis, measured)),
            ]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", *reading(known)]) + "\n"


def reading(known: dict[str, Point]) -> list[str]:
    """Return a table of the samples that a diagnosis reads."""
    lines = [
        "| samples N | read from the loader | rows that the model computed | per sample that is used |",
        "|---:|---:|---:|---:|",
    ]
    for point in axis_points("diagnosis", "N", known):
        if point is not None and "read" in point:
            used = min(point["N"], 5_000)
            row = [point["N"], point["read"], point["computed"]]
            lines.append(f"| {' | '.join(f'{v:,}' for v in row)} | {point['computed'] / used:.1f} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=AXES, action="append", help="parts to measure; all by default")
    parser.add_argument("--minutes", type=float, default=20.0, help="processor minutes after which nothing is begun")
    parser.add_argument("--patience", type=float, default=300.0, help="processor seconds after which a point is ended")
    parser.add_argument("--tables", action="store_true", help="measure nothing")
    options = parser.parse_args()
    torch.set_num_threads(1)
    known = known_points()
    warm: set[str] = set()
    wanted = [] if options.tables else [p for p in points(options.only or list(AXES)) if key(p) not in known]
    for point in sorted(wanted, key=work):
        if time.process_time() > 60 * options.minutes:
            print("The minutes are used up; run the command again to resume.")
            break
        if point["part"] not in warm:  # imports, and first calls of libraries
            MEASURES[point["part"]](*SMALL)
            warm.add(point["part"])
        gc.collect()
        with patience(options.patience):
            measured = MEASURES[point["part"]](point["N"], point["M"], point["C"])
        known[key(point)] = point | measured
        with POINTS.open("a") as file:
            file.write(json.dumps(known[key(point)]) + "\n")
        print(point, f"{duration(measured)} s, {ratio(measured)} times the limit", flush=True)
    (HERE / "growth.md").write_text(table(known))


if __name__ == "__main__":
    main()
