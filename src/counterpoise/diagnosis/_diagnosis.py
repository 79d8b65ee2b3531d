"""The result of a diagnosis: plain numbers, tables, a figure and a page."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from counterpoise._extras import extra
from counterpoise._files import json_safe, write_atomic
from counterpoise.diagnosis._consistency import joint_available
from counterpoise.diagnosis._evidence import Evidence, Finding, Thresholds, Verdict
from counterpoise.evaluation.robustness import CorruptionScore
from counterpoise.evaluation.sample_lists import ClassShare, SampleLists
from counterpoise.valuation import Estimate, Valuation

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from matplotlib.axes import Axes
    from rich.console import RenderableType

__all__ = ["Diagnosis"]

EVIDENCE: Final = {
    "used": "realised",
    "lost": "lost",
    "lost_cmi": "lost_cmi",
    "shortfall": "shortfall",
    "encoder": "encoder",
    "shown": "shown",
    "gap": "gap",
    "decodable": "decodable",
}
"""Estimates of `Evidence` by their names in JSON and tables."""


@dataclass(frozen=True, repr=False)
class Diagnosis:
    """Result of a diagnosis: available and used information of each modality in nats, and verdicts.

    It is displayed as a plain table by `print`, as a coloured table by rich, and as an HTML table in a notebook.

    Attributes:
        modalities: Names of the modalities.
        verdict: Balanced, under-trained, uninformative, overfitting or undecided.
        summary: The verdict in plain words with its numbers.
        findings: The verdict on each modality.
        valuation: Contributions of the modalities with intervals, per class and per sample.
        source: Data on which the available information was measured: ``features`` (of the model) or ``inputs``.
        evidence: The numbers behind the verdicts.
        joint_realised: Used information of all modalities together, I(f(X); Y), or None without a model.
        classes: The modality that dominates each class.
        samples: Positions in the loader (rows of the arrays) of samples to inspect; None if the estimator gives no
            contributions of samples.
        clean: Scores of the model on clean inputs; empty without a model.
        corrupted: Scores with one modality corrupted.
        thresholds: Cut-offs of the verdicts.
        notes: Assumptions that were made, and contradictions between the numbers.
        gallery: Some of the samples with pictures, for the page, as `counterpoise.gallery.Gallery` reads it; not in
            `to_dict`.
    """

    modalities: tuple[str, ...]
    verdict: Verdict
    summary: str
    findings: dict[str, Finding]
    valuation: Valuation
    source: str
    evidence: dict[str, Evidence]
    joint_realised: Estimate | None = None
    classes: tuple[ClassShare, ...] = ()
    samples: SampleLists | None = None
    clean: dict[str, float] = field(default_factory=dict)
    corrupted: tuple[CorruptionScore, ...] = ()
    thresholds: Thresholds = field(default_factory=Thresholds)
    notes: tuple[str, ...] = ()
    gallery: dict[str, Any] = field(default_factory=dict, compare=False)

    @property
    def joint_available(self) -> Estimate:
        """Available information of all modalities together: never less than that of one of them."""
        return joint_available(self.valuation, self.evidence)

    def unmeasured(self, name: str, m: str) -> bool:
        """Return whether there are too few samples for ``mi``, ``cmi`` or ``encoder`` of a modality."""
        key = {"mi": f"mi:{m}", "cmi": f"cmi:{m}", "encoder": f"mi:{m}" if self.source == "features" else ""}.get(name)
        return key in self.valuation.too_few_samples

    def to_dict(self) -> dict[str, Any]:
        """Return the diagnosis as plain data for JSON: unit, n, entropy, joint_mi, modalities, verdict and all other
        fields.
        """
        value = self.valuation
        return json_safe(
            {
                "unit": value.unit,
                "n": value.n,
                "entropy": value.entropy,
                "task": value.task,
                "estimator": value.estimator,
                "confidence": value.confidence,
                "valued": self.source,
                "joint_mi": value.joint_mi.to_dict(),
                "joint_available": self.joint_available.to_dict(),
                "joint_realised": _plain(self.joint_realised),
                "co_information": _plain(value.co_information),
                "modalities": {m: self._modality(m) for m in self.modalities},
                "too_few_samples": list(value.too_few_samples),
                "verdict": self.verdict,
                "summary": self.summary,
                "classes": [asdict(row) for row in self.classes],
                "samples": None if self.samples is None else self.samples.to_dict(),
                "scores": self.clean,
                "corrupted": [
                    {"modality": c.modality, "corruption": asdict(c.corruption), **c.scores} for c in self.corrupted
                ],
                "thresholds": asdict(self.thresholds),
                "notes": list(self.notes),
            }
        )

    def _modality(self, m: str) -> dict[str, Any]:
        finding, evidence = self.findings[m], self.evidence[m]
        return {
            "mi": self.valuation.mi[m].to_dict(),
            "cmi": self.valuation.cmi[m].to_dict(),
            "verdict": finding.verdict,
            "number": finding.number,
            "summary": finding.sentence,
            "role": finding.role,
            "potential": {"mi": evidence.mi.to_dict(), "cmi": evidence.cmi.to_dict()},
            **{name: _plain(getattr(evidence, key)) for name, key in EVIDENCE.items()},
            "changed": evidence.changed,
        }

    def to_pandas(self, *, compact: bool = False) -> pd.DataFrame:
        """Return one row per modality: verdict, role, and every estimate with its interval as three columns.

        Args:
            compact: Whether to leave the intervals and the references out: one column per estimate, in nats.
        """
        with extra("report"):
            import pandas as pd

        rows = []
        for m in self.modalities:
            finding, evidence = self.findings[m], self.evidence[m]
            row: dict[str, Any] = {"modality": m, "verdict": finding.verdict, "role": finding.role}
            known = {"mi": self.valuation.mi[m], "cmi": self.valuation.cmi[m]}
            known |= {f"potential_{k}": getattr(evidence, k) for k in ("mi", "cmi")}
            known |= {k: getattr(evidence, v) for k, v in EVIDENCE.items() if getattr(evidence, v) is not None}
            for name, e in known.items():
                row |= {name: e.value, f"{name}_low": e.low, f"{name}_high": e.high}
            rows.append(row)
        frame = pd.DataFrame(rows)
        dropped = [c for c in map(str, frame) if c.startswith("potential_") or c.endswith(("_low", "_high"))]
        return frame.drop(columns=dropped) if compact else frame

    def save_json(self, path: Path | str) -> Path:
        """Write `to_dict` and return the path.

        Raises:
            OutputError: If that cannot be written.
        """
        return write_atomic(path, json.dumps(self.to_dict(), indent=1, ensure_ascii=False))

    def save_html(self, path: Path | str) -> Path:
        """Write one self-contained page, and return the path.

        Raises:
            OutputError: If that cannot be written.
        """
        from counterpoise.diagnosis._page import render

        return write_atomic(path, render(self))

    def plot(self, ax: Axes | None = None) -> Axes | np.ndarray:
        """Draw available and used information of each modality, and scores with a modality corrupted.

        Save the figure with ``diagnosis.plot()[0].figure.savefig("diagnosis.png")``.

        Args:
            ax: Axes to draw the contributions on; None makes a figure.

        Returns:
            ``ax``, or the array of the new figure's Axes: contributions and, where the model was run on corrupted
            inputs, scores.
        """
        from counterpoise.diagnosis._plot import draw

        return draw(self, ax)

    def _repr_html_(self) -> str:
        from counterpoise.diagnosis._text import as_html

        return as_html(self)

    def __repr__(self) -> str:
        from counterpoise.diagnosis._text import as_text

        return as_text(self)

    def __rich__(self) -> RenderableType:
        from counterpoise.diagnosis._text import as_rich

        return as_rich(self)


def _plain(e: Estimate | None) -> dict[str, Any] | None:
    return None if e is None else e.to_dict()
