"""What is stored of a picture is what a viewer shows: upright, in its full range, on white."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from counterpoise.data.preparation import UnreadableError
from counterpoise.data.preparation._images import open_image

UPRIGHT = np.zeros((40, 60, 3), np.uint8)
UPRIGHT[:20, :30], UPRIGHT[:20, 30:], UPRIGHT[20:, :30] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
# How a camera stores the upright picture, by EXIF orientation.
STORED = {
    1: UPRIGHT,
    2: UPRIGHT[:, ::-1],
    3: UPRIGHT[::-1, ::-1],
    4: UPRIGHT[::-1],
    5: UPRIGHT.transpose(1, 0, 2),
    6: np.rot90(UPRIGHT, 1),
    7: UPRIGHT.transpose(1, 0, 2)[::-1, ::-1],
    8: np.rot90(UPRIGHT, -1),
}


def read(path: Path, size: int = 16) -> tuple[np.ndarray, list[str]]:
    kinds: list[str] = []
    picture = open_image(path, (size, size), lambda kind, detail: kinds.append(kind))
    return picture.astype(int), kinds


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize("orientation", STORED)
def test_every_orientation_is_turned_upright(orientation: int, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{suffix}"
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation]))
    stored.save(path, exif=exif, **({} if suffix == "tif" else {"quality": 95}))
    picture, kinds = read(path)
    expected = np.asarray(Image.fromarray(UPRIGHT).resize((16, 16))).astype(int)
    assert np.abs(picture - expected)[2:6].mean() < 12
    assert np.abs(picture - expected).mean() < 12
    assert kinds == []


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bits_keep_their_range(suffix: str, tmp_path: Path) -> None:
    ramp = np.tile(np.linspace(0, 65535, 64).astype(np.uint16), (64, 1))
    Image.fromarray(ramp).save(tmp_path / f"a.{suffix}")
    picture, kinds = read(tmp_path / f"a.{suffix}", 64)
    assert np.abs(picture[..., 0] - ramp / 257).max() <= 1
    assert kinds == []


@pytest.mark.parametrize("top", [1023, 4095])
def test_ten_and_twelve_bits_in_sixteen_are_reported(top: int, tmp_path: Path) -> None:
    Image.fromarray(np.tile(np.linspace(0, top, 64).astype(np.uint16), (64, 1))).save(tmp_path / "a.png")
    assert read(tmp_path / "a.png")[1] == ["range"]


@pytest.mark.parametrize(("scale", "dtype"), [(1.0, np.float32), (255.0, np.float32), (65535, np.int32)])
def test_floats_and_long_integers_are_scaled_by_a_reported_range(scale: float, dtype: type, tmp_path: Path) -> None:
    ramp = np.tile(np.linspace(0, scale, 64), (64, 1)).astype(dtype)
    Image.fromarray(ramp).save(tmp_path / "a.tif")
    picture, kinds = read(tmp_path / "a.tif", 64)
    assert np.abs(picture[..., 0] - 255 * ramp / scale).max() <= 1
    assert kinds == ["range"]


def test_pictures_with_nan_are_named(tmp_path: Path) -> None:
    Image.fromarray(np.full((8, 8), np.nan, np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(UnreadableError, match=r"a\.tif") as info:
        read(tmp_path / "a.tif")
    assert info.value.kind == "not finite"


@pytest.mark.parametrize(
    ("mode", "suffix"), [("RGBA", "png"), ("LA", "png"), ("P", "png"), ("RGBA", "webp"), ("P", "gif")]
)
def test_transparent_pictures_lie_on_white(mode: str, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{suffix}"
    alpha = np.zeros((32, 32), np.uint8)
    alpha[8:24, 8:24] = 255
    picture = Image.fromarray(np.zeros((32, 32), np.uint8))
    if mode == "P":
        Image.fromarray((alpha > 0).astype(np.uint8)).convert("P").save(path, transparency=0)
        inside = None
    else:
        picture.putalpha(Image.fromarray(alpha))
        picture.convert(mode).save(path, **({"lossless": True} if suffix == "webp" else {}))
        inside = 0
    shown, kinds = read(path, 32)
    assert shown[2, 2].tolist() == [255, 255, 255]
    assert shown[16, 16].max() < 60 if inside == 0 else shown[16, 16].max() < 255
    assert kinds == ["transparent"]


def test_opaque_alpha_is_no_remark(tmp_path: Path) -> None:
    Image.fromarray(UPRIGHT).convert("RGBA").save(tmp_path / "a.png")
    picture, kinds = read(tmp_path / "a.png")
    assert picture[2, 2].tolist() == [255, 0, 0]
    assert kinds == []


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "YCbCr", "RGB"])
def test_other_modes_are_read_in_colour(mode: str, tmp_path: Path) -> None:
    suffix = "jpg" if mode in ("CMYK", "YCbCr") else "png"
    Image.fromarray(UPRIGHT).convert(mode).save(tmp_path / f"a.{suffix}")
    picture, kinds = read(tmp_path / f"a.{suffix}")
    assert picture.shape == (16, 16, 3)
    assert kinds == []


def test_what_is_no_picture_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "page.jpg").write_text("<html>not found</html>")
    Image.fromarray(UPRIGHT).save(tmp_path / "a.png")
    for name, kind in (("folder.jpg", "undecodable"), ("page.jpg", "undecodable"), (f"{'a' * 300}.jpg", "missing")):
        with pytest.raises(UnreadableError) as info:
            read(tmp_path / name)
        assert info.value.kind == kind
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # 2,400 pixels are then a decompression bomb
    with pytest.raises(UnreadableError) as info:
        read(tmp_path / "a.png")
    assert info.value.kind == "undecodable"
