"""Does ARM name the right dominant modality in training? Writes ``right.md`` beside this file.

    python benchmarks/arm/right.py [--data wikipedia,kanji]

ARM is trained at three times the recipe's rate until its held-out samples would be released. The modality that
contributes most to them is compared with the one that contributes most to the test set according to the library's
default estimator, on the features of the same network.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import torch
from study import EPOCHS, Training, config_of

from counterpoise.experiment.runner import open_cached
from counterpoise.methods.arm import held_out_contributions, held_out_experts
from counterpoise.training import collect
from counterpoise.valuation import estimate

HERE: Final = Path(__file__).parent


def row(name: str) -> list[str]:
    """Return the cells of a data set."""
    data = open_cached(name, 0)
    training = Training(data, config_of(data, "arm", 3.0, 0))
    optimizer = torch.optim.AdamW(
        [*training.model.parameters(), *training.method.parameters()], lr=training.config.optim.lr, weight_decay=1e-2
    )
    for epoch in range(training.release):
        training._epoch(epoch, optimizer)
    model = training.model.eval()
    experts, target, _ = held_out_experts(model, training.module.held_out_pass())
    prior = model.task.prior_logits(torch.from_numpy(data.train.target)).float()
    known = held_out_contributions(model.task, experts, target, prior)
    held_out = known.pointwise.mean(0)
    gaps, errors = known.gaps
    test, labels = collect(model, data.test.batches(512))
    default = estimate({m: z.numpy() for m, z in test.features.items()}, labels.numpy())
    # The mean of what a modality tells alone and of what it adds to the others, as ARM compares them.
    reference = torch.tensor([(default.mi[m].value + default.cmi[m].value) / 2 for m in model.modalities])
    named, right = int(held_out.argmax()), int(reference.argmax())
    second = gaps.argsort()[1]
    significant = "yes" if gaps[second] > 1.64 * errors[second] else "no"
    shown = [by_name(model.modalities, x) for x in (held_out, reference)]
    verdict = "yes" if named == right else "no"
    return [name, str(len(target)), shown[0], significant, shown[1], verdict]


def by_name(names: Sequence[str], values: torch.Tensor) -> str:
    """Return values with their names."""
    return ", ".join(f"{m} {v:.2f}" for m, v in zip(names, values.tolist(), strict=True))


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default=",".join(EPOCHS))
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for name in options.data.split(","):
        rows.append(row(name))
        print(rows[-1], flush=True)
    right = sum(r[-1] == "yes" for r in rows)
    lines = [
        "# The dominant modality, named in training",
        "",
        f"ARM names the modality that the default estimator calls dominant on {right} of {len(rows)} data sets. "
        "Contributions are in nats: the mean of what a modality tells alone and what it adds to the others. One seed.",
        "",
        "| data | held-out samples | held-out contribution in training | significant | default estimator on test | "
        "same modality first |",
        "|---|---:|---|---|---|---|",
        *("| " + " | ".join(r) + " |" for r in rows),
    ]
    (HERE / "right.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
