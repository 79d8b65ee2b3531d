"""The result of the diagnosis of a vision-language model: plain numbers, tables, a figure and a page."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from counterpoise._extras import extra
from counterpoise._files import json_safe, write_atomic
from counterpoise.pages.colours import INK, MODALITIES
from counterpoise.valuation import Estimate

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

__all__ = ["VLMDiagnosis"]


@dataclass(frozen=True, repr=False)
class VLMDiagnosis:
    """Result of `diagnose_vlm`: how much the answers of a model depend on the image.

    Attributes:
        n: Number of samples.
        accuracy: Share of right answers with the image (``full``), without it (``blind``), with that of another sample
            (``swapped``) and, where samples have one, with one that contradicts the text (``conflict``).
        image_used: Share of the information in the calibrated predictions that is lost with the image of another
            sample; without labels, how much the predictions change (total variation, or the share of changed texts).
        text_used: The same for the question.
        image_information: I(answer; image given text) realised in the predictions, in nats; None without labels.
        image_share: The same in per cent of H(answer), which is all that can be known; None without labels.
        text_preference: Share of conflicts in which the answer follows the text; None without conflicts.
        samples: One row per sample with the answers in each run.
        notes: Assumptions and limits.
    """

    n: int
    accuracy: Mapping[str, Estimate]
    image_used: Estimate
    text_used: Estimate
    image_information: Estimate | None = None
    image_share: Estimate | None = None
    text_preference: Estimate | None = None
    samples: tuple[Mapping[str, Any], ...] = ()
    notes: tuple[str, ...] = field(default=())

    @property
    def ignores_image(self) -> bool:
        """Whether the upper end of `image_used` is below 0.05."""
        return bool(self.image_used.high < 0.05)

    @property
    def summary(self) -> str:
        """The finding in one sentence."""
        used = self.image_used
        if self.ignores_image:
            return f"The answers do not depend on the image (used: {used:.2f}, n = {self.n})."
        if used.low > 0:
            return f"The answers depend on the image (used: {used:.2f}, n = {self.n})."
        return f"Too few samples to say whether the answers depend on the image (used: {used:.2f}, n = {self.n})."

    def _rows(self) -> list[tuple[str, Estimate]]:
        rows: list[tuple[str, Estimate | None]] = [(f"accuracy, {k}", v) for k, v in self.accuracy.items()]
        rows += [("image used", self.image_used), ("text used", self.text_used)]
        rows += [
            ("I(answer; image | text) in nats", self.image_information),
            ("the same in per cent of H(answer)", self.image_share),
            ("text preference", self.text_preference),
        ]
        return [(name, e) for name, e in rows if e is not None]

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        estimates = ("image_used", "text_used", "image_information", "image_share", "text_preference")
        return json_safe(
            {
                "n": self.n,
                "summary": self.summary,
                "ignores_image": self.ignores_image,
                "accuracy": {k: v.to_dict() for k, v in self.accuracy.items()},
                **{k: None if (e := getattr(self, k)) is None else e.to_dict() for k in estimates},
                "samples": [dict(row) for row in self.samples],
                "notes": list(self.notes),
            }
        )

    def to_pandas(self) -> pd.DataFrame:
        """Return one row per sample with the answers in each run."""
        with extra("data"):
            import pandas as pd

        return pd.DataFrame([dict(row) for row in self.samples])

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw accuracies and the shares of image and text with their intervals, and return the Axes.

        Args:
            ax: Axes to draw on; None makes a figure.
        """
        with extra("report"):
            import matplotlib.pyplot as plt

        ax = plt.subplots(figsize=(6.4, 3.2), layout="constrained")[1] if ax is None else ax
        rows = [(name, e) for name, e in self._rows() if "nats" not in name and "per cent" not in name]
        for place, (name, e) in enumerate(rows):
            colour = MODALITIES[0] if name.startswith("image") else MODALITIES[1] if "text" in name else INK
            if e.value == e.value:  # not NaN
                ax.barh(place, e.value, 0.7, color=colour, alpha=0.85)
            ax.plot([e.low, e.high], [place, place], color=INK, linewidth=1.5)
        ax.set_yticks(range(len(rows)), [name for name, _ in rows])
        ax.invert_yaxis()
        ax.set_xlim(0, 1)
        ax.set_xlabel("share, with 95 % interval")
        ax.set_title(self.summary, fontsize=10)
        ax.spines[["top", "right"]].set_visible(False)
        return ax

    def save_html(self, path: Path | str) -> Path:
        """Write a self-contained page, and return its path.

        Raises:
            OutputError: If the file cannot be written.
        """
        head = '<!doctype html><html lang="en"><meta charset="utf-8"><title>Vision-language diagnosis</title>'
        style = "<style>body{font:16px sans-serif;margin:2em}td,th{padding:.2em .8em;text-align:left}</style>"
        rows = self.samples[:200]
        keys = list(rows[0]) if rows else []
        table = _table(keys, [[row.get(k, "") for k in keys] for row in rows])
        return write_atomic(path, f"{head}{style}<body>{self._repr_html_()}<h2>Samples</h2>{table}</body></html>")

    def _repr_html_(self) -> str:
        table = _table(["", "value", "95 % interval"], [[k, f"{e.value:.3f}", _interval(e)] for k, e in self._rows()])
        notes = "".join(f"<li>{html.escape(note)}</li>" for note in self.notes)
        return f"<p><b>{html.escape(self.summary)}</b></p>{table}<ul>{notes}</ul>"

    def __repr__(self) -> str:
        width = max(len(name) for name, _ in self._rows())
        lines = [self.summary, *(f"{name:<{width}}  {e:.3f}" for name, e in self._rows())]
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])


def _interval(e: Estimate) -> str:
    return f"{e.low:.3f} to {e.high:.3f}"


def _table(head: list[str], rows: list[list[Any]]) -> str:
    cells = ["".join(f"<td>{html.escape(str(v))}</td>" for v in row) for row in rows]
    titles = "".join(f"<th>{html.escape(h)}</th>" for h in head)
    return f"<table><tr>{titles}</tr>{''.join(f'<tr>{c}</tr>' for c in cells)}</table>"
