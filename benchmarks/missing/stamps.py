"""Write the table of a real set whose samples lack modalities: pictures, sounds, spoken and written captions.

    apt-get download tuxpaint-stamps-default && dpkg -x tuxpaint-stamps-default_*.deb tux
    python benchmarks/missing/stamps.py tux/usr/share/tuxpaint/stamps
    counterpoise prepare own --source tux/usr/share/tuxpaint/stamps/stamps.csv --out stamps
    counterpoise compare --data stamps --methods joint,separated-experts --rules default,calibrated --out stamps-report

The Debian package holds drawings and photographs for children in folders by subject. For a picture ``x.png``, the
first line of ``x.txt`` is its caption in English, ``x_desc_<language>.ogg`` the caption spoken in that language, and
``x.ogg`` the sound of the thing, where it has one. Nearly every picture lacks something; every row is kept. The label
is the folder; folders with few pictures are left out. Nothing of the package is a part of this project: read its
copyright file before you pass any of it on.
"""

from __future__ import annotations

import argparse
import csv
from collections import Counter
from pathlib import Path
from typing import Final

MIRRORED: Final = ("_mirror", "_flip", "_mirror_flip")
"""Endings of the names of pictures that are turned copies of others."""
SOUNDS: Final = (".ogg", ".wav")
COLUMNS: Final = ("id", "picture", "sound", "speech", "caption", "label")


def rows_of(root: Path, *, language: str = "da", smallest: int = 20) -> list[dict[str, str]]:
    """Return one row per picture, with paths from ``root`` and empty cells for what it lacks.

    Args:
        root: Folder of the stamps, with one folder per subject.
        language: Language of the spoken captions.
        smallest: Number of pictures that a subject needs.
    """
    pictures = sorted(p for p in root.rglob("*.png") if not p.stem.endswith(MIRRORED))
    rows = [_row(root, picture, language) for picture in pictures if picture.parent != root]
    counts = Counter(row["label"] for row in rows)
    return [row for row in rows if counts[row["label"]] >= smallest]


def _row(root: Path, picture: Path, language: str) -> dict[str, str]:
    relative = picture.relative_to(root)
    text = picture.with_suffix(".txt")
    caption = text.read_text(encoding="utf-8", errors="replace").splitlines() if text.is_file() else []
    return {
        "id": relative.with_suffix("").as_posix(),
        "picture": relative.as_posix(),
        "sound": _first(root, picture, ""),
        "speech": _first(root, picture, f"_desc_{language}"),
        "caption": caption[0].strip() if caption else "",
        "label": relative.parts[0],
    }


def _first(root: Path, picture: Path, ending: str) -> str:
    """Return the path of the sound beside a picture, or an empty cell."""
    files = (picture.with_name(f"{picture.stem}{ending}{suffix}") for suffix in SOUNDS)
    return next((file.relative_to(root).as_posix() for file in files if file.is_file()), "")


def write_table(root: Path, rows: list[dict[str, str]]) -> Path:
    """Write the table into the folder of the stamps, since its paths start there."""
    path = root / "stamps.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    return path


def main() -> None:
    """Write the table and print how many rows have what."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path)
    parser.add_argument("--language", default="da")
    parser.add_argument("--smallest", type=int, default=20)
    options = parser.parse_args()
    rows = rows_of(options.root, language=options.language, smallest=options.smallest)
    path = write_table(options.root, rows)
    for column in COLUMNS[1:5]:
        print(f"{column}: {sum(bool(row[column]) for row in rows)} of {len(rows)} rows")
    print(f"{len({row['label'] for row in rows})} classes; written to {path}")


if __name__ == "__main__":
    main()
