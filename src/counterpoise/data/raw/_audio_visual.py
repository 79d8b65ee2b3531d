"""Clips with picture and sound: Kinetics-Sounds, CREMA-D, VGGSound, AVE, BalancedAV."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from counterpoise.data.raw._findings import Finding
from counterpoise.data.raw._index import FileTable, Index, Item, Settings, draw_split
from counterpoise.data.raw._lists import find, find_or_none, read_json, rows
from counterpoise.data.raw._media import AUDIO_SUFFIXES, VIDEO_SUFFIXES
from counterpoise.data.raw._readers import IMAGE_SUFFIXES, Frames, Reader, Sound
from counterpoise.errors import NotFoundError

__all__ = ["KINETICS_SOUNDS", "KINETICS_SOUNDS_ARM", "ave", "balanced_av", "crema_d", "kinetics_sounds", "vggsound"]

KINETICS_SOUNDS: Final = (
    *(
        "blowing_nose",
        "blowing_out_candles",
        "bowling",
        "chopping_wood",
        "dribbling_basketball",
        "laughing",
        "mowing_lawn",
    ),
    *(
        "playing_accordion",
        "playing_bagpipes",
        "playing_bass_guitar",
        "playing_clarinet",
        "playing_drums",
        "playing_guitar",
    ),
    *(
        "playing_harmonica",
        "playing_keyboard",
        "playing_organ",
        "playing_piano",
        "playing_saxophone",
        "playing_trombone",
    ),
    *(
        "playing_trumpet",
        "playing_violin",
        "playing_xylophone",
        "ripping_paper",
        "shoveling_snow",
        "shuffling_cards",
        "singing",
    ),
    *("stomping_grapes", "tap_dancing", "tapping_guitar", "tapping_pen", "tickling"),
)
"""The 31 classes of the public lists (OGM-GE, BML, InfoReg, ARL)."""
KINETICS_SOUNDS_ARM: Final = tuple(sorted({*KINETICS_SOUNDS, "finger_snapping"} - {"stomping_grapes"}))
"""The 31 classes of ARM's list: with finger_snapping, without stomping_grapes, so that ids from 5 on are shifted."""
EMOTIONS: Final = {"NEU": 0, "HAP": 1, "SAD": 2, "FEA": 3, "DIS": 4, "ANG": 5}
HELD: Final = 0.1
"""Share of the training list that becomes the validation set where none is published."""


class Clips:
    """Where the pictures and the sound of clips are: extracted frames and sound files where there are any, else the video itself."""

    def __init__(self, source: Path) -> None:
        self.source = source
        self.videos = FileTable(source, VIDEO_SUFFIXES)
        self.sounds = FileTable(source, (*AUDIO_SUFFIXES, ".npy"))
        self.folders: dict[str, Path] = {}
        for path in sorted(p for p in source.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES):
            self.folders.setdefault(path.parent.name, path.parent)
        if not (len(self.videos) or self.folders):
            raise NotFoundError(
                f"No videos ({', '.join(VIDEO_SUFFIXES)}) and no folders of frames were found below `{source}`."
            )

    def sources(self, name: str) -> dict[str, Path]:
        """Return where a clip's sound and frames are, or where its video would be."""
        video = self.videos.get(name, self.source / f"{name}.mp4")
        return {"audio": self.sounds.get(name, video), "video": self.folders.get(name, video)}


def _readers(settings: Settings, *, audio: str, frames: int, keep: int, fps: float = 1.0) -> dict[str, Reader]:
    chosen = settings.clip(fps=fps, keep=keep, frames=frames, size=224)
    return {"audio": Sound(settings.audio or audio), "video": Frames(**chosen)}


def _index(
    source: Path,
    settings: Settings,
    listed: Sequence[tuple[str, str, str, str]],
    readers: Mapping[str, Reader],
    *,
    classes: Sequence[str],
    **more: Any,
) -> Index:
    """Make an index of (id, split, label, group); a validation set is cut from training, by groups, where none is listed."""
    clips = Clips(source)
    known = set(classes)
    findings = [
        Finding("label", name, "", f"{name}: `{label}` is none of the classes", True)
        for name, _, label, _ in listed
        if label not in known
    ]
    items = [Item(n, split, label, group, clips.sources(n)) for n, split, label, group in listed if label in known]
    notes = list(more.pop("notes", ()))
    if items and not any(item.split == "val" for item in items):
        items = draw_split(items, "val", HELD, settings.seed)
        by = f", by {more['group']}" if more.get("group") else ""
        notes.append(f"validation: {HELD:.0%} of the training list{by}, drawn with seed {settings.seed}")
    augment = {"visual": ["video"], "smallest": 0.5}
    return Index(items, readers, tuple(classes), findings=findings, notes=tuple(notes), augment=augment, **more)


