"""UCF-101: RGB and optical flow, or RGB and sound for the 51 classes whose videos have a track."""

from __future__ import annotations

import re
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


def ucf101(source: Path, settings: Settings, *, sound: bool = False, fold: int = 1) -> Index:
    """Return UCF-101 by its official split.

    Lists: ``classInd.txt``, ``trainlist01.txt``, ``testlist01.txt``. Videos ``v_<Class>_g<group>_c<clip>.avi``; where they were extracted,
    ``jpegs_256/<video>/frame000001.jpg`` and ``tvl1_flow/u/<video>/``, ``tvl1_flow/v/<video>/``; else frames are decoded and flow is computed. A group's clips are cut from
    one video, so validation is cut from the training list by group.

    Args:
        source: folder of the lists, the videos and the extracted frames.
        settings: what the user chose.
        sound: RGB and sound, of the videos with an audio track only (UCF-51), instead of RGB and flow.
        fold: which of the three official splits.
    """
    numbered, findings = listed(find(source, "classInd.txt"), 2, delimiter=" ")
    classes = [row[1] for row in numbered]
    videos = FileTable(files_below(source), VIDEO_SUFFIXES)
    folders: dict[str, dict[str, Path]] = {"rgb": {}, "u": {}, "v": {}}
    for path in sorted(p for p in source.rglob("v_*") if p.is_dir()):
        folders[path.parent.name if path.parent.name in "uv" else "rgb"].setdefault(path.name, path)
    items: list[Item] = []
    for part in ("train", "test"):
        found, bad = listed(find(source, f"{part}list{fold:02d}.txt"), 1, delimiter=" ")
        findings += bad
        for row in found:
            label, _, file = row[0].rpartition("/")
            name = Path(file).stem
            label = label or GROUP.sub("", name).removeprefix("v_")
            video = videos.get(name, source / label / file)
            if sound and not _sounds(video):
                continue
            group = GROUP.search(name)
            sources: dict[str, Any] = {"rgb": folders["rgb"].get(name, video)}
            sources |= {"audio": video} if sound else {"flow": _flow_source(name, folders, video)}
            items.append(Item(name, part, label, f"{label} g{group[1]}" if group else "", sources))
    chosen = settings.clip(fps=1.0, keep=6, frames=3, size=224)
    readers: dict[str, Reader] = {"rgb": Frames(**chosen)}
    if sound:
        readers["audio"] = Sound(settings.audio or "fbank")
        with_sound = {item.label for item in items}
        classes = [c for c in classes if c in with_sound]
    else:
        readers["flow"] = Flow(settings.flow or "dis", **chosen)
    findings += [
        Finding("label", i.id, "", f"{i.id}: class `{i.label}` is not in classInd.txt", True)
        for i in items
        if i.label not in classes
    ]
    items = draw_split([i for i in items if i.label in classes], "val", 0.1, settings.seed) if items else items
    notes = [f"official split {fold}; validation: 10 % of the training list by group, drawn with seed {settings.seed}"]
    if sound:
        notes.append(f"{len(classes)} classes have videos with sound; videos without a track are not part of this set")
    return Index(
        items,
        readers,
        tuple(classes),
        group="group",
        expected=SOUNDING if sound else OFFICIAL if fold == 1 else {},
        findings=findings,
        notes=tuple(notes),
        origin="Soomro et al. 2012",
        augment={"visual": [m for m in readers if m != "audio"], "smallest": 0.5},
    )


def _flow_source(name: str, folders: dict[str, dict[str, Path]], video: Path) -> Any:
    u, v = folders["u"].get(name), folders["v"].get(name)
    return (u, v) if u is not None and v is not None else video


def _sounds(video: Path) -> bool:
    """Tell whether a video is part of the set with sound; what cannot be opened stays in, to be told about."""
    try:
        return has_track(video, "audio")
    except UnreadableError:
        return True
