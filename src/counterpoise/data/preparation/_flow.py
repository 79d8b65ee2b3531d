"""Optical flow between two frames, as eight-bit pairs (u, v)."""

from __future__ import annotations

from typing import Final

import numpy as np

from counterpoise._extras import load
from counterpoise._validation import Options
from counterpoise.errors import NotFoundError

__all__ = ["BOUND", "METHODS", "optical_flow", "quantise"]

BOUND: Final = 20.0
"""Displacements are clipped to this many pixels and mapped to 0..255, as in the shared TV-L1 archives."""
METHODS: Final = Options(("dis", "tvl1"))


def optical_flow(first: np.ndarray, second: np.ndarray, method: str = "dis") -> np.ndarray:
    """Return the displacement of every pixel from ``first`` to ``second``, ``(2, H, W)`` float32 in pixels.

    The first component is u, to the right; the second is v, downwards.

    Args:
        first: ``(H, W, 3)`` uint8.
        second: The same shape.
        method: ``dis`` (Kroeger et al. 2016, fast) or ``tvl1`` (Zach et al. 2007; needs the contrib build of OpenCV).

    Raises:
        NotFoundError: If OpenCV, or its contrib part, is not installed.
    """
    cv2 = load("cv2", "prepare")
    METHODS.check("optical_flow", "method", method)
    grey = [cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in (first, second)]
    if method == "tvl1":
        if not hasattr(cv2, "optflow"):
            raise NotFoundError(
                "Flow by TV-L1 needs the contrib build of OpenCV. Run: pip install opencv-contrib-python-headless, or "
                "take --flow dis."
            )
        engine = cv2.optflow.DualTVL1OpticalFlow_create()
    else:
        engine = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    flow = engine.calc(*grey, None)
    return np.ascontiguousarray(flow.transpose(2, 0, 1))


def quantise(flow: np.ndarray) -> np.ndarray:
    """Return uint8: -20 pixels is 0, +20 is 255.

    Example:
        >>> quantise(np.array([-30.0, 0.1, 20.0]))
        array([  0, 128, 255], dtype=uint8)
    """
    return np.rint((np.clip(flow, -BOUND, BOUND) / BOUND + 1) * 127.5).astype(np.uint8)
