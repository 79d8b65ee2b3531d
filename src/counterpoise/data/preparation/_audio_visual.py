"""Clips with picture and sound: Kinetics-Sounds, CREMA-D, VGGSound, AVE, BalancedAV."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from counterpoise.data.preparation._classes import KINETICS_SOUNDS, KINETICS_SOUNDS_ARM
from counterpoise.data.preparation._files import SEQUENCE_SUFFIXES
from counterpoise.data.preparation._findings import Finding
from counterpoise.data.preparation._images import IMAGE_SUFFIXES
from counterpoise.data.preparation._index import FileTable, Index, Item, Settings, draw_split, files_below
from counterpoise.data.preparation._lists import find, find_or_none, listed, read_database, read_json
from counterpoise.data.preparation._media import AUDIO_SUFFIXES, VIDEO_SUFFIXES
from counterpoise.data.preparation._reader import Reader
from counterpoise.data.preparation._readers import Frames, Sound
from counterpoise.errors import NotFoundError

__all__ = ["ave", "balanced_av", "crema_d", "kinetics_sounds", "vggsound"]

EMOTIONS: Final = ("NEU", "HAP", "SAD", "FEA", "DIS", "ANG")
CREMA_D_COUNTS: Final = {
    "train+val": (6698, 973, 1148, 1131, 1138, 1142, 1166),
    "train": (5954, 859, 1025, 991, 1005, 1013, 1061),
    "test": (744, 114, 123, 140, 133, 129, 105),
}
"""Published numbers of the clips, and of each of `EMOTIONS`."""
HELD: Final = 0.1
"""Share of the training list that becomes the validation set where none is published."""


class Clip(NamedTuple):
    """One line of a list."""

    id: str
    split: str
    label: str
    group: str


class Clips:
    """Where the pictures and the sound of clips are: extracted frames and sound files if they exist, else the video."""

    def __init__(self, source: Path) -> None:
        self.source = source
        files = files_below(source)
        self.videos = FileTable(files, VIDEO_SUFFIXES)
        self.sounds = FileTable(files, (*AUDIO_SUFFIXES, ".npy", ".pkl"))
        self.sequences = FileTable(files, SEQUENCE_SUFFIXES)
        self._beside = next(iter(self.videos.found.values()), source / "clip.mp4")
        self.folders: dict[str, Path] = {}
        for path in files:
            if path.suffix.lower() in IMAGE_SUFFIXES:
                self.folders.setdefault(path.parent.name, path.parent)
        if not (len(self.videos) or len(self.sequences) or self.folders):
            raise NotFoundError(
                f"No videos ({', '.join(VIDEO_SUFFIXES)}), no folders of frames and no HDF5 files of frames were found "
                f"below `{source}`."
            )

    def sources(self, name: str) -> dict[str, Path]:
        """Return the places of a clip's sound and frames, or the expected place of its video next to them."""
        video = self.videos.get(name, self._beside.with_name(f"{name}{self._beside.suffix}"))
        frames = self.folders.get(name) or self.sequences.get(name, video)
        return {"audio": self.sounds.get(name, video), "video": frames}

    def ambiguous(self, names: Sequence[str]) -> list[Finding]:
        """Return findings on names that several files have."""
        return [*self.videos.ambiguous(names, "video"), *self.sounds.ambiguous(names, "audio")]


def _readers(settings: Settings, *, audio: str, frames: int, keep: int, fps: float = 1.0) -> dict[str, Reader]:
    chosen = settings.clip(fps=fps, keep=keep, frames=frames, size=224)
    return {"audio": Sound(settings.audio or audio), "video": Frames(**chosen)}


