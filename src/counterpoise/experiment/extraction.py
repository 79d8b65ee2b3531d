"""Features of frozen encoders, computed once and stored as prepared data for all methods and seeds."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import nn

from counterpoise._files import write_atomic
from counterpoise._tree import to_device
from counterpoise._validation import Interval, check_keys
from counterpoise.data import (
    ClipAugmentation,
    DataInfo,
    MappedRows,
    Modality,
    MultimodalData,
    Split,
    load_prepared,
    open_data,
    save_prepared,
    split_of_seed,
)
from counterpoise.errors import ConfigError, DataError, OutputError
from counterpoise.experiment.config import make_config
from counterpoise.model import build_model

__all__ = ["FEATURES", "Extraction", "extract"]

FEATURES: Final = "features.json"
"""File next to the extracted data: by modality, the key of its features."""
META: Final = "counterpoise.json"
"""File that makes a folder prepared data."""
PART: Final = 1 << 23
"""Approximate number of bytes of features after which they are written to disk."""
_SPLITS: Final = ("train", "val", "test")


@dataclass(frozen=True)
class Extraction:
    """What was extracted.

    Attributes:
        out: Folder of the prepared data.
        dims: Number of features by modality that was encoded.
        samples: Number of samples by split.
        encoded: Number of samples that this call encoded, over all modalities; the others were stored before.
    """

    out: Path
    dims: Mapping[str, int]
    samples: Mapping[str, int]
    encoded: int

    def __str__(self) -> str:
        parts = ", ".join(f"{m} {d}" for m, d in self.dims.items())
        counts = ", ".join(f"{n:,} {part}" for part, n in self.samples.items())
        work = f"{self.encoded:,} samples encoded" if self.encoded else "all features were stored already"
        return f"{self.out}: features {parts}; {counts}; {work}"


def extract(
    data: str,
    encoders: Mapping[str, str],
    out: Path,
    *,
    width: int = 64,
    seed: int = 0,
    batch_size: int = 64,
    on_progress: Callable[[int, int], None] | None = None,
) -> Extraction:
    """Encode modalities with frozen encoders and write the data with features instead of the inputs.

    An encoder is used as in evaluation: no dropout, stored statistics, no augmentation. Absent modalities stay absent,
    with zeros as features. Modalities without an encoder are stored unchanged.

    The features of a modality are keyed by the data, the encoder and its weights. Repeating a call computes nothing.
    After a change of one encoder, only its modality is computed. After an interruption, only the missing samples are
    computed.

    Args:
        data: Name or path of a data set.
        encoders: Encoder by modality, with arguments in brackets (``resnet18[pretrained=microsoft/resnet-18]``).
        out: Folder to write: prepared data for ``--data``.
        width: Feature dimension of encoders without a fixed one.
        seed: Seed of the weights of encoders that are not pretrained; of a set with several splits, the one to use.
        batch_size: Samples that are encoded at once.
        on_progress: Function that is called with the numbers of finished samples and of all samples.

    Raises:
        ConfigError: If no encoder is given, or for a modality or an argument that does not exist.
        DataError: If an encoder does not return ``(B, D)``, or returns values that are not finite.
        NotFoundError: For an unknown data set or encoder, or weights that cannot be found.
        OutputError: If ``out`` holds other files, or cannot be written.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp()) / "features"
        >>> extract("world-xor", {"a": "mlp"}, folder, width=8).dims
        {'a': 8}
        >>> extract("world-xor", {"a": "mlp"}, folder, width=8).encoded
        0
    """
    Interval(1, integer=True).check("extract", "batch_size", batch_size)
    if not encoders:
        raise ConfigError("Give at least one encoder: --encoders MODALITY=ENCODER. Found none.")
    source = open_data(data, split=split_of_seed(data, seed))
    check_keys("the encoders", encoders, source.info.names)
    _check_folder(out)
    built = {m: _build(source.info, m, encoders[m], width, seed) for m in source.info.names if m in encoders}
    keys = {m: _key(source, m, encoders[m], encoder) for m, encoder in built.items()}
    samples = {part: len(source.split(part)) for part in _SPLITS}
    wanted = {"data": source.fingerprint(), "features": keys}
    stored = _stored(out)
    if stored == wanted:
        known = load_prepared(out)
        dims = {m.name: m.shape[0] for m in known.info.modalities if m.name in keys}
        return Extraction(out, dims, samples, 0)
    features = _kept(out, keys, stored) if stored.get("data") == wanted["data"] else {}
    parts = out.parent / f".{out.name}.parts"
    missing = [m for m in keys if m not in features]
    encoding = _Encoding(source, batch_size, parts, on_progress, sum(samples.values()) * len(missing))
    features |= {m: encoding.run(m, built[m], keys[m]) for m in missing}
    save_prepared(_with_features(source, features, encoders), out)
    write_atomic(out / FEATURES, json.dumps(wanted, indent=1))
    shutil.rmtree(parts, ignore_errors=True)
    return Extraction(out, {m: features[m]["train"].shape[1] for m in keys}, samples, encoding.encoded)


def _check_folder(out: Path) -> None:
    """Raise `OutputError` if a folder holds files that are not prepared data."""
    is_free = not out.exists() or (out.is_dir() and not any(out.iterdir()))
    if not is_free and not (out / META).is_file():
        raise OutputError(f"`{out}` exists and is not prepared data. Choose an empty --out.")


def _kept(out: Path, keys: Mapping[str, str], stored: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the features of an earlier extraction from the same data whose keys are the same."""
    same = [m for m in keys if stored.get("features", {}).get(m) == keys[m]]
    if not same:
        return {}
    earlier = load_prepared(out)
    return {m: {part: earlier.split(part).arrays[m] for part in _SPLITS} for m in same}


