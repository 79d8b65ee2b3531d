"""A diagnosis as a figure: contributions, and scores with a modality corrupted."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from counterpoise._extras import extra
from counterpoise.pages.colours import INK, MODALITIES
from counterpoise.valuation import TOO_FEW

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes

    from counterpoise.diagnosis._diagnosis import Diagnosis

__all__ = ["draw", "svgs"]


def _panels(d: Diagnosis) -> int:
    return 2 if d.corrupted else 1


def _size(d: Diagnosis, panels: int) -> tuple[float, float]:
    return 5.2 * panels, 0.6 * len(d.modalities) * 2.2 + 1.6


def _fill(axes: Sequence[Axes] | np.ndarray, d: Diagnosis) -> None:
    """Draw one panel on each Axes."""
    _contributions(axes[0], d)
    if d.corrupted:
        _scores(axes[1], d)
    for axis in axes:
        _style(axis)


def _style(axis: Axes) -> None:
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(colors=INK)


def _contributions(axis: Any, d: Diagnosis) -> None:
    """Draw one group of bars per modality: available, used, and given the others."""
    share = not d.valuation.differential and d.valuation.entropy > 0
    factor = 100 / d.valuation.entropy if share else 1.0
    labels, position = [], 0.0
    for k, m in enumerate(d.modalities):
        evidence, colour = d.evidence[m], MODALITIES[k % len(MODALITIES)]
        rows = [
            ("available", evidence.mi, 1.0, "mi"),
            ("used", evidence.realised, 0.6, "realised"),
            ("given the others", evidence.cmi, 0.3, "cmi"),
        ]
        for name, e, alpha, key in rows:
            if e is None:
                continue
            if d.unmeasured(key, m):
                labels.append((position, f"{m}: {name} ({TOO_FEW})"))
                position += 1
                continue
            axis.barh(position, factor * e.value, 0.8, color=colour, alpha=alpha)
            axis.plot([factor * e.low, factor * e.high], [position, position], color=INK, linewidth=1)
            labels.append((position, f"{m}: {name}"))
            position += 1
        position += 0.6
    axis.set_yticks([p for p, _ in labels], [_literal(text) for _, text in labels])
    axis.invert_yaxis()
    axis.axvline(0, color=INK, linewidth=0.8)
    unit = "% of what can be known" if share else "nats"
    axis.set_xlabel(f"{unit}, with {d.valuation.confidence:.0%} intervals")
    axis.set_title("Contributions", loc="left")


def _scores(axis: Any, d: Diagnosis) -> None:
    name = next(iter(d.clean))
    changes = list(dict.fromkeys(str(x.corruption) for x in d.corrupted))
    for k, m in enumerate(d.modalities):
        points = {str(x.corruption): x.scores[name] for x in d.corrupted if x.modality == m}
        where = [i for i, change in enumerate(changes) if change in points]
        marker = "os^Dv<>P"[k % 8]
        axis.plot(
            [points[changes[i]] for i in where], where, marker, color=MODALITIES[k % len(MODALITIES)], label=_literal(m)
        )
    axis.axvline(d.clean[name], color=INK, linewidth=0.8, linestyle="--", label="clean")
    axis.set_yticks(range(len(changes)), changes)
    axis.invert_yaxis()
    axis.set_xlabel("R²" if name == "r2" else name)
    axis.set_title("With one modality corrupted", loc="left")
    axis.legend(frameon=False, loc="best")


def _literal(text: str) -> str:
    """Escape a name, so that matplotlib does not interpret it as mathematics."""
    return text.replace("$", r"\$")


def draw(d: Diagnosis, ax: Axes | None = None) -> Axes | np.ndarray:
    """Draw on the given Axes, or on those of a new pyplot figure, which a notebook shows."""
    if ax is not None:
        _contributions(ax, d)
        return ax
    with extra("report"):
        from matplotlib import pyplot as plt

    panels = _panels(d)
    _, axes = plt.subplots(1, panels, squeeze=False, figsize=_size(d, panels), layout="constrained")
    _fill(axes[0], d)
    row: np.ndarray = axes[0]
    return row


def svgs(d: Diagnosis) -> list[tuple[str, str]]:
    """Return each panel as its title and an ``<svg>`` element."""
    with extra("report"):
        from matplotlib import rc_context
        from matplotlib.figure import Figure

    panels = [("Contributions", _contributions)] + [("Scores with one modality corrupted", _scores)] * bool(d.corrupted)
    elements = []
    with rc_context({"svg.hashsalt": "diagnosis"}):
        for name, fill in panels:
            made = Figure(figsize=_size(d, 1), layout="constrained")
            axis = made.subplots()
            fill(axis, d)
            _style(axis)
            buffer = io.StringIO()
            made.savefig(buffer, format="svg", metadata={"Date": None})
            text = buffer.getvalue()
            elements.append((name, text[text.index("<svg") :]))
    return elements
