r"""Measures of contribution in nats from log-likelihoods. Results are never clamped.

With classifiers :math:`q_S(y | z_S)` on a set S of modalities and :math:`CE_S = -E \log q_S(y | z_S)`:

- :math:`\varphi_{MI}(S) = H(Y) - CE_S \le I(Z_S; Y)`, a lower *bound* (Barber and Agakov) on samples on which the
  classifier was not fitted, with equality if the classifier equals the true posterior;
- :math:`\varphi_{CMI}(m) = CE_{-m} - CE_\mathrm{all}`, a *difference of two bounds* and so itself no bound of
  :math:`I(Z_m; Y | Z_{-m})`: it may lie on either side, and be negative.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TypeVar

from torch import Tensor

from counterpoise.errors import DataError
from counterpoise.tasks import Task

__all__ = [
    "co_information",
    "label_free_contribution",
    "mi_lower_bound",
    "phi_cmi",
    "phi_mi",
    "pointwise_cmi",
    "pointwise_mi",
]

Number = TypeVar("Number", float, Tensor)


def pointwise_mi(log_likelihood: Tensor, log_marginal: Tensor) -> Tensor:
    r"""Return :math:`\log q(y_i | z_i) - \log p(y_i)` per sample, in nats.

    It is negative if the features point away from the true label. The mean is a lower bound of I(Z; Y) out of sample.

    Args:
        log_likelihood: ``(..., N)``, log q(y_i | z_i) in nats.
        log_marginal: ``(N,)``, log p(y_i) in nats.

    Returns:
        ``(..., N)`` in float64.

    Example:
        >>> import torch
        >>> pointwise_mi(torch.tensor([0.9, 0.4]).log(), torch.tensor([0.5, 0.5]).log())
        tensor([ 0.5878, -0.2231], dtype=torch.float64)
    """
    return log_likelihood.double() - log_marginal.double()


def phi_mi(log_likelihood: Tensor, log_marginal: Tensor) -> Tensor:
    r"""Return the mean of `pointwise_mi`: :math:`\varphi_{MI} = H - CE`, a lower bound of I(Z; Y) out of sample.

    Args:
        log_likelihood: ``(..., N)``, log q(y_i | z_i) in nats.
        log_marginal: ``(N,)``, log p(y_i) in nats.

    Returns:
        ``(...)`` in float64, in nats.

    Example:
        >>> import torch
        >>> phi_mi(torch.zeros(2), torch.tensor([0.5, 0.5]).log())      # a sure and right classifier: H = log 2
        tensor(0.6931, dtype=torch.float64)
    """
    return pointwise_mi(log_likelihood, log_marginal).mean(-1)


def pointwise_cmi(log_likelihood: Tensor, log_likelihood_without: Tensor) -> Tensor:
    r"""Return :math:`\log q_\mathrm{all}(y_i | z_i) - \log q_{-m}(y_i | z_{i,-m})` per sample, in nats.

    Args:
        log_likelihood: ``(N,)``, of the classifier on all modalities.
        log_likelihood_without: ``(..., N)``, of a classifier without some modalities.

    Returns:
        ``(..., N)`` in float64.

    Example:
        >>> import torch
        >>> pointwise_cmi(torch.tensor([0.8]).log(), torch.tensor([0.4]).log())     # log 2
        tensor([0.6931], dtype=torch.float64)
    """
    return log_likelihood.double() - log_likelihood_without.double()


def phi_cmi(log_likelihood: Tensor, log_likelihood_without: Tensor) -> Tensor:
    r"""Return the mean of `pointwise_cmi`, an estimate of I(Z_m; Y | Z_-m) in nats.

    It is the difference of two lower bounds (of I(Z; Y) and of I(Z_-m; Y)), and so no bound in either direction.

    Args:
        log_likelihood: ``(N,)``, of the classifier on all modalities.
        log_likelihood_without: ``(..., N)``, of a classifier on all but m.

    Returns:
        ``(...)`` in float64, in nats.

    Example:
        >>> import torch
        >>> phi_cmi(torch.zeros(3), torch.full((2, 3), -1.0))
        tensor([1., 1.], dtype=torch.float64)
    """
    return pointwise_cmi(log_likelihood, log_likelihood_without).mean(-1)


def mi_lower_bound(entropy: Number, cross_entropy: Number) -> Number:
    """Return H - CE: a lower bound of I(Z; Y) in nats, if CE is computed on samples on which the classifier was not
    fitted.

    Args:
        entropy: H(Y) in nats.
        cross_entropy: Cross-entropy of the classifier, in nats.

    Example:
        >>> round(mi_lower_bound(0.7, 0.5), 3)
        0.2
    """
    return entropy - cross_entropy


def label_free_contribution(logits: Tensor, logits_without: Tensor, task: Task) -> Tensor:
    r"""Return :math:`KL(q(y | z) \| q(y | z_{-m}))` per sample: the change of the prediction by m, which needs no
    label.

    Its expectation is I(Z_m; Y | Z_-m) if both classifiers equal the true posteriors, because
    :math:`I(Z_m; Y | Z_{-m}) = E\, KL(p(y | z) \| p(y | z_{-m}))`. It is never negative, and it is large for a
    confident *wrong* change too.

    Args:
        logits: ``(..., N, C)``, of the classifier on all modalities.
        logits_without: ``(..., N, C)``, of the classifier on all but m.
        task: The likelihood.

    Returns:
        ``(..., N)`` in float64, in nats.

    Example:
        >>> import torch
        >>> from counterpoise.tasks import MultiClass
        >>> label_free_contribution(torch.tensor([[20.0, 0.0]]), torch.zeros(1, 2), MultiClass(2))     # log 2
        tensor([0.6931], dtype=torch.float64)
    """
    return task.kl(logits.double(), logits_without.double())


def co_information(information: Mapping[Collection[str], Number]) -> Number:
    r"""Return the co-information of all modalities and the label, by inclusion and exclusion over their subsets.

    .. math:: I(Z_1; \ldots; Z_M; Y) = \sum_{\emptyset \ne S} (-1)^{|S| + 1} I(Z_S; Y)

    For M = 2 that is I(A; Y) + I(B; Y) - I(A, B; Y), redundancy minus synergy. It is positive if the modalities carry
    the same information, and negative if only their combination is informative. For M = 3 its sign has no such
    interpretation. A signed sum of bounds is not a bound.

    Args:
        information: I(Z_S; Y) by subset, for all 2^M - 1 non-empty subsets (a tuple or a frozenset of names each).

    Raises:
        DataError: If a subset is missing.

    Example:
        >>> co_information({("a",): 0.0, ("b",): 0.0, ("a", "b"): 1.0})     # XOR, in bits
        -1.0
    """
    subsets = {frozenset(names): value for names, value in information.items()}
    everything = frozenset().union(*subsets)
    if not everything or len(subsets) != 2 ** len(everything) - 1 or frozenset() in subsets:
        raise DataError(
            f"Co-information of {len(everything)} modalities needs the information of all {2 ** len(everything) - 1} "
            f"non-empty subsets. Found {len(subsets)}."
        )
    terms = [value if len(names) % 2 else -value for names, value in subsets.items()]
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total
