"""Raw trees in the layouts that people download, with real encoded videos of a second."""

import csv
import json
import pickle
import wave
from pathlib import Path

import av
import numpy as np
from PIL import Image

from counterpoise.data.preparation import Settings

CODECS = {
    ".mp4": ("h264", "aac"),
    ".webm": ("libvpx-vp9", "libopus"),
    ".avi": ("mpeg4", "mp3"),
    ".flv": ("flv", "mp3"),
    ".mkv": ("h264", "aac"),
}
RATE = 16000
ACTIONS = [
    "blowing nose",
    "blowing out candles",
    "bowling",
    "chopping wood",
    "dribbling basketball",
    "laughing",
    "mowing lawn",
    "playing accordion",
    "playing bagpipes",
    "playing bass guitar",
    "playing clarinet",
    "playing drums",
    "playing guitar",
    "playing harmonica",
    "playing keyboard",
    "playing organ",
    "playing piano",
    "playing saxophone",
    "playing trombone",
    "playing trumpet",
    "playing violin",
    "playing xylophone",
    "ripping paper",
    "shoveling snow",
    "shuffling cards",
    "singing",
    "stomping grapes",
    "tap dancing",
    "tapping guitar",
    "tapping pen",
    "tickling",
]
"""Kinetics-Sounds as the public lists number it."""


_OPTIONS: dict[str, dict[str, object]] = {
    "size": {"size": 16},
    "clips": {"size": 16, "keep": 3, "audio": "fbank-small"},
    "frames": {"size": 16, "keep": 3},
    "photographs": {"size": 16, "length": 12},
    "features": {"length": 12},
}
_KINDS = {"own": "size", "ucf101": "frames", "ucf51-flow": "frames", "food101": "photographs"}
_KINDS |= dict.fromkeys(("mosei", "mosi", "iemocap"), "features")


def small(name: str) -> Settings:
    """Return settings that make the preparation of a set quick; each set gets those that it depends on."""
    return Settings(**_OPTIONS[_KINDS.get(name, "clips")])  # type: ignore[arg-type]


def colour(label: int) -> np.ndarray:
    return np.array([(40 + 83 * label) % 256, (200 - 61 * label) % 256, (90 + 37 * label) % 256], np.uint8)


def write_video(
    path: Path,
    label: int = 0,
    *,
    seconds: float = 1.0,
    fps: int = 8,
    sound: bool = True,
    size: int = 32,
    tone: float = 0.0,
    seed: int = 0,
    faststart: bool = False,
) -> Path:
    """A square that moves right over a colour of its class, and a tone of its class."""
    path.parent.mkdir(parents=True, exist_ok=True)
    video_codec, audio_codec = CODECS[path.suffix]
    rng = np.random.default_rng(seed)
    options = {"movflags": "faststart"} if faststart else {}
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(video_codec, rate=fps)
        stream.width, stream.height, stream.pix_fmt = size, size, "yuv420p"
        voice = None
        if sound:
            rate = 44100 if path.suffix == ".flv" else 48000 if path.suffix == ".webm" else RATE
            voice = container.add_stream(audio_codec, rate=rate)
            voice.layout = "mono"
        count = round(seconds * fps)
        for k in range(count):
            image = np.broadcast_to(colour(label), (size, size, 3)).copy()
            image[8:16, (2 + 2 * k) % size : (2 + 2 * k) % size + 8] = 255
            image = np.clip(image + rng.integers(-8, 8, image.shape), 0, 255).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
        if voice is not None:
            time = np.arange(round(seconds * rate)) / rate
            wave_ = 0.5 * np.sin(2 * np.pi * (tone or 300 * (label + 1)) * time) + 0.01 * rng.normal(size=time.size)
            fmt = {"aac": "fltp", "libopus": "flt", "mp3": "fltp"}[audio_codec]
            frame = av.AudioFrame.from_ndarray(wave_[None].astype(np.float32), format=fmt, layout="mono")
            frame.sample_rate = rate
            fifo = av.AudioFifo()
            fifo.write(frame)
            step = voice.frame_size or 1024
            while (piece := fifo.read(step, partial=True)) is not None:
                container.mux(voice.encode(piece))
            container.mux(voice.encode(None))
    return path


def cut(path: Path, share: float) -> Path:
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    return path


