"""The conclusions of a data set, and of several."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from counterpoise.report._format import number
from counterpoise.report.analysis.comparison import REFERENCE, Comparison, compare
from counterpoise.report.analysis.conclusions._advice import advice
from counterpoise.report.analysis.conclusions._contradictions import apparent_contradictions
from counterpoise.report.analysis.conclusions._details import contribution_sentence, paired_tests
from counterpoise.report.analysis.conclusions._encoders import encoder_sentence, encoders_of
from counterpoise.report.analysis.conclusions._finding import best_alone, finding, without_reference
from counterpoise.report.analysis.conclusions._phrases import capitalised, name_of, relation, score_error
from counterpoise.report.analysis.conclusions._robustness import robustness
from counterpoise.runs import RunRecord


@dataclass(frozen=True)
class Conclusions:
    """Conclusions from the runs of one data set.

    Attributes:
        finding: Result of joint training (the reference), in one sentence with its cost in points.
        action: Advice, in one sentence.
        evidence: Sentences with the differences in points behind the finding and the action, and on robustness.
        details: Sentences with p-values and contributions in nats.
    """

    finding: str
    action: str = ""
    evidence: tuple[str, ...] = ()
    details: tuple[str, ...] = field(default=())

    @property
    def lead(self) -> str:
        """Finding and action."""
        return f"{self.finding} {self.action}".strip()


def explain(
    records: Iterable[RunRecord], *, reference: str = REFERENCE, focus: str | None = None, details: bool = True
) -> list[str]:
    """Return the conclusions of every data set as plain sentences, the most important first.

    Args:
        records: The runs.
        reference: Row to which the others are compared; see `compare`.
        focus: Row of the conclusions; see `compare`.
        details: Whether to add the sentences with p-values and nats.

    Example:
        >>> from counterpoise.runs import Metric, RowId
        >>> def run(row, seed, accuracy):
        ...     return RunRecord(f"{row}{seed}", "digits", row, seed, "multiclass", ("a", "b"),
        ...                      metrics=[Metric("accuracy", accuracy)])
        >>> runs = [run(RowId("joint"), s, 0.80 + 0.01 * s) for s in range(3)]
        >>> runs += [run(RowId("unimodal", modality="a"), s, 0.85 + 0.011 * s) for s in range(3)]
        >>> for sentence in explain(runs, details=False): print(sentence)
        Joint training reaches 81.0 %, 5.1 points less than a alone (86.1 %).
        Use a alone, or compare methods that balance the modalities: no other method was run.
    """
    sentences = []
    by_data = conclusions(records, reference=reference, focus=focus)
    for data, one in by_data.items():
        prefix = f"{data}: " if len(by_data) > 1 else ""
        parts = (one.finding, one.action, *one.evidence, *(one.details if details else ()))
        sentences += [prefix + text for text in parts if text]
    return sentences


def conclusions(
    records: Iterable[RunRecord], *, reference: str = REFERENCE, focus: str | None = None
) -> dict[str, Conclusions]:
    """Return the conclusions by data set; see `explain`."""
    return {c.data: describe(c) for c in compare(records, reference=reference, focus=focus)}


def describe(comparison: Comparison) -> Conclusions:
    """Return the conclusions of one data set."""
    reference, score = comparison.reference, comparison.score
    if not any(comparison.seeds(label, score) for label in comparison.labels):
        return Conclusions("No run reports a test score.")
    if reference is None or not comparison.seeds(reference, score):
        return Conclusions(without_reference(comparison), f"Run `{REFERENCE}` as well to see what a method changes.")
    encoders = encoders_of(comparison, reference)
    alone = best_alone(comparison)
    evidence = (
        _focus_sentence(comparison, reference),
        encoder_sentence(encoders, comparison),
        *robustness(comparison, reference),
        *apparent_contradictions(comparison, reference, alone),
    )
    details = (*paired_tests(comparison, reference, alone, encoders), contribution_sentence(comparison))
    return Conclusions(
        finding(comparison, reference, alone, encoders),
        advice(comparison, reference, alone),
        tuple(text for text in evidence if text),
        tuple(text for text in details if text),
    )


def _focus_sentence(comparison: Comparison, reference: str) -> str:
    """Return the focus against the reference and against its strongest rival."""
    focus, score = comparison.focus, comparison.score
    if focus is None or not comparison.seeds(focus, score):
        return ""
    name = name_of(comparison, focus)
    d = comparison.difference(focus, score, to=reference)
    text = f"{capitalised(name)} {relation(comparison, d, name_of(comparison, reference))}"
    ratio = comparison.summary(focus, "step_time_ratio")
    if ratio.n:
        text += f", at {number(ratio.mean, 'step_time_ratio')} × its time per step"
    rivals = [x for x in comparison.labels if x not in (focus, reference) and comparison.seeds(x, score)]
    if not rivals:
        return f"{text}."
    rival = max(rivals, key=lambda label: comparison.summary(label, score).mean)
    s, against = comparison.summary(rival, score), comparison.difference(focus, score, to=rival)
    text += f"; the strongest other row is {name_of(comparison, rival)} ({score_error(comparison, s)})"
    return f"{text}, and {name} {relation(comparison, against, 'it')}."
