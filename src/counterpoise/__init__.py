"""counterpoise: measure what each modality contributes to a multimodal model, and train it so that no modality is
wasted.

The names below are imported on first use, so that ``import counterpoise`` is quick.

Example:
    >>> import numpy as np
    >>> import counterpoise
    >>> rng = np.random.default_rng(0)
    >>> y = rng.integers(2, size=1000)
    >>> columns = {"copy": y + 0.1 * rng.normal(size=1000), "noise": rng.normal(size=1000)}
    >>> diagnosis = counterpoise.diagnose_arrays(columns, y)
    >>> diagnosis.findings["noise"].verdict
    'uninformative'
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from counterpoise._version import __version__

if TYPE_CHECKING:
    from counterpoise.diagnosis import Diagnosis, diagnose, diagnose_arrays
    from counterpoise.estimators import CounterpoiseClassifier, CounterpoiseRegressor
    from counterpoise.experiment.recommend import Recommendation, recommend
    from counterpoise.inference import predict
    from counterpoise.model import MultimodalClassifier
    from counterpoise.valuation import Valuation, estimate
    from counterpoise.vision_language import diagnose_retrieval, diagnose_vlm
    from counterpoise.wrapping import wrap

__all__ = [
    "CounterpoiseClassifier",
    "CounterpoiseRegressor",
    "Diagnosis",
    "MultimodalClassifier",
    "Recommendation",
    "Valuation",
    "__version__",
    "diagnose",
    "diagnose_arrays",
    "diagnose_retrieval",
    "diagnose_vlm",
    "estimate",
    "predict",
    "recommend",
    "wrap",
]

_HOMES = {
    "CounterpoiseClassifier": "counterpoise.estimators",
    "CounterpoiseRegressor": "counterpoise.estimators",
    "Diagnosis": "counterpoise.diagnosis",
    "Recommendation": "counterpoise.experiment.recommend",
    "recommend": "counterpoise.experiment.recommend",
    "MultimodalClassifier": "counterpoise.model",
    "Valuation": "counterpoise.valuation",
    "diagnose": "counterpoise.diagnosis",
    "diagnose_arrays": "counterpoise.diagnosis",
    "diagnose_retrieval": "counterpoise.vision_language",
    "diagnose_vlm": "counterpoise.vision_language",
    "estimate": "counterpoise.valuation",
    "predict": "counterpoise.inference",
    "wrap": "counterpoise.wrapping",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module `counterpoise` has no attribute `{name}`")


def __dir__() -> list[str]:
    return sorted(__all__)
