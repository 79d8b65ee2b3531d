"""The result of an estimator: plain numbers with their unit, uncertainty and kind of bound."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from scipy import special

from counterpoise._extras import extra
from counterpoise._files import json_safe
from counterpoise._html import html_paragraph, html_table
from counterpoise.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

    from counterpoise.valuation.assembly import SubsetEstimate

__all__ = ["TOO_FEW", "Estimate", "Valuation"]

UNITS: Final = ("nats", "bits", "fraction of H(Y)")
TOO_FEW: Final = "too few samples"
"""Text in tables instead of an impossible number."""


@dataclass(frozen=True)
class Estimate:
    """One number with its uncertainty.

    Attributes:
        value: The estimate. An estimate of zero information may be slightly negative.
        se: Standard error.
        low: Lower end of the confidence interval. Intervals of information lie between 0 and H(Y), unless the
            estimate itself lies outside.
        high: Upper end of the confidence interval.
        bound: Kind of the number: ``lower`` (a lower bound of the information in expectation), ``estimate`` (no bound),
            ``gaussian`` (real targets: the reduction of the residuals in nats if targets and residuals are Gaussian; it
            exceeds the information if the targets are not), ``sum over labels`` (several labels: the sum of the
            information about each label, which exceeds the information about all of them if labels are correlated).
    """

    value: float
    se: float
    low: float
    high: float
    bound: str = "estimate"

    def __format__(self, spec: str) -> str:
        spec = spec or ".3f"
        return f"{self.value:{spec}} [{self.low:{spec}}, {self.high:{spec}}]"

    def __str__(self) -> str:
        return format(self)

    @classmethod
    def around(
        cls, value: float, se: float, *, confidence: float = 0.95, freedom: float = math.inf, bound: str = "estimate"
    ) -> Estimate:
        """Return an estimate with the t interval of its standard error.

        Args:
            value: The estimate.
            se: Standard error.
            confidence: Level of the interval.
            freedom: Degrees of freedom of the standard error; infinity gives the normal interval.
            bound: Kind of the number.

        Example:
            >>> print(Estimate.around(0.5, 0.1), "and", Estimate.around(0.5, 0.1, freedom=4))
            0.500 [0.304, 0.696] and 0.500 [0.222, 0.778]
        """
        level = 0.5 + confidence / 2
        quantile = special.ndtri(level) if math.isinf(freedom) else special.stdtrit(freedom, level)
        reach = float(quantile) * se
        return cls(value, se, value - reach, value + reach, bound)

    def within(self, least: float, most: float) -> Estimate:
        """Return the estimate with its interval clipped to the limits of the quantity, as far as the estimate itself
        lies within them.

        Args:
            least: Smallest possible value, such as 0 nats of information.
            most: Largest possible value, such as the entropy of the labels.

        Example:
            >>> print(Estimate.around(0.68, 0.01).within(0, 0.69), "and", Estimate.around(-0.01, 0.01).within(0, 0.69))
            0.680 [0.660, 0.690] and -0.010 [-0.010, 0.010]
        """
        return replace(self, low=min(max(self.low, least), self.value), high=max(min(self.high, most), self.value))

    def shown(self, spec: str = ".3f") -> str:
        """Return the estimate as text for readers; negative estimates of information, which are noise around zero, are
        shown as 0.

        Example:
            >>> Estimate(-0.01, 0.01, -0.01, 0.01).shown()
            '0.000 [0.000, 0.010]'
        """
        return format(replace(self, **{k: max(getattr(self, k), 0.0) for k in ("value", "low", "high")}), spec)

    def scaled(self, factor: float) -> Estimate:
        """Return the estimate multiplied by ``factor``, in a unit that is ``1 / factor`` of the current one."""
        return replace(
            self, value=self.value * factor, se=self.se * factor, low=self.low * factor, high=self.high * factor
        )

    def to_dict(self) -> dict[str, Any]:
        """Return value, low, high, se and bound."""
        return {"value": self.value, "low": self.low, "high": self.high, "se": self.se, "bound": self.bound}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Estimate:
        """Read the output of `to_dict`; null becomes NaN."""
        numbers = {k: math.nan if fields.get(k) is None else float(fields[k]) for k in ("value", "low", "high", "se")}
        return cls(**numbers, bound=str(fields.get("bound", "estimate")))


@dataclass(frozen=True)
class Valuation:
    """Contributions of the modalities to a label, as plain numbers and NumPy arrays.

    Attributes:
        modalities: Names of the modalities, in order.
        n: Number of samples.
        entropy: H(Y) of the labels (differential for regression); of several labels the sum of their entropies, which
            is the limit of a sum over labels.
        joint_mi: I(Z; Y) of all modalities together.
        mi: I(Z_m; Y) of each modality alone.
        cmi: ``I(Z_m; Y | Z_-m)`` of each modality given all the others.
        co_information: For M = 2 redundancy minus synergy; see `functional.co_information`. None if it was not computed
            (M > 4).
        subsets: I(Z_S; Y) of every subset that was estimated, by the tuple of its modalities in order.
        per_class: ``(C,)`` arrays named ``mi``, ``mi:<m>`` and ``cmi:<m>``: means over the samples of a class
            (multi-class; NaN where there is none), or the share of each label (multi-label: these sum to the total).
        per_sample: ``(N,)`` arrays named ``mi``, ``mi:<m>``, ``cmi:<m>`` (with the label) and ``kl:<m>`` (without it).
        estimator: The name of the estimator.
        task: Name of the task.
        differential: Whether H(Y) is a differential entropy, which is not a scale: it can be 0 or negative.
        unit: Nats, bits or fraction of H(Y).
        confidence: Level of the intervals.
        notes: Notes on the data and the estimates.
        too_few_samples: Quantities with impossible estimates, such as ``cmi:text``: outside of [0, H(Y)] by more than
            their standard error; all quantities if there are too few groups. Reports should not print them as results.
        terms: Parts of the estimates of the subsets, for further sums and differences with correct errors. They are not
            part of `to_dict`.

    Example:
        >>> e = Estimate(0.5, 0.01, 0.48, 0.52)
        >>> v = Valuation(("a", "b"), 100, 0.69, e, {"a": e, "b": e}, {"a": e, "b": e})
        >>> round(v.in_bits().joint_mi.value, 3), Valuation.from_dict(v.to_dict()) == v
        (0.721, True)
    """

    modalities: tuple[str, ...]
    n: int
    entropy: float
    joint_mi: Estimate
    mi: dict[str, Estimate]
    cmi: dict[str, Estimate]
    co_information: Estimate | None = None
    subsets: dict[tuple[str, ...], Estimate] = field(default_factory=dict)
    per_class: dict[str, np.ndarray] = field(default_factory=dict, compare=False)
    per_sample: dict[str, np.ndarray] = field(default_factory=dict, compare=False, repr=False)
    estimator: str = ""
    task: str = "multiclass"
    differential: bool = False
    unit: str = "nats"
    confidence: float = 0.95
    notes: tuple[str, ...] = ()
    too_few_samples: tuple[str, ...] = ()
    terms: dict[tuple[str, ...], SubsetEstimate] = field(default_factory=dict, compare=False, repr=False)

    @property
    def entropy_name(self) -> str:
        """Name of ``entropy``: H(Y), or the sum over labels, which exceeds H(Y) if labels are correlated."""
        return "sum of H(Y_l)" if self.joint_mi.bound == "sum over labels" else "H(Y)"

    def scaled(self, factor: float, unit: str) -> Valuation:
        """Return the valuation with every number multiplied by ``factor``, in the unit ``unit``."""
        return replace(
            self,
            entropy=self.entropy * factor,
            joint_mi=self.joint_mi.scaled(factor),
            mi={m: e.scaled(factor) for m, e in self.mi.items()},
            cmi={m: e.scaled(factor) for m, e in self.cmi.items()},
            co_information=None if self.co_information is None else self.co_information.scaled(factor),
            subsets={s: e.scaled(factor) for s, e in self.subsets.items()},
            per_class={k: v * factor for k, v in self.per_class.items()},
            per_sample={k: v * factor for k, v in self.per_sample.items()},
            unit=unit,
            terms={},
        )

    def in_nats(self) -> Valuation:
        """Return the valuation in nats.

        Raises:
        DataError: If the valuation is a fraction of H(Y), whose size it does not store, or has no unit.
        """
        if self.unit not in UNITS:
            raise DataError(f"A valuation by `{self.estimator}` has no unit, so it cannot be turned into nats.")
        if self.unit == UNITS[2]:
            raise DataError("A fraction of H(Y) cannot be turned back into nats. Keep the valuation in nats.")
        return self if self.unit == "nats" else self.scaled(math.log(2), "nats")

    def in_bits(self) -> Valuation:
        """Return the valuation in bits."""
        return self if self.unit == "bits" else self.in_nats().scaled(1 / math.log(2), "bits")

    def as_fraction(self) -> Valuation:
        """Return the valuation as a fraction of H(Y).

        Raises:
            DataError: If the entropy is differential, as for real targets.
        """
        if self.differential:
            raise DataError("The entropy of a real target is not a scale: it can be 0 or negative. Use nats.")
        nats = self if self.unit == UNITS[2] else self.in_nats()
        return nats if nats.unit == UNITS[2] else nats.scaled(1 / nats.entropy, UNITS[2])

    def to_dict(self, *, samples: bool = False) -> dict[str, Any]:
        """Return plain data for JSON: numbers, strings, lists and dicts; NaN becomes None.

        Args:
            samples: Whether to include the per-sample arrays.
        """
        fields: dict[str, Any] = {
            "unit": self.unit,
            "n": self.n,
            "entropy": self.entropy,
            "task": self.task,
            "differential": self.differential,
            "estimator": self.estimator,
            "confidence": self.confidence,
            "joint_mi": self.joint_mi.to_dict(),
            "modalities": {m: {"mi": self.mi[m].to_dict(), "cmi": self.cmi[m].to_dict()} for m in self.modalities},
            "co_information": None if self.co_information is None else self.co_information.to_dict(),
            "subsets": [{"modalities": list(s), **e.to_dict()} for s, e in self.subsets.items()],
            "per_class": {k: v.tolist() for k, v in self.per_class.items()},
            "notes": list(self.notes),
            "too_few_samples": list(self.too_few_samples),
        }
        if samples:
            fields["per_sample"] = {k: v.tolist() for k, v in self.per_sample.items()}
        safe: dict[str, Any] = json_safe(fields)
        return safe

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Valuation:
        """Read the output of `to_dict`."""
        rows = fields["modalities"]
        co = fields.get("co_information")
        return cls(
            modalities=tuple(rows),
            n=int(fields["n"]),
            entropy=float(fields["entropy"]),
            joint_mi=Estimate.from_dict(fields["joint_mi"]),
            mi={m: Estimate.from_dict(row["mi"]) for m, row in rows.items()},
            cmi={m: Estimate.from_dict(row["cmi"]) for m, row in rows.items()},
            co_information=None if co is None else Estimate.from_dict(co),
            subsets={tuple(e["modalities"]): Estimate.from_dict(e) for e in fields.get("subsets", ())},
            per_class={k: np.array(v, dtype=float) for k, v in fields.get("per_class", {}).items()},
            per_sample={k: np.array(v, dtype=float) for k, v in fields.get("per_sample", {}).items()},
            estimator=fields.get("estimator", ""),
            task=fields.get("task", "multiclass"),
            differential=bool(fields.get("differential", False)),
            unit=fields["unit"],
            confidence=fields.get("confidence", 0.95),
            notes=tuple(fields.get("notes", ())),
            too_few_samples=tuple(fields.get("too_few_samples", ())),
        )

    def to_pandas(self, *, compact: bool = False) -> pd.DataFrame:
        """Return one row per number: columns quantity, modality, value, se, low, high, bound, unit, too_few_samples.

        Args:
            compact: Whether to return one row per modality instead, with the columns modality, mi, cmi and unit.
        """
        with extra("data"):
            import pandas as pd

        if compact:
            names = self.modalities
            cells = [
                {"modality": m, "mi": self.mi[m].value, "cmi": self.cmi[m].value, "unit": self.unit} for m in names
            ]
            return pd.DataFrame(cells)
        rows = [("mi", "all", self.joint_mi)]
        rows += [("mi", m, self.mi[m]) for m in self.modalities]
        rows += [("cmi", m, self.cmi[m]) for m in self.modalities]
        if self.co_information is not None:
            rows.append(("co_information", "all", self.co_information))
        columns = ["value", "se", "low", "high", "bound"]
        return pd.DataFrame(
            [
                {
                    "quantity": q,
                    "modality": m,
                    **{c: getattr(e, c) for c in columns},
                    "unit": self.unit,
                    "too_few_samples": (q if m == "all" else f"{q}:{m}") in self.too_few_samples,
                }
                for q, m, e in rows
            ]
        )

    def _repr_html_(self) -> str:
        """Return a table for notebooks: per cent of what can be known first, then the estimate with its interval."""
        share = self.entropy > 0 and not self.differential
        entropy = self.entropy if share else 1.0

        def cell(name: str, e: Estimate) -> str:
            if name in self.too_few_samples:
                return TOO_FEW
            per_cent = 100 * min(max(e.value / entropy, 0.0), 1.0)
            return f"{per_cent:.0f} %  ({e.shown()} {self.unit})" if share else f"{e.shown()} {self.unit}"

        rows = [["modality", "by itself", "given the others"]]
        rows += [[m, cell(f"mi:{m}", self.mi[m]), cell(f"cmi:{m}", self.cmi[m])] for m in self.modalities]
        head = (
            f"n = {self.n}, {self.entropy_name} = {self.entropy:.3f} {self.unit}; "
            f"all modalities together: {cell('mi', self.joint_mi)}"
        )
        notes = [html_paragraph(f"note: {note}") for note in self.notes]
        return "".join([html_paragraph(head), html_table(rows), *notes])

    def __repr__(self) -> str:
        return str(self)

    def __str__(self) -> str:
        width = max(len(m) for m in (*self.modalities, "modality"))

        def cell(name: str, e: Estimate) -> str:
            return TOO_FEW if name in self.too_few_samples else e.shown()

        head = (
            f"{self.estimator or 'valuation'}: n = {self.n}, {self.entropy_name} = {self.entropy:.3f}, "
            f"I(all; Y) = {cell('mi', self.joint_mi)} {self.unit}"
        )
        lines = [head, f"{'modality':<{width}}  {'I(Z_m; Y)':<24} I(Z_m; Y | rest)"]
        lines += [f"{m:<{width}}  {cell(f'mi:{m}', self.mi[m]):<24} {cell(f'cmi:{m}', self.cmi[m])}" for m in self.mi]
        if self.co_information is not None and not self.too_few_samples:
            lines.append(f"co-information {self.co_information}")
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])
