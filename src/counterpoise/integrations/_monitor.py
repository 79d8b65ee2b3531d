"""What the monitors of all integrations measure after an epoch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from counterpoise.diagnosis import diagnose

__all__ = ["contributions"]

DEFAULTS: Final = {"estimator": "variational-linear", "damage": False, "progress": False}


def contributions(model: Any, loader: Iterable[Any], settings: Mapping[str, Any]) -> dict[str, float]:
    """Return ``contribution/<modality>/mi``, ``.../cmi`` and ``.../used`` in nats; those that cannot be had are absent.

    Args:
        model: Model.
        loader: Batches that the model is not trained on.
        settings: Further arguments of `counterpoise.diagnose`.
    """
    arguments = getattr(model, "arguments", None)  # of a wrapped model
    grouped = {"modalities": arguments} if isinstance(arguments, dict) and arguments else {}
    diagnosis = diagnose(model, loader, **{**DEFAULTS, **grouped, **settings})
    numbers: dict[str, float] = {}
    for m in diagnosis.modalities:
        estimates = {
            "mi": diagnosis.valuation.mi[m],
            "cmi": diagnosis.valuation.cmi[m],
            "used": diagnosis.evidence[m].realised,
        }
        numbers |= {f"contribution/{m}/{k}": float(e.value) for k, e in estimates.items() if e is not None}
    return numbers
