"""The benchmark of tiny vision-language models in short: one world, five models of known reliance on the image."""

from __future__ import annotations

import importlib
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("transformers")
FOLDER = Path(__file__).parents[3] / "benchmarks" / "vision_language"


@pytest.fixture(scope="module")
def modules() -> Any:
    sys.path.insert(0, str(FOLDER))
    sys.modules.pop("run", None)  # other benchmarks have modules of this name
    try:
        return importlib.import_module("tiny"), importlib.import_module("run")
    finally:
        sys.path.remove(str(FOLDER))
        sys.modules.pop("run", None)


@pytest.fixture(scope="module")
def readings(modules: Any) -> Any:
    tiny, run = modules
    world = tiny.hints(0.65)
    seeing, blind = (tiny.train(world, k, looks=not k, steps=100) for k in range(2))
    rows = [row for row in run.rows() if row.world.name == world.name]
    return world, seeing, [run.read(row, seeing, blind, 7 + k, 2, 200) for k, row in enumerate(rows)]


def test_intervals_hold_the_planted_share_and_blind_models_are_flagged(readings: Any) -> None:
    _, _, rows = readings
    assert len(rows) == 5
    assert sum(int(r.held.sum()) for r in rows) >= 9  # ten intervals of 95 %
    for r in rows:
        assert r.flagged.all() if r.truth < 0.01 else not r.flagged.any(), r.kind
    assert {r.truth < 0.01 for r in rows} == {True, False}


def test_the_truth_is_that_of_an_ideal_model_where_the_model_is_one(modules: Any, readings: Any) -> None:
    tiny, _ = modules
    world, seeing, rows = readings
    assert rows[0].truth == pytest.approx(world.share, abs=0.03)
    truth = tiny.truth(seeing, world)
    prior, noise = 0.65, 0.1
    text = math.log(3) + prior * math.log(prior) + (1 - prior) * math.log((1 - prior) / 2)
    # The answer agrees with the hint or not; given a picture and a hint the answer is known up to noise.
    joint = np.array([[prior * (1 - noise), (1 - prior) / 2 * noise / 2, (1 - prior) / 2 * noise / 2],
                      [(1 - prior) / 2 * (1 - noise), prior * noise / 2, (1 - prior) / 2 * noise / 2],
                      [(1 - prior) / 2 * (1 - noise), (1 - prior) / 2 * noise / 2, prior * noise / 2]])  # fmt: skip
    known = math.log(3) + float((joint * np.log(joint / joint.sum(1, keepdims=True))).sum())
    assert truth.known == pytest.approx(known, abs=0.01)
    assert truth.text == pytest.approx(text, abs=0.01)
    assert world.share == pytest.approx(1 - text / known, abs=1e-6)


def test_the_benchmark_has_forty_models(modules: Any) -> None:
    _, run = modules
    assert len(run.rows()) == 40
    assert len({row.world.name for row in run.rows()}) == 8


def test_scores_are_those_of_the_model_on_either_side_of_the_padding(modules: Any, readings: Any) -> None:
    from counterpoise.vision_language._answers import HuggingFace

    tiny, _ = modules
    world, seeing, _ = readings
    rows = world.draw(20, 0)
    reply = HuggingFace(seeing, tiny.Processor("right"))(
        [r["image"] for r in rows], [r["question"] for r in rows], [list(world.answers)] * 20
    )
    with torch.no_grad():
        every = tiny.logits(seeing, tiny.Processor(), world, world.pictures).numpy()
    for row, scores in zip(rows, reply.scores, strict=True):
        v = next(i for i, p in enumerate(world.pictures) if torch.equal(p, row["image"]))
        assert scores == pytest.approx(every[v, world.questions.index(row["question"])], abs=1e-4)
