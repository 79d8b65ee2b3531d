"""Formatting of numbers: units, digits, signs, and missing values."""

from __future__ import annotations

import math

__all__ = ["is_share", "number", "p_text", "plus_minus", "signed", "unit"]

MISSING = "–"


def is_share(metric: str) -> bool:
    """Return whether ``metric`` is a share of 1 that is written in per cent."""
    return metric in {"macro_f1", "ece", "probe"} or "accuracy" in metric


def unit(metric: str, *, difference: bool = False) -> str:
    """Return the unit in which `number` writes ``metric``.

    Example:
        >>> unit("accuracy"), unit("accuracy", difference=True), unit("phi_cmi")
        ('%', 'points', 'nats')
    """
    if is_share(metric):
        return "points" if difference else "%"
    if metric in {"nll", "entropy"} or metric.startswith("phi_"):
        return "nats"
    return {"step_ms": "ms", "step_time_ratio": "×"}.get(metric, "")


def _digits(metric: str) -> int:
    return 1 if is_share(metric) else 2 if metric.startswith("step") else 3


def number(value: float, metric: str, *, sign: bool = False, digits: int | None = None) -> str:
    """Write one value of ``metric`` in its unit, with that metric's usual number of decimals by default.

    Example:
        >>> number(0.84216, "accuracy"), number(-0.023, "accuracy", sign=True), number(float("nan"), "nll")
        ('84.2', '−2.3', '–')
    """
    if not math.isfinite(value):
        return MISSING
    digits = _digits(metric) if digits is None else digits
    text = f"{100 * value if is_share(metric) else value:{'+' if sign else ''}.{digits}f}"
    if float(text) == 0:
        text = text.lstrip("+-")
    return text.replace("-", "−")


def signed(value: float, metric: str) -> str:
    """Write a difference with its sign."""
    return number(value, metric, sign=True)


def plus_minus(mean: float, se: float, metric: str, *, sign: bool = False, digits: int | None = None) -> str:
    """Write ``mean ± se``, or the mean alone where there is no standard error.

    An error that would be written as 0.0 gets one more decimal, unless the number of decimals is given.

    Example:
        >>> plus_minus(0.842, 0.004, "accuracy"), plus_minus(0.842, 0.0003, "accuracy")
        ('84.2 ± 0.4', '84.20 ± 0.03')
        >>> plus_minus(0.842, float("nan"), "accuracy")
        '84.2'
    """
    if not (math.isfinite(mean) and math.isfinite(se)):
        return number(mean, metric, sign=sign, digits=digits)
    if digits is None:
        digits = _digits(metric)
        digits += se > 0 and float(number(se, metric, digits=digits)) == 0
    return f"{number(mean, metric, sign=sign, digits=digits)} ± {number(se, metric, digits=digits)}"


def p_text(p_value: float, *, bare: bool = False) -> str:
    """Write a p-value with two significant digits.

    Example:
        >>> p_text(0.0132), p_text(0.00002), p_text(0.5, bare=True)
        ('p = 0.013', 'p < 0.001', '0.50')
    """
    if not math.isfinite(p_value):
        return MISSING
    if p_value < 0.001:
        return "<0.001" if bare else "p < 0.001"
    text = f"{p_value:.3f}" if p_value < 0.0995 else f"{p_value:.2f}"
    return text if bare else f"p = {text}"
