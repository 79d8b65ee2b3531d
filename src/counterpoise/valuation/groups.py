r"""Samples in groups: dependence of their contributions, and its effect on the standard error.

The samples of one group may together count as one observation, or as independent observations. The variation of a mean
between groups determines which: the *design effect* (Kish, Survey Sampling, 1965) is its variance in units of the
variance of as many independent samples.
"""

from __future__ import annotations

from typing import Final

import numpy as np

__all__ = ["degrees_of_freedom", "design_effect", "effective_groups", "too_few_groups", "variance_of_mean"]

MIN_GROUPS: Final = 4.5
"""Minimum effective number of groups for an estimate; it allows five groups to differ slightly in size."""


def effective_groups(group: np.ndarray) -> float:
    """Return the number of equally large groups whose means would vary as much as those of the given groups.

    Args:
        group: ``(N,)`` group ids from 0.

    Example:
        >>> round(effective_groups(np.repeat([0, 1, 2], [8, 1, 1])), 2)
        1.52
    """
    share = np.bincount(group) / len(group)
    return float(1 / np.square(share).sum())


def too_few_groups(group: np.ndarray | None) -> bool:
    """Return whether samples are in too few groups for an estimate.

    Args:
        group: ``(N,)`` group ids from 0, or None if the samples are independent.
    """
    return group is not None and effective_groups(group) < MIN_GROUPS


def degrees_of_freedom(n: int, group: np.ndarray | None) -> float:
    """Return the degrees of freedom of `variance_of_mean`: independent units less one, and at least one."""
    return max((n if group is None else effective_groups(group)) - 1.0, 1.0)


def variance_of_mean(values: np.ndarray, group: np.ndarray | None) -> float:
    r"""Return the variance of a mean whose samples may depend on each other within groups.

    The sum of a group's deviations from the overall mean is too small by the group's own share :math:`s` of that mean:
    independent samples give it a variance that is smaller by the factor :math:`1 - s`, for which every group is
    corrected (as CR2 of Bell and McCaffrey, Survey Methodology 2002). With few groups, this variance is estimated
    poorly. It is therefore at least the variance of independent samples, and infinite for a single group.

    Args:
        values: ``(N,)`` contributions.
        group: ``(N,)`` group ids from 0, or None if the samples are independent.

    Example:
        >>> x = np.array([1.0, 1.0, 3.0, 3.0])
        >>> round(variance_of_mean(x, None), 3), round(variance_of_mean(x, np.array([0, 0, 1, 1])), 3)
        (0.333, 1.0)
    """
    n = len(values)
    independent = float(values.var(ddof=1)) / n
    if group is None:
        return independent
    share = np.bincount(group) / n
    if share.max() == 1:
        return np.inf
    sums = np.bincount(group, values - values.mean())
    return max(float((np.square(sums) / (1 - share)).sum()) / n**2, independent)


def design_effect(values: np.ndarray, group: np.ndarray | None) -> float:
    """Return the ratio of the variance of a mean to that of independent samples, from 1 to the size of the groups.

    Args:
        values: ``(N,)`` contributions.
        group: ``(N,)`` group ids from 0, or None.

    Example:
        >>> x, group = np.array([1.0, 1.0, 3.0, 3.0]), np.array([0, 0, 1, 1])
        >>> design_effect(x, None), design_effect(x, group), design_effect(x, group[[0, 2, 1, 3]])
        (1.0, 2.0, 1.0)
    """
    independent = variance_of_mean(values, None)
    if group is None or independent <= 0:
        return 1.0
    largest = max(len(values) / effective_groups(group), 1.0)
    return float(np.clip(variance_of_mean(values, group) / independent, 1.0, largest))
