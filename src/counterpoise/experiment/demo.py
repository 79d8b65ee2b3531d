"""Demonstrations on real data that are part of packages: a wasted modality, and a failing sensor."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from counterpoise._validation import unknown
from counterpoise.experiment.compare import Failure, compare
from counterpoise.experiment.result import ComparisonResult
from counterpoise.runs import RunRecord

__all__ = ["DEMOS", "Demo", "run_demo"]


@dataclass(frozen=True)
class Demo:
    """A comparison of methods that demonstrates one effect.

    Attributes:
        data: Name of the data set.
        question: Description of the data and of the question that they answer.
        methods: Methods to compare.
        reference_rules: Further decision rules with which joint training is evaluated, so that the effect of the rule
            and that of the training can be separated.
        given: Settings that differ from the defaults.
        focus: Row of the conclusions: the method that the evidence in ``docs/arm.md`` recommends.
    """

    data: str
    question: str
    methods: tuple[str, ...] = ("unimodal", "joint", "arm", "separated-experts")
    reference_rules: tuple[str, ...] = ("dynamic",)
    given: Mapping[str, Any] = field(default_factory=dict)
    focus: str = "separated-experts"


DEMOS: Final[Mapping[str, Demo]] = MappingProxyType(
    {
        "kanji": Demo(
            "kanji",
            "2,200 Japanese characters, each with its picture and its meaning in English: to which of 20 families "
            "does it belong?",
            given={"fit": {"epochs": 12}},
        ),
        "smartwatch": Demo(
            "smartwatch",
            "Smart-watch recordings of seven shoulder exercises: what happens when the accelerometer or the gyroscope "
            "fails?",
        ),
    }
)
"""The demonstrations by name."""


def run_demo(
    name: str = "kanji",
    *,
    seeds: int = 5,
    out: Path = Path("counterpoise-demo"),
    jobs: int | None = None,
    on_start: Callable[[int], None] | None = None,
    on_done: Callable[[RunRecord | Failure], None] | None = None,
) -> ComparisonResult:
    """Train every method of a demonstration and write records, tables and the page into ``out``.

    Args:
        name: Name of the demonstration, a key of `DEMOS`.
        seeds: Number of runs of each method. A run of `kanji` uses the split of its seed.
        out: The folder.
        jobs: Number of processes; None uses one per core.
        on_start: Function that is called with the number of runs, before the first.
        on_done: Function that is called after each run.

    Raises:
        NotFoundError: For an unknown demonstration.
    """
    if name not in DEMOS:
        raise unknown("demo", name, DEMOS)
    demo = DEMOS[name]
    return compare(
        [demo.data],
        demo.methods,
        seeds=seeds,
        out=out,
        reference_rules=demo.reference_rules,
        given=demo.given,
        jobs=jobs,
        on_start=on_start,
        on_done=on_done,
        focus=demo.focus,
        figures=False,
    )
