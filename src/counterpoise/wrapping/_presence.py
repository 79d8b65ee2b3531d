"""Running encoders inside a module on the samples that have their modality."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from counterpoise._tree import map_named
from counterpoise.corruptions import is_mask
from counterpoise.errors import ModelError
from counterpoise.model import norms_at_rest
from counterpoise.records import Inputs
from counterpoise.wrapping._capture import time_first

__all__ = ["PresentRows", "blanked"]


def blanked(inputs: Inputs, rows: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return inputs with zeros (ones in masks) in the rows of absent modalities.

    Args:
        inputs: Inputs by modality.
        rows: Which samples have which modality, ``{m: (B,) bool}``.
    """

    def blank(mask: Tensor) -> Callable[[str, Tensor], Tensor]:
        def fill(name: str, x: Tensor) -> Tensor:
            other = torch.ones_like(x) if is_mask(name) else torch.zeros_like(x)
            return torch.where(mask.to(x.device).view(-1, *[1] * (x.ndim - 1)), x, other)

        return fill

    return {m: x if bool(rows[m].all()) else map_named(blank(rows[m]), x) for m, x in inputs.items()}


class PresentRows:
    """A call of an encoder on the rows of samples that have its modality, with zeros in the rows of the others.

    The axis of the samples in an output is found by one more run on a batch of another size, without gradients and with
    batch norms in evaluation mode. It is stored in `axes`.

    Args:
        m: The modality, for messages.
        module: The encoder.
        compiled: The encoder compiled by `torch.compile`, or the encoder itself.
        mask: Which samples have the modality, ``(B,)``.
        axes: Axes of the samples by the structure of the output.
    """

    def __init__(
        self,
        m: str,
        module: nn.Module,
        compiled: Callable[..., Any],
        mask: Tensor,
        axes: dict[str, tuple[int | None, ...]],
    ) -> None:
        self.m, self.module, self.compiled, self.axes = m, module, compiled, axes
        self.second = time_first(module)
        self.size, self.rows = len(mask), mask.nonzero().flatten()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Return the output of the encoder with a row for each sample."""
        if not len(self.rows):
            return pytree.tree_map(_zeros, self._nothing(args, kwargs))
        small_args, small_kwargs = self._selected((args, kwargs))
        problem = f"could not run on the {len(self.rows)} of {self.size} samples that have its modality"
        with (
            self._explained(
                problem, "Leave incomplete samples out, or build a `MultimodalClassifier` from the encoders."
            ),
            norms_at_rest(self.module, len(self.rows) == 1),
        ):
            output = self.compiled(*small_args, **small_kwargs)
        leaves, spec = pytree.tree_flatten(output)
        key = f"{spec} {[leaf.ndim if isinstance(leaf, Tensor) else None for leaf in leaves]}"
        if key not in self.axes:
            self.axes[key] = self._axes_of(leaves, pytree.tree_leaves(self._whole(args, kwargs)))
        return pytree.tree_unflatten([self._spread(x, a) for x, a in zip(leaves, self.axes[key], strict=True)], spec)

    def _nothing(self, args: Any, kwargs: Any) -> Any:
        """Return the output for a batch in which no sample has the modality, of which only the shapes are used."""
        problem = "cannot run on the replaced inputs of a batch in which no sample has its modality"
        with self._explained(problem, "Pass inputs of the usual shape, or run the model on a complete batch earlier."):
            return self._whole(args, kwargs)

    @contextmanager
    def _explained(self, problem: str, advice: str) -> Iterator[None]:
        """Turn anything that a user's module may raise into an error that names the encoder."""
        try:
            yield
        except Exception as error:
            raise ModelError(
                f"The encoder of `{self.m}` {problem} ({type(error).__name__}: {error}). {advice}"
            ) from error

    def _selected(self, arguments: Any) -> Any:
        """Return arguments with the rows of the samples that have the modality."""
        direct = any(self._axis(x) is not None for x in pytree.tree_leaves(arguments))
        return pytree.tree_map(lambda x: self._picked(x, several=not direct), arguments)

    def _picked(self, x: Any, *, several: bool) -> Any:
        """Return the rows of an argument; ``several``: it may have several rows per sample, as frames of a video."""
        axis = self._axis(x)
        if axis is None and several and isinstance(x, Tensor) and x.ndim and len(x) and not len(x) % self.size:
            axis = 0
        return x if axis is None else x.index_select(axis, self._places(x.shape[axis] // self.size, x.device))

    def _axis(self, x: Any) -> int | None:
        """Return which of the first two axes of an argument has one entry per sample."""
        if not isinstance(x, Tensor):
            return None
        order = (1, 0) if self.second else (0, 1)
        return next((axis for axis in order if axis < x.ndim and x.shape[axis] == self.size), None)

    def _places(self, per_sample: int, device: torch.device) -> Tensor:
        places = self.rows.unsqueeze(1) * per_sample + torch.arange(per_sample)
        return places.flatten().to(device, non_blocking=True)

    @torch.no_grad()
    def _whole(self, args: Any, kwargs: Any) -> Any:
        """Return the output for all rows, of which only the shapes are used."""
        device = next(self.module.parameters(), torch.empty(0)).device
        accelerators = [device] if device.type == "cuda" else []
        with torch.random.fork_rng(accelerators), norms_at_rest(self.module, True):
            return self.module(*args, **kwargs)

    def _axes_of(self, leaves: list[Any], whole: list[Any]) -> tuple[int | None, ...]:
        if len(leaves) != len(whole):
            raise self._unclear()
        axes = tuple(self._axis_between(x, y) for x, y in zip(leaves, whole, strict=True))
        if all(axis is None for axis in axes):
            raise self._unclear()
        return axes

    def _axis_between(self, x: Any, whole: Any) -> int | None:
        """Return the axis along which an output has grown with the number of samples; None if it has not."""
        if not isinstance(x, Tensor) or x.shape == whole.shape:
            return None
        grown = [axis for axis in range(x.ndim) if x.shape[axis] != whole.shape[axis]]
        if len(grown) != 1 or x.shape[grown[0]] * self.size != whole.shape[grown[0]] * len(self.rows):
            raise self._unclear()
        return grown[0]

    def _unclear(self) -> ModelError:
        return ModelError(
            f"The output of the encoder of `{self.m}` has no axis for the samples that lack its modality. Leave "
            "incomplete samples out, or build a `MultimodalClassifier` from the encoders."
        )

    def _spread(self, x: Any, axis: int | None) -> Any:
        """Return an output with a row for each sample: zeros where the modality is absent."""
        if axis is None:
            return x
        per_sample = x.shape[axis] // len(self.rows)
        shape = [*x.shape[:axis], self.size * per_sample, *x.shape[axis + 1 :]]
        return x.new_zeros(shape).index_copy(axis, self._places(per_sample, x.device), x)


def _zeros(x: Any) -> Any:
    return torch.zeros_like(x) if isinstance(x, Tensor) and x.is_floating_point() else x