def _index(
    source: Path,
    settings: Settings,
    listed: Sequence[Clip],
    readers: Mapping[str, Reader],
    *,
    classes: Sequence[str],
    findings: Sequence[Finding] = (),
    notes: Sequence[str] = (),
    **more: Any,
) -> Index:
    """Make an index of clips; a validation set is cut from training, by groups, where none is listed."""
    clips = Clips(source)
    known = set(classes)
    kept = [clip for clip in listed if clip.label in known]
    all_findings = [
        *findings,
        *(
            Finding("label", clip.id, "", f"{clip.id}: `{clip.label}` is none of the classes", True)
            for clip in listed
            if clip.label not in known
        ),
        *clips.ambiguous([clip.id for clip in kept]),
    ]
    items = [Item(*clip, clips.sources(clip.id)) for clip in kept]
    notes = list(notes)
    if items and not any(item.split == "val" for item in items):
        items = draw_split(items, "val", HELD, settings.seed)
        by = f", by {more['group']}" if more.get("group") else ""
        notes.append(f"validation: {HELD:.0%} of the training list{by}, drawn with seed {settings.seed}")
    augment = {"visual": ["video"], "smallest": 0.5}
    return Index(items, readers, tuple(classes), findings=all_findings, notes=tuple(notes), augment=augment, **more)


def kinetics_sounds(source: Path, settings: Settings, *, variant: str = "public") -> Index:
    """Return Kinetics-Sounds.

    Lists: ``my_train.txt``, ``my_test.txt`` (lines ``youtubeid_start_end,10,label``; ids as in the alphabetical list of
    classes) and ``KS_train_val.json`` for the validation set, or for all three; or ``train.txt``, ``val.txt``,
    ``test.txt`` with lines ``name label`` (an id of the variant's list, or a class); or, without lists, the folders of
    Kinetics, ``{train,val,test}/<class>/<clip>.mp4``, of which the variant's classes are taken. Where nothing is called
    test, ``val`` is the test set. Two lists of 31 classes circulate; they differ in one class and therefore in 26 ids,
    so that ``my_train.txt``, which has ids of the public one, is not read for ``arm``.

    Args:
        source: Folder of the lists and the clips.
        settings: Settings of the user.
        variant: ``public``, or ``arm`` for the class list of ARM's authors.
    """
    public = variant == "public"
    classes = KINETICS_SOUNDS if public else KINETICS_SOUNDS_ARM
    clips, findings = _by_lists(source, classes, ("my_", "") if public else ("",))
    if public:
        added, more = _by_database(source, classes, {clip.split for clip in clips})
        clips, findings = [*clips, *added], [*findings, *more]
    clips = _with_test(clips if clips or findings else _by_folder(source, classes))
    return _index(
        source,
        settings,
        clips,
        _readers(settings, audio="fbank", frames=3, keep=10),
        classes=classes,
        findings=findings,
        group="source video",
        expected=_published(any(clip.split == "val" for clip in clips)) if public else {"test": 2459},
        notes=(f"class list: {variant} ({len(classes)} classes)",),
        origin="Arandjelovic & Zisserman, ICCV 2017; clips of Kinetics-400",
    )


def _by_database(source: Path, classes: Sequence[str], listed_splits: set[str]) -> tuple[list[Clip], list[Finding]]:
    """Return the clips of ``KS_train_val.json``, if it exists, that belong to none of the listed splits."""
    file = find_or_none(source, "KS_train_val.json")
    if file is None:
        return [], []
    entries, findings = read_database(file)
    missing = [entry for entry in entries if entry[1] not in listed_splits]
    return [Clip(c, part, _class(label, classes), _youtube(c)) for c, part, label in missing], findings


def _with_test(clips: list[Clip]) -> list[Clip]:
    """Return clips that have a test set: that of validation if none is listed."""
    if any(clip.split == "test" for clip in clips):
        return clips
    # Kinetics' own test labels are not public.
    return [clip._replace(split="test") if clip.split == "val" else clip for clip in clips]


def _published(validation: bool) -> dict[str, int]:
    """Return the published numbers of the public lists, with a validation set or without."""
    sizes = {"train": 14799, "val": 1320} if validation else {"train+val": 14799}
    train = "train" if validation else "train+val"
    classes = {f"{train} stomping_grapes": 197, f"{train} blowing_out_candles": 690}
    return {"test": 2597} | sizes | classes


def _youtube(clip: str) -> str:
    """Return the id of the video that a clip ``<id>_<start>_<end>`` was cut from."""
    return re.sub(r"(_\d+){1,2}$", "", clip)