def kinetics_sounds(source: Path, settings: Settings, *, variant: str = "public") -> Index:
    """Return Kinetics-Sounds.

    Lists: ``my_train.txt``, ``my_test.txt`` (lines ``youtubeid_start_end,10,label``; ids as in the alphabetical list of classes) and ``KS_train_val.json``
    for the validation set; or, without lists, the folders of Kinetics, ``{train,val,test}/<class>/<clip>.mp4``, of which the variant's classes are
    taken. Two lists of 31 classes circulate; they differ in one class and therefore in 26 ids.

    Args:
        source: folder of the lists and the clips.
        settings: what the user chose.
        variant: ``public``, or ``arm`` for the class list of ARM's authors.
    """
    classes = KINETICS_SOUNDS if variant == "public" else KINETICS_SOUNDS_ARM
    listed: list[tuple[str, str, str, str]] = []
    if variant == "public" and find_or_none(source, "my_train.txt"):
        for name, part in (("my_train.txt", "train"), ("my_test.txt", "test")):
            for clip, *_, label in rows(find(source, name)):
                listed.append(
                    (
                        clip,
                        part,
                        classes[int(label)] if label.isdigit() and int(label) < len(classes) else label,
                        _youtube(clip),
                    )
                )
        file = find_or_none(source, "KS_train_val.json")
        if file is not None:
            for clip, entry in read_json(file, ["database"])["database"].items():
                if entry["subset"].startswith("val"):
                    label = str(entry["annotations"]["label"]).replace(" ", "_")
                    listed.append((clip, "val", label, _youtube(clip)))
        expected = {"test": 2597} | ({"train": 14799, "val": 1320} if file is not None else {"train+val": 14799})
    else:
        listed = list(_by_folder(source, classes))
        expected = {}
    return _index(
        source,
        settings,
        listed,
        _readers(settings, audio="fbank", frames=3, keep=10),
        classes=classes,
        group="source video",
        expected=expected,
        notes=(f"class list: {variant} ({len(classes)} classes)",),
        origin="Arandjelovic & Zisserman, ICCV 2017; clips of Kinetics-400",
    )


def _youtube(clip: str) -> str:
    """Return the id of the video that a clip ``<id>_<start>_<end>`` was cut from."""
    return re.sub(r"(_\d+){1,2}$", "", clip)


def _by_folder(source: Path, classes: Sequence[str]) -> list[tuple[str, str, str, str]]:
    """Return the clips (videos, or folders of frames) of ``<split>/<class>/<clip>`` for the classes that are wanted."""
    parts = {"train": "train", "val": "val", "validate": "val", "test": "test"}
    found = []
    for path in sorted(source.rglob("*")):
        label = path.parent.name.replace(" ", "_")
        part = parts.get(path.parent.parent.name)
        if part and label in classes and (path.suffix.lower() in VIDEO_SUFFIXES or path.is_dir()):
            found.append((path.stem if path.is_file() else path.name, part, label, _youtube(path.stem)))
    if not found:
        raise NotFoundError(
            f"`{source}` should hold my_train.txt and my_test.txt, or folders <split>/<class>/<clip>.mp4."
        )
    if not any(
        part == "test" for _, part, _, _ in found
    ):  # Kinetics' own test labels are not public: its val is everybody's test
        found = [(clip, "test" if part == "val" else part, label, group) for clip, part, label, group in found]
    return found


