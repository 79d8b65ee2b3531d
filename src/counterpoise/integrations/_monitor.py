"""Measurements and warnings after an epoch, shared by the monitors of all integrations."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from typing import Any, Final

from torch import nn

from counterpoise.diagnosis import Diagnosis, batches_of, diagnose, split_target
from counterpoise.errors import CounterpoiseError
from counterpoise.model import MultimodalClassifier
from counterpoise.valuation import Estimate

__all__ = ["Contributions"]

DEFAULTS: Final = {"estimator": "variational-linear", "damage": False, "progress": False}
BATCH: Final = 256
RISE: Final = 0.01
"""Minimum rise of a probe within `Contributions.patience` measurements, as a share of H(Y)."""
REST: Final = 0.05
"""Minimum information left to learn for a warning, as a share of H(Y)."""


class Contributions:
    """Monitor that measures the contribution of each modality after every epoch, and warns if an encoder stops
    learning.

    An encoder has stopped learning if a linear probe of its features has not risen in the last ``patience``
    measurements, although its inputs carry significantly more information, or an earlier probe found significantly
    more.

    Args:
        loader: Batches that the model is not trained on.
        settings: Further arguments of `counterpoise.diagnose`.
        patience: Number of measurements without a rise before a warning.

    Attributes:
        stopped: Epoch of the warning by modality.
    """

    def __init__(self, loader: Iterable[Any], settings: Mapping[str, Any], patience: int) -> None:
        self.loader, self.settings, self.patience = loader, dict(settings), patience
        self.probes: dict[str, list[Estimate]] = {}
        self.stopped: dict[str, int] = {}

    def measure(self, model: nn.Module, epoch: int) -> dict[str, float]:
        """Return ``contribution/<modality>/mi``, ``.../cmi``, ``.../used`` and ``probe/<modality>`` in nats.

        Numbers that cannot be measured are left out: probes need features, see `features_of`.
        """
        settings = {**DEFAULTS, **features_of(model, self.loader, self.settings), **self.settings}
        diagnosis = diagnose(model, self.loader, **settings)
        numbers: dict[str, float] = {}
        for m in diagnosis.modalities:
            evidence = diagnosis.evidence[m]
            estimates = {
                f"contribution/{m}/mi": evidence.mi,
                f"contribution/{m}/cmi": evidence.cmi,
                f"contribution/{m}/used": evidence.realised,
                f"probe/{m}": evidence.encoder,
            }
            numbers |= {name: float(e.value) for name, e in estimates.items() if e is not None}
        self._warn(diagnosis, epoch)
        return numbers

    def _warn(self, diagnosis: Diagnosis, epoch: int) -> None:
        for m in diagnosis.modalities:
            evidence = diagnosis.evidence[m]
            if evidence.encoder is None:
                continue
            probes = self.probes.setdefault(m, [])
            probes.append(evidence.encoder)
            valuation = diagnosis.valuation
            scale = 1.0 if valuation.differential else valuation.entropy
            reason = _reason(probes, evidence.mi, self.patience, scale)
            if reason and m not in self.stopped:
                self.stopped[m] = epoch
                warnings.warn(
                    f"The encoder of `{m}` stopped learning: for {self.patience} measurements, a linear probe of its "
                    f"features has found no more than {evidence.encoder.value:.3f} nats, and {reason}. A method that "
                    "balances modalities may help; see `counterpoise list methods`.",
                    UserWarning,
                    stacklevel=2,
                )


def _reason(probes: list[Estimate], available: Estimate, patience: int, scale: float) -> str:
    """Return why an encoder counts as stopped, or an empty text."""
    if len(probes) <= patience:
        return ""
    before, last = probes[:-patience], probes[-patience:]
    best = max(before, key=lambda e: e.value)
    if max(e.value for e in last) > best.value + RISE * scale:
        return ""
    now = last[-1]
    if best.low > now.high and best.value - now.value > REST * scale:
        return f"it found {best.value:.3f} before"
    if available.low > now.high and available.value - now.value > REST * scale:
        return f"{available.value:.3f} are available in its inputs"
    return ""


def features_of(model: nn.Module, loader: Iterable[Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a diagnosis that name the encoders of a model.

    The encoders are those of the only `MultimodalClassifier` inside the model (a wrapped module is one), else
    submodules with the names of the modalities.
    """
    parts = [part for part in model.modules() if isinstance(part, MultimodalClassifier)]
    if len(parts) == 1:
        inner = parts[0]
        grouped = getattr(inner, "arguments", {})  # of a wrapped module
        known: dict[str, Any] = {"modalities": grouped} if grouped else {}
        if inner is model or settings.get("modalities") is not None:
            return known
        return known | _named(model, {m: _encoder(inner, m) for m in inner.modalities})
    return _named(model, {m: part for m, part in model.named_children() if m in _modalities(loader, settings)})


def _encoder(model: MultimodalClassifier, m: str) -> nn.Module:
    encoder = model.encoder(m)
    inner = getattr(encoder, "module", None) if hasattr(model, "arguments") else None
    return inner if isinstance(inner, nn.Module) else encoder


def _named(model: nn.Module, encoders: Mapping[str, nn.Module]) -> dict[str, Any]:
    names = {id(part): name for name, part in model.named_modules()}
    features = {m: names[id(part)] for m, part in encoders.items() if id(part) in names}
    return {"features": features} if features and len(features) == len(encoders) else {}


def _modalities(loader: Iterable[Any], settings: Mapping[str, Any]) -> list[str]:
    """Return the names of the modalities in the settings, else in the first batch."""
    if settings.get("modalities") is not None:
        return list(settings["modalities"])
    try:
        inputs, _ = split_target(next(iter(batches_of(loader, settings.get("label"), BATCH))), settings.get("label"))
    except (CounterpoiseError, StopIteration):
        return []  # the diagnosis reports what is wrong with the loader
    return list(inputs) if isinstance(inputs, Mapping) else []
