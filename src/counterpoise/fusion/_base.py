"""The contract of a fusion."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping

from torch import Tensor, nn

from counterpoise.errors import ModelError

__all__ = ["Fusion", "feature_dims_of"]


class Fusion(nn.Module, ABC):
    """Fused head: features of all modalities to logits.

    Args:
        feature_dims: D_m by modality, in order.
        num_outputs: C.
    """

    def __init__(self, feature_dims: Mapping[str, int], num_outputs: int) -> None:
        super().__init__()
        self.feature_dims = dict(feature_dims)
        self.num_outputs = num_outputs

    @abstractmethod
    def forward(self, features: Mapping[str, Tensor]) -> Tensor:
        """Return logits ``(B, C)`` for features ``{m: (B, D_m)}``."""

    def slice_logits(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return each modality's additive share of the fused logits, ``{m: (B, C)}``, where the fusion is additive.

        Raises:
            ModelError: for fusions whose logits are no sum over modalities.
        """
        raise ModelError(
            f"`{type(self).__name__}` is not additive, so a modality has no slice of its logits. Use a fusion that is "
            "(concat, sum), or a method that needs no slices."
        )


_DIMENSIONS = ("feature_dim", "num_features", "out_features", "embed_dim")


def feature_dims_of(encoders: Mapping[str, nn.Module]) -> dict[str, int]:
    """Find D_m of each encoder from the attribute that says it, or from its last linear layer.

    Raises:
        ModelError: if an encoder tells neither.
    """
    dims = {}
    for m, encoder in encoders.items():
        width = next(_widths(encoder), None)
        if width is None:
            raise ModelError(
                f"Cannot tell the feature dimension of the encoder of `{m}` ({type(encoder).__name__}). "
                f"Pass `feature_dims={{'{m}': D, ...}}`, or give it an attribute `feature_dim`."
            )
        dims[m] = width
    return dims


def _widths(encoder: nn.Module) -> Iterator[int]:
    """Yield what an encoder says of its feature dimension, the most reliable first."""
    stated = [getattr(encoder, name, None) for name in _DIMENSIONS]
    stated.append(getattr(getattr(encoder, "config", None), "hidden_size", None))
    yield from (width for width in stated if isinstance(width, int))
    if isinstance(encoder, nn.Sequential):
        yield from (layer.out_features for layer in reversed(encoder) if isinstance(layer, nn.Linear))
