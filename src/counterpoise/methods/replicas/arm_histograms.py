r"""The histogram of ARM's published code, for comparison. It is wrong: do not use it as an estimator.

From a description of the release (not from its text): all values of a feature matrix are flattened over samples and
channels, so that the label plays no part and a sample's channels are mixed; 30 x 30 bins between minimum and maximum
give :math:`NMI_m = 2 I(h_m; f) / (H(h_m) + H(f))` against a fused feature f that is a fixed random projection; two
bins per axis give :math:`NCMI_m = 1 - H(x, y | z) / (H(x | z) + H(y | z))` with a "conditional entropy" that does not
weight by p(z) and divides by p(z) along the wrong axis. On features of encoders, the second is about 1 for any data.
"""

from __future__ import annotations

import math

import numpy as np

from counterpoise.valuation import Estimate, Valuation
from counterpoise.valuation.inputs import EstimatorInput

__all__ = ["histogram_official", "official_ncmi", "official_nmi"]


def official_nmi(x: np.ndarray, y: np.ndarray, *, bins: int = 30) -> float:
    """Return 2 I(x; y) / (H(x) + H(y)) of two flattened arrays of the same size, by equally wide bins.

    Example:
        >>> official_nmi(np.arange(10.0), np.arange(10.0))
        1.0
    """
    joint = np.histogram2d(x.reshape(-1), y.reshape(-1), bins)[0]
    joint /= joint.sum()
    total, own = _entropy(joint), _entropy(joint.sum(1)) + _entropy(joint.sum(0))
    return float(2 * (own - total) / own) if own > 0 else math.nan


def official_ncmi(x: np.ndarray, y: np.ndarray, z: np.ndarray, *, bins: int = 2) -> float:
    """Return the released "normalised conditional mutual information", about 1 for heavy-tailed data of any kind.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> x, y, z = rng.exponential(size=(3, 20000))      # independent: the right value is 0
        >>> round(official_ncmi(x, y, z), 2)
        1.0
    """
    joint = np.histogramdd(np.stack([v.reshape(-1) for v in (x, y, z)], 1), bins)[0]
    joint /= joint.sum()
    with np.errstate(divide="ignore"):
        inverse = 1 / joint.sum((0, 1))  # 1 / p(z)
    x_z, y_z = joint.sum(1), joint.sum(0)
    # As released: an outer product for the pairs, the x axis for the triple, and no weight p(z).
    h_x, h_y = (_entropy(np.outer(pair, inverse)) for pair in (x_z, y_z))
    h_xy = _entropy(joint * inverse[:, None, None])
    return float((h_x + h_y - h_xy) / (h_x + h_y))


def _entropy(p: np.ndarray) -> float:
    p = p[(p > 0) & np.isfinite(p)]
    return float(-(p * np.log(p)).sum())


def histogram_official(problem: EstimatorInput, *, confidence: float = 0.95) -> Valuation:
    """Return the numbers of ARM's published code: NMI as ``mi`` and NCMI as ``cmi``. They are wrong; see above.

    There is no joint number, no standard error and no unit, and the label is not used. Features are cut to the columns
    of the narrowest modality, because the code needs equal widths.
    """
    rng = np.random.default_rng(problem.seed)
    width = min(x.shape[1] for x in problem.features.values())
    parts = {m: x[:, :width].astype(np.float64) for m, x in problem.features.items()}
    both = np.concatenate(list(parts.values()), 1)
    fused = both @ rng.uniform(-1, 1, (both.shape[1], width)) / np.sqrt(both.shape[1])
    missing = Estimate(math.nan, math.nan, math.nan, math.nan, "wrong")

    def wrong(value: float) -> Estimate:
        return Estimate(value, math.nan, math.nan, math.nan, "wrong")

    others = {m: np.mean([v for k, v in parts.items() if k != m], axis=0) for m in parts}
    return Valuation(
        modalities=problem.modalities,
        n=problem.n,
        entropy=float(problem.task.entropy(problem.target)),
        joint_mi=missing,
        mi={m: wrong(official_nmi(x, fused)) for m, x in parts.items()},
        cmi={m: wrong(official_ncmi(x, fused, others[m])) for m, x in parts.items()},
        estimator="histogram_official",
        task=problem.task.name,
        unit="none",
        confidence=confidence,
        notes=("WRONG, for comparison only: NMI and NCMI as in ARM's published code; the label is not used",),
    )
