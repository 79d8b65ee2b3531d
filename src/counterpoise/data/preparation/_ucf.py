"""UCF-101: RGB and optical flow; for the 51 classes whose videos have a track, RGB and sound or flow."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from counterpoise.data.preparation._findings import Finding, UnreadableError
from counterpoise.data.preparation._index import FileTable, Index, Item, Settings, draw_split, files_below
from counterpoise.data.preparation._lists import find, listed
from counterpoise.data.preparation._media import VIDEO_SUFFIXES, has_track
from counterpoise.data.preparation._reader import Reader
from counterpoise.data.preparation._readers import Flow, Frames, Sound

__all__ = ["ucf101"]

GROUP: Final = re.compile(r"_g(\d+)_c\d+$")
OFFICIAL: Final = {"train+val": 9537, "test": 3783, "classes": 101}
SOUNDING: Final = {"train+val+test": 6845, "classes": 51}


def ucf101(source: Path, settings: Settings, *, sounding: bool = False, flow: bool = True, fold: int = 1) -> Index:
    """Return UCF-101 by its official split.

    Lists: ``classInd.txt``, ``trainlist01.txt``, ``testlist01.txt``. Videos are ``v_<Class>_g<group>_c<clip>.avi``.
    Where they were extracted, ``jpegs_256/<video>/frame000001.jpg``, ``tvl1_flow/u/<video>/`` and
    ``tvl1_flow/v/<video>/`` are read; else frames are decoded and flow is computed. A group's clips are cut from one
    video, so validation is cut from the training list by group.

    Args:
        source: Folder of the lists, the videos and the extracted frames.
        settings: Settings of the user.
        sounding: Videos with an audio track only (UCF-51).
        flow: RGB and optical flow; otherwise RGB and sound.
        fold: Number of the official split, 1 to 3.
    """
    numbered, findings = listed(find(source, "classInd.txt"), 2, delimiter=" ")
    classes = [row[1] for row in numbered]
    items, more = _listed_items(source, fold, sounding=sounding, flow=flow)
    findings += more
    readers, notes = _readers(settings, flow), _notes(settings, fold)
    if sounding:
        with_sound = {item.label for item in items}
        classes = [c for c in classes if c in with_sound]
        notes.append(f"{len(classes)} classes have videos with sound; videos without a track are not part of this set")
    official = OFFICIAL if fold == 1 else {}
    return Index(
        draw_split([item for item in items if item.label in classes], "val", 0.1, settings.seed),
        readers,
        tuple(classes),
        group="group",
        expected=SOUNDING if sounding else official,
        findings=findings + _unknown_labels(items, classes),
        notes=tuple(notes),
        origin="Soomro et al. 2012",
        augment={"visual": [m for m in readers if m != "audio"], "smallest": 0.5},
    )


def _readers(settings: Settings, flow: bool) -> dict[str, Reader]:
    """Return the readers of frames, and of sound or flow."""
    chosen = settings.clip(fps=1.0, keep=6, frames=3, size=224)
    second = Flow(settings.flow or "dis", **chosen) if flow else Sound(settings.audio or "fbank")
    return {"rgb": Frames(**chosen), "flow" if flow else "audio": second}


def _notes(settings: Settings, fold: int) -> list[str]:
    return [f"official split {fold}; validation: 10 % of the training list by group, drawn with seed {settings.seed}"]


def _listed_items(source: Path, fold: int, *, sounding: bool, flow: bool) -> tuple[list[Item], list[Finding]]:
    """Return the videos of both lists; with ``sounding`` those that have an audio track."""
    files = _Files(source)
    items: list[Item] = []
    findings: list[Finding] = []
    for part in ("train", "test"):
        rows, bad = listed(find(source, f"{part}list{fold:02d}.txt"), 1, delimiter=" ")
        findings += bad
        for row in rows:
            label, _, file = row[0].rpartition("/")
            name = Path(file).stem
            label = label or GROUP.sub("", name).removeprefix("v_")
            video = files.videos.get(name, source / label / file)
            if not sounding or _sounds(video):
                group = GROUP.search(name)
                sources = files.sources(name, video, flow=flow)
                items.append(Item(name, part, label, f"{label} g{group[1]}" if group else "", sources))
    return items, findings


class _Files:
    """Where the videos, the extracted frames and the extracted flow are."""

    def __init__(self, source: Path) -> None:
        self.videos = FileTable(files_below(source), VIDEO_SUFFIXES)
        self._folders: dict[str, dict[str, Path]] = {"rgb": {}, "u": {}, "v": {}}
        for path in sorted(p for p in source.rglob("v_*") if p.is_dir()):
            kind = path.parent.name if path.parent.name in "uv" else "rgb"
            self._folders[kind].setdefault(path.name, path)

    def sources(self, name: str, video: Path, *, flow: bool) -> dict[str, Any]:
        """Return where the modalities of a clip are."""
        rgb, u, v = (self._folders[kind].get(name) for kind in ("rgb", "u", "v"))
        if not flow:
            return {"rgb": rgb or video, "audio": video}
        return {"rgb": rgb or video, "flow": video if u is None or v is None else (u, v)}


def _unknown_labels(items: Sequence[Item], classes: Sequence[str]) -> list[Finding]:
    return [
        Finding("label", i.id, "", f"{i.id}: class `{i.label}` is not in classInd.txt", True)
        for i in items
        if i.label not in classes
    ]


def _sounds(video: Path) -> bool:
    """Tell whether a video is part of the set with sound; what cannot be opened stays in, and becomes a finding."""
    try:
        return has_track(video, "audio")
    except UnreadableError:
        return True