def _class(label: str, classes: Sequence[str]) -> str:
    """Return the class that a list means: by its place, or by its name with spaces or without."""
    return classes[int(label)] if label.isdigit() and int(label) < len(classes) else label.replace(" ", "_")


def _by_lists(source: Path, classes: Sequence[str], prefixes: Sequence[str]) -> tuple[list[Clip], list[Finding]]:
    """Return the clips of ``train.txt``, ``val.txt`` and ``test.txt``: first cell the clip, last cell the class."""
    clips: list[Clip] = []
    findings: list[Finding] = []
    for part in ("train", "val", "test"):
        file = find_or_none(source, *(f"{prefix}{part}.txt" for prefix in prefixes))
        if file is not None:
            table, bad = listed(file, 2, spaces=True)
            findings += bad
            clips += [Clip(row[0], part, _class(row[-1], classes), _youtube(row[0])) for row in table]
    return clips, findings


def _by_folder(source: Path, classes: Sequence[str]) -> list[Clip]:
    """Return the clips (videos, or folders of frames) of ``<split>/<class>/<clip>`` for the classes that are wanted."""
    parts = {"train": "train", "val": "val", "validate": "val", "test": "test"}
    clips = []
    for path in sorted(source.rglob("*")):
        label = path.parent.name.replace(" ", "_")
        part = parts.get(path.parent.parent.name)
        if part and label in classes and (path.suffix.lower() in VIDEO_SUFFIXES or path.is_dir()):
            name = path.stem if path.is_file() else path.name
            clips.append(Clip(name, part, label, _youtube(name)))
    if not clips:
        raise NotFoundError(
            f"`{source}` should hold lists (my_train.txt and my_test.txt, or train.txt and val.txt with lines "
            "`name label`), or folders <split>/<class>/<clip>.mp4."
        )
    return clips


def crema_d(source: Path, settings: Settings, *, by_actor: bool = False) -> Index:
    """Return CREMA-D.

    Lists: ``train.csv`` (or ``my_train.csv`` with ``val.csv``), ``test.csv`` with lines ``1088_IOM_NEU_XX,NEU``.
    Without lists, all clips by their names. Clips: ``VideoFlash/*.flv``, sound ``AudioWAV/*.wav`` where it exists. The
    list that nearly everybody uses has all 91 actors on both sides.

    Args:
        source: Folder of the lists and the clips.
        settings: Settings of the user.
        by_actor: Draw train, validation and test by actor instead of taking the lists.
    """
    findings: list[Finding] = []
    expected: dict[str, int] = {}
    notes: tuple[str, ...] = ()
    train = find_or_none(source, "my_train.csv", "train.csv")
    if train is not None:
        validation = find_or_none(source, "val.csv", "my_val.csv")
        clips, findings = _crema_d_lists({"train": train, "val": validation, "test": find(source, "test.csv")})
        expected = _crema_d_counts(validation is not None)
    else:
        stems = sorted(FileTable(files_below(source), VIDEO_SUFFIXES).found)
        clips = [Clip(n, "train", n.split("_")[2], _actor(n)) for n in stems if n.count("_") == 3]
        by_actor = True
    if by_actor:
        clips = _drawn_by_actor(clips, settings.seed)
        notes = (f"actors drawn 70/15/15 with seed {settings.seed}: no actor is in two splits",)
        expected = {"train+val+test": 7442}
    return _index(
        source,
        settings,
        clips,
        _readers(settings, audio="stft-crema-d", frames=2, keep=3),
        classes=EMOTIONS,
        findings=findings,
        notes=notes,
        group="actor",
        expected=expected,
        origin="Cao et al. 2014",
    )


def _crema_d_lists(files: Mapping[str, Path | None]) -> tuple[list[Clip], list[Finding]]:
    """Return the clips of the lists by split; a list may be absent."""
    clips: list[Clip] = []
    findings: list[Finding] = []
    for part, file in files.items():
        if file is not None:
            rows, bad = listed(file, 2, header=lambda row: _actor(row[0]) == "")
            findings += bad
            clips += [Clip(row[0], part, row[1], _actor(row[0])) for row in rows]
    return clips, findings