def crema_d(source: Path, settings: Settings, *, by_actor: bool = False) -> Index:
    """Return CREMA-D.

    Lists: ``train.csv`` (or ``my_train.csv`` with ``val.csv``), ``test.csv`` with lines ``1088_IOM_NEU_XX,NEU``; without lists all clips by their names.
    Clips: ``VideoFlash/*.flv``, sound ``AudioWAV/*.wav`` where it is there. The list that nearly everybody uses has all 91 actors on both sides.

    Args:
        source: folder of the lists and the clips.
        settings: what the user chose.
        by_actor: draw train, validation and test by actor instead of taking the lists.
    """
    listed: list[tuple[str, str, str, str]] = []
    train = find_or_none(source, "my_train.csv", "train.csv")
    notes: tuple[str, ...] = ()
    expected: dict[str, int] = {}
    if train is not None:
        files = {"train": train, "val": find_or_none(source, "val.csv", "my_val.csv"), "test": find(source, "test.csv")}
        for part, file in files.items():
            listed += (
                [
                    (row[0], part, row[1], row[0].partition("_")[0])
                    for row in rows(file)
                    if len(row) > 1 and row[1] in EMOTIONS
                ]
                if file
                else []
            )
        expected = {"train": 5954, "val": 744, "test": 744} if files["val"] else {"train+val": 6698, "test": 744}
    else:
        names = sorted({*FileTable(source, VIDEO_SUFFIXES).found})
        listed = [(n, "train", n.split("_")[2], n.split("_")[0]) for n in names if n.count("_") == 3]
        by_actor = True
    if by_actor:
        items = [Item(n, "train", label, actor, {}) for n, _, label, actor in listed]
        items = draw_split(draw_split(items, "test", 0.15, settings.seed), "val", 0.15, settings.seed)
        listed = [(i.id, i.split, i.label, i.group) for i in items]
        notes, expected = (f"actors drawn 70/15/15 with seed {settings.seed}: nobody is in two splits",), {}
    readers = _readers(settings, audio="stft-crema-d", frames=2, keep=3)
    return _index(
        source, settings, listed, readers, classes=tuple(EMOTIONS), group="actor", expected=expected, notes=notes, origin="Cao et al. 2014"
    )  # fmt: skip


def vggsound(source: Path, settings: Settings) -> Index:
    """Return VGGSound: ``vggsound.csv`` (id, start, label, split) and clips ``<id>_<start, six digits>.mp4``."""
    listed = [
        (f"{row[0]}_{int(row[1]):06d}", row[3], row[2], row[0])
        for row in rows(find(source, "vggsound.csv"))
        if len(row) == 4 and row[1].isdigit()
    ]
    return _index(
        source,
        settings,
        listed,
        _readers(settings, audio="stft-vggsound", frames=3, keep=10),
        classes=sorted({label for _, _, label, _ in listed}),
        group="source video",
        expected={"train+val": 183730, "test": 15446},
        origin="Chen et al., ICASSP 2020",
    )


def ave(source: Path, settings: Settings) -> Index:
    """Return AVE: ``trainSet.txt``, ``valSet.txt``, ``testSet.txt`` (``category&id&quality&start&end``) and clips ``<id>.mp4``."""
    listed = [
        (row[1], part, row[0], row[1])
        for part in ("train", "val", "test")
        for row in rows(find(source, f"{part}Set.txt"), delimiter="&")
        if len(row) >= 2 and row[0] != "Category"
    ]
    return _index(
        source,
        settings,
        listed,
        _readers(settings, audio="fbank", frames=4, keep=10),
        classes=sorted({label for _, _, label, _ in listed}),
        group="source video",
        expected={"train": 3339, "val": 402, "test": 402},
        origin="Tian et al., ECCV 2018",
    )


def balanced_av(source: Path, settings: Settings) -> Index:
    """Return BalancedAV: a JSON database ``{"database": {clip: {"subset", "annotations": {"label"}}}}`` and the clips."""
    files = [p for p in sorted(source.rglob("*.json")) if "database" in read_json(p)]
    if not files:
        raise NotFoundError(f"`{source}` should hold the JSON file of Balanced Audiovisual with its `database`.")
    listed = [
        (clip, _part(entry["subset"]), str(entry["annotations"]["label"]), _youtube(clip))
        for clip, entry in read_json(files[0])["database"].items()
    ]
    return _index(
        source,
        settings,
        listed,
        _readers(settings, audio="fbank", frames=3, keep=10),
        classes=sorted({label for _, _, label, _ in listed}),
        group="source video",
        origin="Xia et al., CVPR 2023",
    )


def _part(subset: str) -> str:
    return {"training": "train", "validation": "val", "testing": "test"}.get(subset, subset)
