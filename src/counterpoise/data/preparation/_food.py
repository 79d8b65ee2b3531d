"""UPMC Food-101: a photograph and the title of the web page it was found on."""

from __future__ import annotations

from pathlib import Path

from counterpoise.data.preparation._findings import Finding
from counterpoise.data.preparation._images import IMAGE_SUFFIXES
from counterpoise.data.preparation._index import FileTable, Index, Item, Settings, draw_split, files_below
from counterpoise.data.preparation._lists import find, rows
from counterpoise.data.preparation._readers import Image
from counterpoise.data.preparation._texts import Text

__all__ = ["food101"]


def food101(source: Path, settings: Settings) -> Index:
    """Return UPMC Food-101.

    ``texts/train_titles.csv`` and ``texts/test_titles.csv`` hold the image's name, the title and the class in each row
    (in whichever order; titles hold commas, with and without quotes), ``images/{train,test}/<class>/<name>.jpg`` the
    photographs. Validation is 5,000 of the training rows (a tenth if there are fewer than 50,000).

    Args:
        source: Folder of ``texts`` and ``images``.
        settings: Settings of the user.
    """
    items: list[Item] = []
    findings: list[Finding] = []
    for part in ("train", "test"):
        listed, problems = _listed_items(source, part)
        items += listed
        findings += problems
    train = sum(item.split == "train" for item in items)
    if train:
        items = draw_split(items, "val", 5000 / train if train > 50000 else 0.1, settings.seed)
    return Index(
        items,
        {
            "image": Image(settings.size or 224),
            "text": Text(settings.tokenizer or "words", 40 if settings.length is None else settings.length, least=2),
        },
        tuple(sorted({item.label for item in items})),
        expected={"train+val": 62970, "test": 22714, "classes": 101},
        findings=findings,
        notes=(
            f"validation: drawn from the training rows, stratified, seed {settings.seed}",
            "the class often stands in the title",
        ),
        origin="Wang et al., ICME Workshops 2015",
        augment={"visual": ["image"], "smallest": 0.5},
    )


def _listed_items(source: Path, part: str) -> tuple[list[Item], list[Finding]]:
    """Return the rows of one list, and a finding for each that names no image or no class."""
    file, folder = find(source, f"{part}_titles.csv"), source / "images" / part
    images = FileTable(files_below(folder if folder.is_dir() else source), IMAGE_SUFFIXES)
    classes = {path.parent.name for path in images.found.values()}
    items, findings = [], []
    for number, row in enumerate(rows(file), 1):
        parsed = _parse(row, classes)
        if parsed is not None:
            image, title, label = parsed
            path = images.get(Path(image).stem, folder / label / Path(image).name)
            items.append(Item(f"{part}/{Path(image).stem}", part, label, "", {"image": path, "text": title}))
        elif number > 1 or any(cell.lower().endswith(IMAGE_SUFFIXES) for cell in row):  # else a header
            detail = f"{file}: row {number}: no image or no class in `{','.join(row)[:120]}`"
            findings.append(Finding("line", f"{file.name}:{number}", "", detail, True))
    findings += images.ambiguous([Path(item.id).name for item in items], "image")
    return items, findings


def _parse(row: list[str], folders: set[str]) -> tuple[str, str, str] | None:
    """Return image, title and class of a row.

    The image ends like one, the class is a folder's name, and the rest is the title, commas and all.
    """
    image = next((cell for cell in row if cell.lower().endswith(IMAGE_SUFFIXES)), None)
    if image is None:
        return None
    rest = [cell for cell in row if cell is not image]
    label = next((cell for cell in reversed(rest) if cell in folders), None)
    if label is not None:
        rest.pop(len(rest) - 1 - rest[::-1].index(label))
        return image, ", ".join(rest), label
    folder = Path(image).parent.name or Path(image).stem.rpartition("_")[0]
    return (image, ", ".join(rest), folder) if folder in folders else None
