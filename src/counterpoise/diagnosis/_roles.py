"""Roles of modalities: dominant, redundant, complementary or silent."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

from counterpoise import coalitions
from counterpoise.diagnosis._evidence import Thresholds, is_present
from counterpoise.valuation import Estimate


def roles(
    share: Mapping[str, float],
    lead: Mapping[str, Estimate],
    evidence: Mapping[str, tuple[Estimate, Estimate]],
    scale: float,
    t: Thresholds,
) -> dict[str, str]:
    """Return the role of each modality: dominant, redundant, complementary or silent.

    Args:
        share: Shapley values of the information, in nats.
        lead: Lead of each modality over the next one by unimodal information (paired).
        evidence: Mi and cmi by modality.
        scale: H(Y).
        t: Cut-offs.
    """
    small, played = t.negligible * scale, {}
    for m, (mi, cmi) in evidence.items():
        rest = max(value for k, value in share.items() if k != m)
        if share[m] >= max(t.dominance * rest, small) and lead[m].low > 0:
            played[m] = "dominant"
        elif is_present(cmi, small):
            played[m] = "complementary"
        else:
            played[m] = "redundant" if is_present(mi, small) else "silent"
    return played


def shapley(
    subsets: Mapping[tuple[str, ...], Estimate], mi: Mapping[str, Estimate], cmi: Mapping[str, Estimate]
) -> dict[str, float]:
    """Return Shapley values of I(X_S; Y), or the mean of mi and cmi if not all subsets were measured.

    Args:
        subsets: I(X_S; Y) by the tuple of names.
        mi: I(X_m; Y).
        cmi: ``I(X_m; Y | X_-m)``.

    Example:
        >>> def e(value): return Estimate(value, 0, value, value)
        >>> subsets = {("a", "b"): e(1.0), ("a",): e(0.75), ("b",): e(0.5)}
        >>> shapley(subsets, {"a": e(0.75), "b": e(0.5)}, {"a": e(0.5), "b": e(0.25)})
        {'a': 0.625, 'b': 0.375}
    """
    modalities = tuple(mi)
    every = [s for k in range(1, len(modalities) + 1) for s in combinations(modalities, k)]
    if any(s not in subsets for s in every):
        return {m: 0.5 * (mi[m].value + cmi[m].value) for m in modalities}
    value = {frozenset(s): subsets[s].value for s in every} | {frozenset(): 0.0}
    return {m: float(share) for m, share in coalitions.shapley(value, modalities).items()}
