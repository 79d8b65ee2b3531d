"""Pictures by Pillow: upright, in their full range, without transparency, as eight bits per channel."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from counterpoise._extras import extra
from counterpoise.data.preparation._findings import Remark, UnreadableError

if TYPE_CHECKING:
    from PIL import Image as Pillow

__all__ = ["IMAGE_SUFFIXES", "open_image"]

IMAGE_SUFFIXES: Final = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif", ".jp2"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".tga"),
)
EIGHT_BITS, SIXTEEN_BITS, THIRTY_TWO_BITS = 255, 65535, 2**31 - 1
SMALL_DEPTHS: Final = {1023: 10, 4095: 12, 16383: 14}
"""Largest values of cameras with fewer bits, whose pictures are stored in 16."""


def open_image(
    path: Path,
    size: tuple[int, int],
    remark: Remark,
    mode: str = "RGB",
    content: bytes | None = None,
    what: str = "",
) -> np.ndarray:
    """Return a picture, ``(H, W, 3)`` or ``(H, W)`` uint8, as a viewer shows it.

    It is turned as its EXIF orientation says. Pictures of 16 bits and more are scaled to 8, transparent ones are put
    on white.

    Args:
        path: The file.
        size: Width and height.
        remark: Function that is called with each assumption.
        mode: ``RGB`` or ``L``.
        content: The picture's bytes, where the file holds several.
        what: Name of the content.

    Raises:
        UnreadableError: If it is missing, truncated or undecodable.
    """
    with extra("data"):
        from PIL import Image, ImageOps, UnidentifiedImageError

    name = f"{path}{what}"
    try:
        if content is None:
            _check_file(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # warnings of Pillow become errors or remarks
            with Image.open(path if content is None else io.BytesIO(content)) as file:
                upright = ImageOps.exif_transpose(file)
                return np.asarray(_eight_bits(upright, file.format, name, remark).convert(mode).resize(size))
    except UnreadableError:
        raise
    except UnidentifiedImageError as error:
        raise UnreadableError("undecodable", f"{name}: no image") from error
    except Image.DecompressionBombError as error:
        raise UnreadableError("undecodable", f"{name}: {error}") from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise UnreadableError("truncated", f"{name}: {error}") from error


def _check_file(path: Path) -> None:
    try:
        size = path.stat().st_size
    except OSError as error:  # a missing file, a name that is too long, or no permission
        raise UnreadableError("missing", f"{path}: {error.strerror}") from error
    if path.is_dir():
        raise UnreadableError("undecodable", f"{path}: a folder, not a file")
    if not size:
        raise UnreadableError("truncated", f"{path}: empty file")


def _eight_bits(image: Pillow.Image, format_: str | None, name: str, remark: Remark) -> Pillow.Image:
    """Return the picture in mode ``L`` or ``RGB``."""
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _scaled(image, format_, name, remark)
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        return _on_white(image, name, remark)
    return image if image.mode == "L" else image.convert("RGB")


def _on_white(image: Pillow.Image, name: str, remark: Remark) -> Pillow.Image:
    with extra("data"):
        from PIL import Image

    image = image.convert("RGBA")
    if np.asarray(image.getchannel("A")).min() == EIGHT_BITS:
        return image.convert("RGB")
    remark("transparent", name)
    ground = Image.new("RGBA", image.size, (255, 255, 255, 255))
    return Image.alpha_composite(ground, image).convert("RGB")


def _scaled(image: Pillow.Image, format_: str | None, name: str, remark: Remark) -> Pillow.Image:
    """Return a grey picture of more than eight bits, scaled by the range of its kind."""
    with extra("data"):
        from PIL import Image

    values = np.asarray(image).astype(np.float64)
    if not np.isfinite(values).all():
        raise UnreadableError("not finite", f"{name}: {int((~np.isfinite(values)).sum())} of {values.size} pixels")
    low, high = float(values.min()), float(values.max())
    top, assumed = _full_scale(image.mode, format_, low, high)
    if assumed:
        remark("range", f"{name}: {assumed}")
    base = low if low < 0 else 0.0
    return Image.fromarray(np.rint((values - base) / ((top - base) or 1.0) * EIGHT_BITS).astype(np.uint8))


def _full_scale(mode: str, format_: str | None, low: float, high: float) -> tuple[float, str]:
    """Return the value of white, and a note if it was inferred."""
    if mode.startswith("I;16") or (mode == "I" and format_ == "PNG"):
        bits = next((bits for top, bits in SMALL_DEPTHS.items() if high <= top), 16)
        few = f"16 bits, of which {bits} or fewer are used: white is 65,535 all the same"
        return SIXTEEN_BITS, few if 0 < high <= max(SMALL_DEPTHS) else ""
    if low < 0:
        return high, f"pixels from {low:g} to {high:g}: taken from black to white"
    scales = (1.0, EIGHT_BITS, SIXTEEN_BITS) if mode == "F" else (EIGHT_BITS, SIXTEEN_BITS, THIRTY_TWO_BITS)
    top = next((scale for scale in scales if high <= scale), high)
    return top, f"pixels up to {high:g}: white is taken to be {top:g}"
