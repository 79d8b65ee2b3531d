"""Encoders inside the reference, against the same encoders trained alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from counterpoise.report._format import number
from counterpoise.report.analysis.comparison import Comparison
from counterpoise.report.analysis.conclusions._phrases import amount_error, joined, name_of
from counterpoise.report.analysis.conclusions._significance import SMALL, is_significant
from counterpoise.report.analysis.statistics import Paired, Summary


@dataclass(frozen=True)
class Encoder:
    """Comparison of the linear probe of an encoder inside the reference with that of the encoder trained alone."""

    modality: str
    alone: Summary
    inside: Summary
    difference: Paired

    @property
    def is_under_trained(self) -> bool:
        """Whether it loses a point or more, significantly."""
        return self.difference.diff <= -SMALL and is_significant(self.difference)


def encoders_of(comparison: Comparison, reference: str) -> list[Encoder]:
    """Return the encoders that were also trained alone, the one that loses most first."""
    encoders = []
    for m in comparison.modalities:
        alone = comparison.unimodal(m)
        if alone is None:
            continue
        d = comparison.difference(reference, "probe", m, to=alone)
        if d.n:
            summaries = (comparison.summary(alone, "probe", m), comparison.summary(reference, "probe", m))
            encoders.append(Encoder(m, *summaries, d))
    return sorted(encoders, key=lambda e: e.difference.diff)


def encoder_sentence(encoders: Sequence[Encoder], comparison: Comparison) -> str:
    """Return which encoders are under-trained inside the reference, by their linear probes."""
    if not encoders:
        return ""
    weak = [e for e in encoders if e.is_under_trained]
    if weak:
        return _weak_encoders(weak, comparison)
    worst = encoders[0]
    span = _probe_span(worst, comparison)
    if worst.difference.diff > -SMALL:
        return f"By a linear probe no encoder is under-trained (closest: {worst.modality}, {span})."
    if math.isfinite(worst.difference.p_value):
        return f"No encoder is significantly under-trained (closest: {worst.modality}, {span})."
    return f"The encoder that loses most is that of {worst.modality} ({span}, no error estimate)."


def _weak_encoders(weak: Sequence[Encoder], comparison: Comparison) -> str:
    parts = [f"{e.modality} ({_probe_span(e, comparison)}, {amount_error(comparison, e.difference)})" for e in weak[:3]]
    plural = len(weak) > 1
    more = f" and {len(weak) - 3} more" if len(weak) > 3 else ""
    return (
        f"A linear probe shows that the encoder{'s' * plural} of {joined(parts)}{more} "
        f"{'are' if plural else 'is'} under-trained{_in_focus(comparison, weak[:3])}."
    )


def _probe_span(e: Encoder, comparison: Comparison) -> str:
    shown, percent = comparison.shown("probe"), " %" if comparison.in_percent else ""
    return f"{number(e.inside.mean, shown)}{percent} against {number(e.alone.mean, shown)}{percent} alone"


def _in_focus(comparison: Comparison, weak: Sequence[Encoder]) -> str:
    """Return the probes of the same encoders inside the row in focus."""
    focus = comparison.focus
    if focus is None:
        return ""
    summaries = [comparison.summary(focus, "probe", e.modality) for e in weak]
    if not all(s.n for s in summaries):
        return ""
    shown, percent = comparison.shown("probe"), " %" if comparison.in_percent else ""
    reached = [f"{number(s.mean, shown)}{percent}" for s in summaries]
    return f"; in {name_of(comparison, focus)} {'they reach' if len(weak) > 1 else 'it reaches'} {joined(reached)}"
