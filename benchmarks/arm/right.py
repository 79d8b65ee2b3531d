"""Does ARM name the right dominant modality in training? Writes ``right.md`` beside this file.

    python benchmarks/arm/right.py [--runs right.jsonl] [--data wikipedia,kanji]

ARM is trained at three times the recipe's rate until its held-out samples would be released. The modality that
contributes most to them is compared with the one that contributes most to the test set according to the library's
default estimator, on the features of the same network. Where groups are known (subjects, speakers), the held-out
samples are whole groups, and the estimator keeps each group in one fold: both then ask what holds for a new group. It
needs three groups for that. Where the test set has two, the held-out groups, of which the encoders have seen as little,
join the estimator's folds; contributions are those of the test samples all the same.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from speakers import open_set
from study import EPOCHS, Training, config_of

from counterpoise.data import MultimodalData
from counterpoise.methods.arm import held_out_contributions, held_out_experts
from counterpoise.methods.arm._heldout import SIGNIFICANT
from counterpoise.model import MultimodalClassifier
from counterpoise.records import Batch
from counterpoise.training import collect, make_optimizer
from counterpoise.valuation import estimate

HERE: Final = Path(__file__).parent
MIN_GROUPS: Final = 3
"""Groups that the estimator needs to keep them apart."""


def measure(name: str) -> dict[str, Any]:
    """Return the contributions on held-out samples and on the test set, and how far they are from the largest."""
    data = open_set(name, 0)
    training = Training(data, config_of(data, "arm", 3.0, 0))
    optimizer = make_optimizer(training.config.optim, [*training.model.parameters(), *training.method.parameters()])
    for epoch in range(training.release):
        training._epoch(epoch, optimizer)
    model = training.model.eval()
    held_out = list(training.module.held_out_pass())
    experts, target, _ = held_out_experts(model, held_out)
    prior = model.task.prior_logits(torch.from_numpy(data.train.target)).float()
    measured = held_out_contributions(model.task, experts, target, prior).pointwise.numpy()
    return {
        "data": name,
        "modalities": list(model.modalities),
        "groups": data.info.group or "",
        "samples": len(target),
        "held_out": summary(measured, measured.mean(0)),
        "test": on_test(model, data, held_out),
    }


def on_test(model: MultimodalClassifier, data: MultimodalData, held_out: Sequence[Batch]) -> dict[str, list[float]]:
    """Return the contributions to the test set by the default estimator.

    They are the means of what a modality tells alone and of what it adds to the others, as ARM compares them.
    """
    outputs, target = collect(model, data.test.batches(512))
    features, labels = {m: z.numpy() for m, z in outputs.features.items()}, target.numpy()
    group, count = data.test.group, len(labels)
    if group is None:
        default = estimate(features, labels)
    else:
        if len(np.unique(group)) < MIN_GROUPS:
            more, their = collect(model, held_out)
            features = {m: np.concatenate([z, more.features[m].numpy()]) for m, z in features.items()}
            labels = np.concatenate([labels, their.numpy()])
            rows = torch.cat([b.index for b in held_out]).numpy()
            group = np.concatenate([group, data.train.group[rows]])  # type: ignore[index]
        default = estimate(features, labels, group=group, folds=min(5, len(np.unique(group))))
    own = np.stack([(default.per_sample[f"mi:{m}"] + default.per_sample[f"cmi:{m}"]) / 2 for m in model.modalities], 1)
    values = np.array([(default.mi[m].value + default.cmi[m].value) / 2 for m in model.modalities])
    return summary(own[:count], values if len(own) == count else own[:count].mean(0))


def summary(pointwise: np.ndarray, values: np.ndarray) -> dict[str, list[float]]:
    """Return contributions, and the standard error of each one's distance to the largest.

    Args:
        pointwise: Contributions of the samples, ``(n, M)``.
        values: Contributions, ``(M,)``.
    """
    behind = pointwise[:, [int(values.argmax())]] - pointwise
    errors = behind.std(0, ddof=1) / math.sqrt(len(behind))
    return {"values": [round(float(v), 4) for v in values], "errors": [round(float(v), 5) for v in errors]}


def leads(side: dict[str, list[float]]) -> bool:
    """Return whether the largest contribution is significantly larger than each other."""
    values, errors = np.array(side["values"]), np.array(side["errors"])
    first = int(values.argmax())
    others = np.arange(len(values)) != first
    return bool((values[first] - values > SIGNIFICANT * errors)[others].all())


def row(record: dict[str, Any]) -> list[str]:
    """Return the cells of a data set."""
    cells = [record["data"], str(record["samples"]) + (f" (whole {record['groups']}s)" if record["groups"] else "")]
    for side in ("held_out", "test"):
        shown = zip(record["modalities"], record[side]["values"], strict=True)
        cells += [", ".join(f"{m} {v:.2f}" for m, v in shown), "yes" if leads(record[side]) else "no"]
    return [*cells, verdict(record)]


def verdict(record: dict[str, Any]) -> str:
    """Return whether both sides name the same modality, or whether one of them names none."""
    if np.argmax(record["held_out"]["values"]) == np.argmax(record["test"]["values"]):
        return "same"
    return "other" if leads(record["held_out"]) and leads(record["test"]) else "tie"


def table(lines: Sequence[dict[str, Any]]) -> str:
    """Return the page."""
    counts = {word: sum(verdict(x) == word for x in lines) for word in ("same", "tie", "other")}
    clear = [x for x in lines if leads(x["test"])]
    right = sum(verdict(x) == "same" for x in clear)
    text = [
        "# The dominant modality, named in training",
        "",
        f"ARM and the default estimator name the same dominant modality on {counts['same']} of {len(lines)} data sets. "
        f"Sets with different names: {counts['tie']} on which no modality leads on one of the sides, "
        f"{counts['other']} others. "
        f"The estimator has a significantly largest modality on {len(clear)} sets; ARM names it on {right} of them. "
        "Contributions are in nats: the mean of the unimodal and the marginal contribution. A modality leads if it is "
        f"{SIGNIFICANT} standard errors ahead of "
        "every other, counting samples. Where groups are known, the held-out samples are whole groups and the "
        "estimator keeps each group in one fold. One seed.",
        "",
        "| data | held-out samples | held-out contribution in training | one leads | default estimator on test | one "
        "leads | same modality first |",
        "|---|---:|---|---|---|---|---|",
        *("| " + " | ".join(row(x)) + " |" for x in lines),
    ]
    return "\n".join(text) + "\n"


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default=",".join(EPOCHS))
    parser.add_argument("--runs", type=Path, default=HERE / "right.jsonl")
    options = parser.parse_args()
    torch.set_num_threads(1)
    lines = [json.loads(x) for x in options.runs.read_text().splitlines()] if options.runs.is_file() else []
    for name in options.data.split(","):
        if name not in {x["data"] for x in lines}:
            lines.append(measure(name))
            with options.runs.open("a") as file:
                file.write(json.dumps(lines[-1]) + "\n")
            print(row(lines[-1]), flush=True)
    (HERE / "right.md").write_text(table(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
