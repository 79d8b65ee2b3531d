"""The kind of a modality, by the shape of one sample. Importing it needs no torch."""

from __future__ import annotations

from typing import Final

import numpy as np

from counterpoise.data._info import Kind
from counterpoise.errors import DataError

__all__ = ["kind_of"]

SMALLEST_IMAGE: Final = 8
CHANNELS: Final = (1, 2, 3, 4)
"""Numbers of channels that images and frames have (2: optical flow)."""


def kind_of(name: str, shape: tuple[int, ...], dtype: np.dtype) -> Kind:
    """Return the kind of a modality whose samples have a shape.

    Args:
        name: Name of the modality: samples of shape ``(L,)`` hold token ids if it is ``tokens`` or ``*_tokens``.
        shape: Shape of one sample.
        dtype: Type of its numbers: ``(H, W)`` of uint8 is an image.

    Raises:
        DataError: If the shape has no kind, or looks like an image or a video whose channels come last.

    Example:
        >>> kind_of("signal", (50, 3), np.dtype("float32")), kind_of("photo", (3, 32, 32), np.dtype("uint8"))
        ('sequence', 'image')
    """
    if len(shape) == 1:
        return "tokens" if name == "tokens" or name.endswith("_tokens") else "vector"
    if len(shape) == 2:
        square = shape[0] == shape[1] >= SMALLEST_IMAGE
        return "image" if dtype == np.uint8 or square else "sequence"
    if len(shape) not in (3, 4):
        raise DataError(
            f"Modality `{name}` should have 1 to 5 dimensions: (N,), (N, D), (N, T, D), (N, H, W), (N, C, H, W) or "
            f"(N, T, C, H, W). Found {1 + len(shape)}: (N, {', '.join(map(str, shape))})."
        )
    _check_channels_first(name, shape)
    return "video" if len(shape) == 4 else "image"


def _check_channels_first(name: str, shape: tuple[int, ...]) -> None:
    video = len(shape) == 4
    if shape[-1] in (1, 3, 4) and shape[-3] not in CHANNELS:
        what, wanted = ("videos", "(N, T, C, H, W)") if video else ("images", "(N, C, H, W)")
        order = "0, 1, 4, 2, 3" if video else "0, 3, 1, 2"
        raise DataError(
            f"Modality `{name}` looks like {what} with the channels last: (N, {', '.join(map(str, shape))}). "
            f"They should be {wanted}; transpose them: array.transpose({order})."
        )
