"""Interpretation of the return value of a model: logits, probabilities, and pooled features."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from counterpoise.errors import ModelError
from counterpoise.tasks import Task

__all__ = ["Reading", "find_logits", "pick_logits", "pooled", "reading_of"]

SUM_TOLERANCE: Final = 0.02
"""Tolerance for the sum of a row of probabilities; half precision keeps two to three digits."""
EPS: Final = 1e-7


def pick_logits(raw: Any, output: Callable[[Any], Any] | None = None, size: int | None = None) -> Tensor:
    """Return the logits ``(B, C)`` among what a model returned, on the CPU.

    A tensor or array is used unchanged; else ``.logits`` or ``["logits"]``; of a tuple such as (loss, logits), the
    first floating tensor with one row per sample.

    Args:
        raw: Return value of the model.
        output: Function that selects the logits.
        size: B, if known.

    Raises:
        ModelError: If there are none.

    Example:
        >>> pick_logits((torch.tensor(0.5), torch.zeros(4, 3)), size=4).shape
        torch.Size([4, 3])
    """
    return find_logits(raw, output, size).detach().cpu()


def find_logits(raw: Any, output: Callable[[Any], Any] | None = None, size: int | None = None) -> Tensor:
    """Return the logits ``(B, C)`` on their device, with their graph; see `pick_logits`."""
    value = _candidate(output(raw) if output is not None else raw, size)
    if not isinstance(value, Tensor) or value.ndim not in (1, 2):
        shown = tuple(value.shape) if isinstance(value, Tensor) else type(raw).__name__
        raise ModelError(
            f"A model should return logits of shape (B, C). Found {shown}. Select them with adapt(model, "
            f"output=lambda out: out.scores)."
        )
    return value.reshape(len(value), -1)


def _candidate(value: Any, size: int | None) -> Any:
    if isinstance(value, np.ndarray) and value.dtype.kind in "fiub":
        return torch.from_numpy(np.array(value))
    if isinstance(value, Tensor | np.ndarray):
        return value
    logits = value.get("logits") if isinstance(value, Mapping) else getattr(value, "logits", None)
    if logits is not None:
        return _candidate(logits, size)
    if not isinstance(value, tuple | list):
        return value
    parts = [_candidate(part, size) for part in value]
    rows = [part for part in parts if _has_rows(part, size)]
    return max(rows, key=_likelihood, default=next(iter(parts), None))


def _has_rows(value: Any, size: int | None) -> bool:
    """Return whether a value is a tensor ``(B,)`` or ``(B, C)``."""
    return isinstance(value, Tensor) and value.ndim in (1, 2) and size in (None, len(value))


def _likelihood(x: Tensor) -> int:
    """Return 2 for a floating matrix, which logits most often are, 1 for other floating tensors, else 0."""
    return x.ndim if x.is_floating_point() else 0


@dataclass(frozen=True)
class Reading:
    """Conversion of the columns of a model's output to logits.

    Attributes:
        probabilities: Whether the output holds probabilities.
        two: Whether one column represents two classes.
        note: Note on the decision that was made; empty if there was none.
    """

    probabilities: bool = False
    two: bool = False
    note: str = ""

    def __call__(self, x: Tensor) -> Tensor:
        """Return logits ``(B, C)`` in float64."""
        x = x.double()
        if self.probabilities:
            x = x.clamp(0, 1)
            single = self.two or x.shape[1] == 1
            x = torch.logit(x, eps=EPS) if single else x.clamp_min(EPS).log()
        return torch.cat([torch.zeros_like(x), x], 1) if self.two else x


def reading_of(outputs: Tensor, task: type[Task]) -> Reading:
    """Return how the outputs ``(N, C)`` of all samples are converted to logits.

    Args:
        outputs: Return value of the model.
        task: The kind of task. Only classes and labels have probabilities.

    Example:
        >>> from counterpoise.tasks import MultiClass
        >>> reading_of(torch.tensor([[0.9, 0.1], [0.2, 0.8]]), MultiClass).probabilities
        True
    """
    two = task.has_classes and outputs.shape[1] == 1
    exclusive = task.has_classes and not two
    if not (task.has_classes or task.has_discrete_entropy) or not _are_probabilities(outputs, exclusive):
        return Reading(two=two)
    what = "sum to 1" if exclusive else "lie in [0, 1]"
    note = (
        f"the model's outputs {what}, so they are read as probabilities and turned into logits; if they are logits, "
        "multiply them in output="
    )
    return Reading(probabilities=True, two=two, note=note)


def _are_probabilities(outputs: Tensor, exclusive: bool) -> bool:
    """Return whether all outputs lie in [0, 1], and the rows of exclusive classes sum to 1."""
    if not outputs.is_floating_point() or not bool(((outputs >= -1e-6) & (outputs <= 1 + 1e-3)).all()):
        return False
    if exclusive and bool(((outputs.double().sum(1) - 1).abs() > SUM_TOLERANCE).any()):
        return False
    return not bool((outputs == 0).all())


def pooled(m: str, value: Any, size: int | None = None) -> Tensor:
    """Return features ``(B, D)``: a pooled output if there is one, else averages over time, space or frames.

    Args:
        m: The modality.
        value: Return value of its encoder.
        size: B, if known: an encoder of single frames returns B * T rows, which are averaged over T.

    Raises:
        ModelError: If the value is not a tensor with one row per sample.
    """
    encoded = _encoded(value)
    if not isinstance(encoded, Tensor) or not encoded.ndim:
        raise ModelError(f"The features of `{m}` should be a tensor (B, ...). Found {type(encoded).__name__}.")
    features = _averaged(encoded.detach().cpu())
    if not size or len(features) == size:
        return features
    if len(features) % size:
        raise ModelError(f"The features of `{m}` should have one row per sample. Found {len(features)} for {size}.")
    return features.view(size, len(features) // size, -1).mean(1)


def _encoded(value: Any) -> Any:
    """Return the tensor among what an encoder returned: pooled, else the hidden state, else the first entry."""
    for name in ("pooler_output", "last_hidden_state"):
        if not isinstance(value, Tensor) and getattr(value, name, None) is not None:
            value = getattr(value, name)
    if isinstance(value, tuple | list) and value:
        value = value[0]
    return torch.from_numpy(np.array(value)) if isinstance(value, np.ndarray) else value


def _averaged(x: Tensor) -> Tensor:
    """Return ``(B, D)``: the mean over time of ``(B, T, D)``, and over places of ``(B, D, H, W)``."""
    if x.ndim == 3:
        return x.mean(1)
    return x.flatten(2).mean(2) if x.ndim > 3 else x.reshape(len(x), -1)
