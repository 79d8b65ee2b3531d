"""Modes of modules: evaluation, and batch norms that do not learn statistics."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def evaluation_mode(module: nn.Module) -> Iterator[None]:
    """Put a module in evaluation mode, and restore the mode of every submodule afterwards.

    A layer that was frozen in evaluation mode before (a batch norm of a pretrained encoder, for example) stays frozen.

    Example:
        >>> model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2).eval())
        >>> with evaluation_mode(model):
        ...     model.training
        False
        >>> model.training, model[1].training
        (True, False)
    """
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training


@contextmanager
def norms_at_rest(encoder: nn.Module, single: bool) -> Iterator[None]:
    """Let batch norms use their running statistics for a single sample, which has no variance."""
    norms = [p for p in encoder.modules() if single and p.training and isinstance(p, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.training = False
    try:
        yield
    finally:
        for norm in norms:
            norm.training = True


class Uncounted:
    """Context of every backward pass, in which batch norms do not count a batch that is computed again."""

    def __init__(self, encoder: nn.Module) -> None:
        self.encoder = encoder
        self.norms: list[nn.modules.batchnorm._BatchNorm] = []

    def __enter__(self) -> None:
        norms = [p for p in self.encoder.modules() if isinstance(p, nn.modules.batchnorm._BatchNorm)]
        self.norms = [norm for norm in norms if norm.training and norm.track_running_stats]
        for norm in self.norms:
            norm.track_running_stats = False

    def __exit__(self, *error: object) -> None:
        for norm in self.norms:
            norm.track_running_stats = True
