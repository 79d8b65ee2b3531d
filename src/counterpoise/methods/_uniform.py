"""Uniform multitask training, the "sum of cross-entropies"."""

from __future__ import annotations

from counterpoise.methods.objective import ModulatedObjective

__all__ = ["Uniform"]


class Uniform(ModulatedObjective):
    r"""Uniform multitask training: :math:`L = CE(z, y) + \lambda \sum_m CE(u_m, y)`.

    The modalities have separate linear heads :math:`u_m`, as in MMPareto (Wei & Hu, ICML 2024), which names this
    baseline. The MMPareto row of a published toolkit is in effect this method as well. :math:`\lambda` is the factor of
    the gradient that enters the encoders; the heads themselves always get their full gradient.

    Args:
        strength: :math:`\lambda`, in [0, inf).
        smoothing: Share of the unimodal heads' labels that is spread over all classes, in [0, 1).

    Example:
        >>> Uniform(strength=0.5)
        Uniform(strength=0.5, smoothing=0.0)
    """

    head_scale = 1.0