def _crema_d_counts(validation: bool) -> dict[str, int]:
    """Return the published numbers, with a validation list or without."""
    expected: dict[str, int] = {}
    for part in ("train", "test") if validation else ("train+val", "test"):
        names = (part, *(f"{part} {emotion}" for emotion in EMOTIONS))
        expected |= dict(zip(names, CREMA_D_COUNTS[part], strict=True))
    return expected | ({"val": 744} if validation else {})


def _drawn_by_actor(clips: Sequence[Clip], seed: int) -> list[Clip]:
    items = [Item(*clip._replace(split="train"), {}) for clip in clips]
    items = draw_split(draw_split(items, "test", 0.15, seed), "val", 0.15, seed)
    return [Clip(i.id, i.split, i.label, i.group) for i in items]


def _actor(clip: str) -> str:
    """Return the speaker of ``1088_IOM_NEU_XX``, or an empty string if that is not the name of a clip."""
    number, _, rest = clip.partition("_")
    return number if number.isdigit() and rest else ""


def vggsound(source: Path, settings: Settings) -> Index:
    """Return VGGSound: ``vggsound.csv`` (id, start, label, split) and clips ``<id>_<start, six digits>.mp4``."""
    file = find(source, "vggsound.csv")
    table, findings = listed(file, 4, header=lambda row: len(row) < 2 or not row[1].isdigit())
    clips = []
    for row in table:
        if row[1].isdigit():
            clips.append(Clip(f"{row[0]}_{int(row[1]):06d}", row[3], row[2], row[0]))
        else:
            findings.append(Finding("line", row[0], "", f"{file}: `{row[1]}` of `{row[0]}` is not a second", True))
    return _index(
        source,
        settings,
        clips,
        _readers(settings, audio="stft-vggsound", frames=3, keep=10),
        classes=sorted({clip.label for clip in clips}),
        findings=findings,
        group="source video",
        expected={"train+val": 183730, "test": 15446, "classes": 309},
        origin="Chen et al., ICASSP 2020",
    )


def ave(source: Path, settings: Settings) -> Index:
    """Return AVE.

    Lists: ``trainSet.txt``, ``valSet.txt``, ``testSet.txt`` (``category&id&quality&start&end``); clips: ``<id>.mp4``.
    """
    clips: list[Clip] = []
    findings: list[Finding] = []
    for part in ("train", "val", "test"):
        file = find(source, f"{part}Set.txt")
        table, bad = listed(file, 2, delimiter="&", header=lambda row: row[0] == "Category")
        clips += [Clip(row[1], part, row[0], row[1]) for row in table]
        findings += bad
    return _index(
        source,
        settings,
        clips,
        _readers(settings, audio="fbank", frames=4, keep=10),
        classes=sorted({clip.label for clip in clips}),
        findings=findings,
        group="source video",
        expected={"train": 3339, "val": 402, "test": 402, "classes": 28},
        origin="Tian et al., ECCV 2018",
    )


def balanced_av(source: Path, settings: Settings) -> Index:
    """Return BalancedAV: a JSON database ``{"database": {clip: {"subset", "annotations": {"label"}}}}`` and the clips.

    Clips are videos; or, as the set is distributed, ``<clip>.hdf5`` with the encoded frames and ``<clip>.pkl`` with the
    features of the sound.
    """
    files = [path for path in sorted(source.rglob("*.json")) if "database" in read_json(path)]
    if not files:
        raise NotFoundError(f"`{source}` should hold the JSON file of Balanced Audiovisual with its `database`.")
    entries, findings = read_database(files[0])
    clips = [Clip(clip, part, label, _youtube(clip)) for clip, part, label in entries]
    return _index(
        source,
        settings,
        clips,
        _readers(settings, audio="fbank", frames=3, keep=10),
        classes=sorted({clip.label for clip in clips}),
        findings=findings,
        group="source video",
        expected={"classes": 30},
        origin="Xia et al., CVPR 2023",
    )
