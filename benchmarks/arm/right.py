"""Does ARM name the right dominant modality in training? Writes ``right.md`` beside this file.

    python benchmarks/arm/right.py [--runs right.jsonl] [--data wikipedia,kanji]

ARM is trained at three times the recipe's rate until its held-out samples would be released. The modality that
contributes most to them is compared with the one that contributes most to the test set according to the library's
default estimator, on the features of the same network. Where groups are known (subjects, speakers), the held-out
samples are whole groups. The estimator keeps each group in one fold if there are three or more of them: both then ask
what holds for new groups. With two test speakers it cannot, and measures what heads fitted on these speakers know.
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

from counterpoise.methods.arm import held_out_contributions, held_out_experts
from counterpoise.methods.arm._heldout import SIGNIFICANT
from counterpoise.training import collect, make_optimizer
from counterpoise.valuation import estimate

HERE: Final = Path(__file__).parent


def measure(name: str) -> dict[str, Any]:
    """Return the contributions on held-out samples and on the test set, and how far they are from the largest."""
    data = open_set(name, 0)
    training = Training(data, config_of(data, "arm", 3.0, 0))
    optimizer = make_optimizer(training.config.optim, [*training.model.parameters(), *training.method.parameters()])
    for epoch in range(training.release):
        training._epoch(epoch, optimizer)
    model = training.model.eval()
    experts, target, _ = held_out_experts(model, training.module.held_out_pass())
    prior = model.task.prior_logits(torch.from_numpy(data.train.target)).float()
    held_out = held_out_contributions(model.task, experts, target, prior).pointwise.numpy()
    test, labels = collect(model, data.test.batches(512))
    features = {m: z.numpy() for m, z in test.features.items()}
    default = estimate(features, labels.numpy(), **group_options(data.test.group))
    # The mean of what a modality tells alone and of what it adds to the others, as ARM compares them.
    own = [(default.per_sample[f"mi:{m}"] + default.per_sample[f"cmi:{m}"]) / 2 for m in model.modalities]
    reference = [(default.mi[m].value + default.cmi[m].value) / 2 for m in model.modalities]
    return {
        "data": name,
        "modalities": list(model.modalities),
        "groups": data.info.group or "",
        "samples": len(target),
        "held_out": summary(held_out, held_out.mean(0)),
        "test": summary(np.stack(own, 1), np.array(reference)),
    }


def group_options(group: np.ndarray | None) -> dict[str, Any]:
    """Return the estimator's options for the groups of a test set: it needs three or more to keep them apart."""
    count = 0 if group is None else len(np.unique(group))
    return {"group": group, "folds": min(5, count)} if count >= 3 else {}


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


def row(found: dict[str, Any]) -> list[str]:
    """Return the cells of a data set."""
    cells = [found["data"], str(found["samples"]) + (f" (whole {found['groups']}s)" if found["groups"] else "")]
    for side in ("held_out", "test"):
        shown = zip(found["modalities"], found[side]["values"], strict=True)
        cells += [", ".join(f"{m} {v:.2f}" for m, v in shown), "yes" if leads(found[side]) else "no"]
    return [*cells, verdict(found)]


def verdict(found: dict[str, Any]) -> str:
    """Return whether both sides name the same modality, or whether one of them names none."""
    if np.argmax(found["held_out"]["values"]) == np.argmax(found["test"]["values"]):
        return "same"
    return "other" if leads(found["held_out"]) and leads(found["test"]) else "tie"


def table(lines: Sequence[dict[str, Any]]) -> str:
    """Return the page."""
    counts = {word: sum(verdict(x) == word for x in lines) for word in ("same", "tie", "other")}
    clear = [x for x in lines if leads(x["test"])]
    right = sum(verdict(x) == "same" for x in clear)
    text = [
        "# The dominant modality, named in training",
        "",
        f"Of {len(lines)} data sets ARM names the modality that the default estimator calls dominant on "
        f"{counts['same']}. On {counts['tie']} it names another one, but one of the two sides is a tie, and on "
        f"{counts['other']} both name one and disagree. The estimator has a significantly largest modality on "
        f"{len(clear)} sets; ARM names it on {right} of them. Contributions are in nats: the mean of what a modality "
        f"tells alone and what it adds to the others. A modality leads if it is {SIGNIFICANT} standard errors ahead of "
        "every other, counting samples. One seed.",
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