def write_wav(path: Path, label: int = 0, seconds: float = 1.0, seed: int = 0, rate: int = RATE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * rate)) / rate
    sound = 0.5 * np.sin(2 * np.pi * 300 * (label + 1) * time) + 0.01 * rng.normal(size=time.size)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((sound * 32767).astype("<i2").tobytes())
    return path


def write_image(path: Path, label: int = 0, size: int = 24, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    image = np.clip(colour(label) + rng.integers(-20, 20, (size, size, 3)), 0, 255).astype(np.uint8)
    Image.fromarray(image).save(path)
    return path


def frames(folder: Path, label: int, count: int = 4, first: int = 1, pattern: str = "frame_{:05d}.jpg") -> Path:
    for k in range(count):
        write_image(folder / pattern.format(first + k), label, seed=k)
    return folder


def kinetics_sounds(root: Path) -> Path:
    """Both lists and the published validation set; with 31 classes two of each are needed to measure anything."""
    lines: dict[str, list[str]] = {"my_train.txt": [], "my_test.txt": []}
    database = {}
    for k in range(62):
        for file in lines:
            clip = f"{file[3:-4]}-{k:02d}_000{k:03d}_000{k + 10:03d}"
            lines[file].append(f"{clip},10,{k % 31}")
            write_video(root / "clips" / f"{clip}.mp4", k % 31, seconds=0.75, seed=k + 100 * (file == "my_test.txt"))
    for k in range(8):
        clip = f"val_{k}_000001_000011"
        database[clip] = {"subset": "validation", "annotations": {"label": ACTIONS[k]}}
        write_video(root / "clips" / f"{clip}.webm", k, seconds=0.75, seed=500 + k)
    for name, content in lines.items():
        (root / name).write_text("\n".join(content) + "\n")
    (root / "KS_train_val.json").write_text(json.dumps({"database": database}))
    return root


def kinetics_sounds_arm(root: Path) -> Path:
    names = sorted({name.replace(" ", "_") for name in ACTIONS} - {"stomping_grapes"} | {"finger_snapping"})
    for part in ("train", "val"):
        for k in range(93 if part == "train" else 62):
            clip = root / part / names[k % 31] / f"{part}{k}xxxxx_000001_000011.mp4"
            write_video(clip, k % 31, seconds=0.75, seed=k + 100 * (part == "val"))
    write_video(root / "train" / "stomping_grapes" / "foreign_000001_000011.mp4", 3)
    return root


def crema_d(root: Path, three_way: bool = True) -> Path:
    names = [
        (f"{1001 + k % 20}_IOM_{('NEU', 'HAP', 'ANG')[k % 3]}_X{k}", ("NEU", "HAP", "ANG")[k % 3]) for k in range(100)
    ]
    parts = (
        {"my_train.csv": names[:60], "val.csv": names[60:80], "test.csv": names[80:]}
        if three_way
        else {"train.csv": names[:80], "test.csv": names[80:]}
    )
    for file, rows in parts.items():
        root.mkdir(parents=True, exist_ok=True)
        (root / file).write_text("".join(f"{a},{b}\n" for a, b in rows), encoding="utf-8-sig")
    for k, (name, _) in enumerate(names):
        write_video(root / "VideoFlash" / f"{name}.flv", k % 3, sound=False, seed=k)
        write_wav(root / "AudioWAV" / f"{name}.wav", k % 3, seed=k)
    return root


def ucf101(root: Path, *, extracted: bool = False) -> Path:
    (root / "lists").mkdir(parents=True, exist_ok=True)
    classes = ("Archery", "Basketball")
    (root / "lists" / "classInd.txt").write_text("".join(f"{k + 1} {c}\n" for k, c in enumerate(classes)))
    listed = {"train": [], "test": []}
    for k, name in enumerate(classes):
        for group in range(1, 11):
            for clip in (1, 2):
                video = f"v_{name}_g{group:02d}_c{clip:02d}"
                listed["test" if group > 7 else "train"].append(
                    f"{name}/{video}.avi" + (f" {k + 1}" if group <= 7 else "")
                )
                if extracted:
                    frames(root / "jpegs_256" / video, k, pattern="frame{:06d}.jpg")
                    for axis in "uv":
                        frames(root / "tvl1_flow" / axis / video, k, first=0, pattern="frame{:06d}.jpg")
                else:
                    write_video(root / "UCF-101" / name / f"{video}.avi", k, sound=True, seed=10 * group + clip)
    for part, rows in listed.items():
        (root / "lists" / f"{part}list01.txt").write_text("\n".join(rows) + "\n")
    return root


def vggsound(root: Path) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    with (root / "vggsound.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        for k in range(36):
            label = ("dog barking, growling", "people whistling")[k % 2]
            writer.writerow([f"-id{k:02d}", k, label, "test" if k >= 24 else "train"])
            write_video(root / "video" / f"-id{k:02d}_{k:06d}.mp4", k % 2, seed=k)
    return root


def ave(root: Path) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    for part, start, stop in (("train", 0, 24), ("val", 24, 30), ("test", 30, 42)):
        rows = ["Category&VideoID&VideoQuality&StartTime&EndTime"] if part == "train" else []
        rows += [
            f"{('Church bell', 'Male speech, man speaking')[k % 2]}&vid{k:02d}&good&0&10" for k in range(start, stop)
        ]
        (root / f"{part}Set.txt").write_text("\n".join(rows) + "\n")
    for k in range(42):
        write_video(root / "AVE" / f"vid{k:02d}.mp4", k % 2, seed=k)
    return root


def balanced_av(root: Path) -> Path:
    database = {}
    for k in range(42):
        subset = "training" if k < 24 else "validation" if k < 30 else "testing"
        database[f"clip{k}"] = {"subset": subset, "annotations": {"label": ("ukulele", "rain")[k % 2]}}
        write_video(root / "videos" / f"clip{k}.mkv", k % 2, seed=k)
    (root / "balanced.json").write_text(json.dumps({"database": database}))
    return root


def food101(root: Path) -> Path:
    for part, count in (("train", 40), ("test", 12)):
        lines = []
        for k in range(count):
            label = ("apple_pie", "baby_back_ribs")[k % 2]
            name = f"{label}_{part}{k}.jpg"
            title = f"Best {label.split('_')[0]} ever, easy, and quick {k}"
            lines.append(
                f'{name},"{title}",{label}' if k % 3 else f"{name},{title},{label}"
            )  # half the world forgets the quotes
            write_image(root / "images" / part / label / name, k % 2, seed=k + 100 * (part == "test"))
        (root / "texts").mkdir(parents=True, exist_ok=True)
        (root / "texts" / f"{part}_titles.csv").write_text("\n".join(lines) + "\n")
    return root


def sentiment(path: Path, *, emotions: bool = False, seed: int = 0) -> Path:
    rng = np.random.default_rng(seed)
    content = {}
    for part, count in (("train", 24), ("valid", 8), ("test", 12)):
        scores = np.resize([-2.0, 0.0, 1.5, -1.0, 3.0], count)
        fields = {
            "text": (rng.normal(size=(count, 6, 30)) + scores[:, None, None] / 3).astype(np.float32),
            "audio": rng.normal(size=(count, 9, 7)).astype(np.float32),
            "vision": rng.normal(size=(count, 9, 5)).astype(np.float32),
            "labels": scores.reshape(-1, 1, 1).astype(np.float32),
            "id": np.array([[f"{part}vid{k // 2}", "0", "1"] for k in range(count)], dtype=object),
        }
        fields["audio"][0, 3, 2] = -np.inf
        if emotions:
            present = rng.integers(0, 2, (count, 4))
            fields["labels"] = np.stack([1 - present, present], -1).astype(np.float32)
        content[part] = fields
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(content))
    return path


def own(root: Path) -> Path:
    rows = []
    for k in range(60):
        video = write_video(root / "media" / f"c{k}.mp4", k % 2, seed=k)
        image = write_image(root / "media" / f"p{k}.png", k % 2, seed=k)
        sensor = np.random.default_rng(k).normal(size=2) + k % 2
        rows.append(
            {
                "clip": video.relative_to(root).as_posix(),
                "audio": video.relative_to(root).as_posix(),
                "photo": image.relative_to(root).as_posix(),
                "note": f"seen {('dog', 'cat')[k % 2]}, number {k}",
                "sensor.x": sensor[0],
                "sensor.y": sensor[1],
                "label": ("dog", "cat")[k % 2],
                "group": f"g{k // 3}",
            }
        )
    with (root / "manifest.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return root / "manifest.csv"