def _build(info: DataInfo, modality: str, spec: str, width: int, seed: int) -> nn.Module:
    """Return the encoder of one modality, frozen. Its random weights do not depend on the other encoders."""
    described = {m.name: (m.kind, m.shape, m.vocabulary) for m in info.modalities}
    spec = make_config(info, {"data": info.name, "model": {"encoders": {modality: spec}}}).model.encoders[modality]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build_model(described, num_outputs=2, encoders={modality: spec}, width=width)
    return model.encoder(modality).eval().requires_grad_(False)


def _key(data: MultimodalData, modality: str, spec: str, encoder: nn.Module) -> str:
    """Return the hash of what determines the features of a modality: data, encoder, weights."""
    digest = hashlib.sha256(json.dumps([data.fingerprint(), modality, spec]).encode())
    for name, value in sorted(encoder.state_dict().items()):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(value.cpu().float().numpy()).tobytes())
    return digest.hexdigest()[:24]


def _stored(out: Path) -> dict[str, Any]:
    """Return the keys of the stored features; empty if none can be read."""
    try:
        content = json.loads((out / FEATURES).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) and (out / META).is_file() else {}


class _Encoding:
    """Encoder of modalities, piece by piece. Pieces that exist in ``folder`` are read and not computed again."""

    def __init__(
        self,
        data: MultimodalData,
        batch_size: int,
        folder: Path,
        on_progress: Callable[[int, int], None] | None,
        total: int,
    ) -> None:
        self.data, self.batch_size, self.folder = data, batch_size, folder
        self.on_progress, self.total = on_progress, total
        self.encoded = self.done = 0

    def run(self, modality: str, encoder: nn.Module, key: str) -> dict[str, Any]:
        """Return the features of a modality by split, memory-mapped."""
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        encoder.to(device)
        folder = self.folder / key
        features = {}
        for part in _SPLITS:
            split, pieces = self.data.split(part), []
            for start, stop in self._pieces(len(split), split, modality, encoder, device):
                file = folder / f"{part}-{start:09d}-{stop:09d}.npy"
                if not file.is_file():
                    buffer = io.BytesIO()
                    np.save(buffer, self._encode(split, modality, encoder, device, start, stop))
                    write_atomic(file, buffer.getvalue())
                    self.encoded += stop - start
                pieces.append(np.load(file, mmap_mode="r"))
                self.done += stop - start
                if self.on_progress is not None:
                    self.on_progress(self.done, self.total)
            features[part] = MappedRows(pieces)
        return features

    def _pieces(
        self, n: int, split: Split, modality: str, encoder: nn.Module, device: torch.device
    ) -> Iterator[tuple[int, int]]:
        """Yield where pieces start and stop: whole batches, about `PART` bytes of features."""
        width = self._encode(split, modality, encoder, device, 0, min(2, n)).shape[1]
        size = max(PART // (4 * width) // self.batch_size, 1) * self.batch_size
        for start in range(0, n, size):
            yield start, min(start + size, n)

    def _encode(
        self, split: Split, modality: str, encoder: nn.Module, device: torch.device, start: int, stop: int
    ) -> np.ndarray:
        """Return the features of some samples, ``(stop - start, D)``."""
        rows = []
        one = replace(split, present=None)
        if split.augmentation is None:
            one = replace(one, arrays={modality: split.arrays[modality]})
        for first in range(start, stop, self.batch_size):
            index = torch.arange(first, min(first + self.batch_size, stop))
            with torch.no_grad():
                values = encoder(to_device(one.batch(index).inputs[modality], device))
            if not isinstance(values, torch.Tensor) or values.ndim != 2 or len(values) != len(index):
                shape = tuple(values.shape) if isinstance(values, torch.Tensor) else type(values).__name__
                raise DataError(f"The encoder of `{modality}` should return features (B, D). Found {shape}.")
            rows.append(values.float().cpu().numpy())
        features = np.concatenate(rows)
        if split.present is not None:
            features[~split.present[modality][start:stop]] = 0
        return features


def _with_features(
    data: MultimodalData, features: Mapping[str, Mapping[str, Any]], encoders: Mapping[str, str]
) -> MultimodalData:
    """Return the data with features instead of the encoded inputs."""
    notes = [f"{m}: features of the frozen encoder {encoders[m]}" for m in encoders if m in features]
    info = _described(data.info, features)
    info = replace(info, notes=(*info.notes, *notes))
    augmentation = ClipAugmentation.of(info)
    splits = {part: _encoded_split(data.split(part), part, features, augmentation) for part in _SPLITS}
    return MultimodalData(info, **splits)


def _described(info: DataInfo, features: Mapping[str, Mapping[str, Any]]) -> DataInfo:
    """Return the description with vectors for the encoded modalities, without their encoders and their augmentation."""
    modalities = tuple(
        Modality(m.name, "vector", (int(features[m.name]["train"].shape[1]),)) if m.name in features else m
        for m in info.modalities
    )
    recipe = {k: dict(v) if isinstance(v, Mapping) else v for k, v in info.recipe.items()}
    if isinstance(own := recipe.get("model", {}).get("encoders"), Mapping):
        recipe["model"] = {**recipe["model"], "encoders": {m: e for m, e in own.items() if m not in features}}
    augment = dict(info.augment)
    if "visual" in augment:
        augment["visual"] = [m for m in augment["visual"] if m not in features]
    return replace(info, modalities=modalities, recipe=recipe, augment=augment)


def _encoded_split(
    split: Split, part: str, features: Mapping[str, Mapping[str, Any]], augmentation: ClipAugmentation | None
) -> Split:
    arrays = {m: features[m][part] if m in features else array for m, array in split.arrays.items()}
    captions = {m: texts for m, texts in split.captions.items() if m not in features}
    return replace(split, arrays=arrays, captions=captions, augmentation=augmentation)
