"""Fixtures that every layer of the tests uses."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from counterpoise.model import MultimodalClassifier
from counterpoise.records import Batch

NAMES = ("a", "b", "c", "d")
CLASSES = 3
DIM = 6
DEVICE = os.environ.get("COUNTERPOISE_TEST_DEVICE", "cpu")
"""Device of the contract battery; only tests/contract/test_devices.py uses ``meta``, which holds no numbers."""
HOME = "cpu" if DEVICE == "meta" else DEVICE
RAW = Path(os.environ.setdefault("COUNTERPOISE_DATA", str(Path(__file__).parents[2] / "shared" / "data")))
"""Folder of raw data: beside the repository unless the environment names another; also for processes of tests."""


@pytest.fixture(scope="session")
def raw_data() -> Path:
    """The folder of raw data; tests that need it are skipped, saying so, where it is absent."""
    if not RAW.is_dir():
        pytest.skip(f"no raw data in {RAW} (set COUNTERPOISE_DATA)")
    return RAW


def _encoder(width: int = 8) -> nn.Module:
    return nn.Sequential(nn.Linear(DIM, 12), nn.ReLU(), nn.Linear(12, width))


@pytest.fixture
def make_model() -> Callable[..., MultimodalClassifier]:
    """Build a small model of M modalities; the same seed gives the same weights."""

    def build(
        modalities: int | tuple[str, ...] = 2,
        *,
        seed: int = 0,
        dtype: torch.dtype = torch.float32,
        fusion: str = "concat",
        task: str = "multiclass",
        outputs: int = CLASSES,
        tied: bool = False,
    ) -> MultimodalClassifier:
        names = NAMES[:modalities] if isinstance(modalities, int) else modalities
        encoders = {}
        for m in sorted(names):  # the weights of a modality do not depend on the order in which it is named
            torch.manual_seed(seed + (0 if tied else 100 + NAMES.index(m)))
            encoders[m] = _encoder()
        torch.manual_seed(seed)
        model = MultimodalClassifier({m: encoders[m] for m in names}, num_outputs=outputs, fusion=fusion, task=task)
        with torch.no_grad():
            for m in names:
                torch.manual_seed(seed + (0 if tied else 200 + NAMES.index(m)))
                model.head(m).weight.normal_(std=0.2)  # type: ignore[union-attr, operator]
                model.head(m).bias.zero_()  # type: ignore[union-attr, operator]
        if HOME == "mps" and dtype == torch.float64:
            pytest.skip("MPS has no float64")
        return model.to(HOME, dtype)

    return build


def signal(target: Tensor, strength: float, generator: torch.Generator, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return (N, DIM) inputs whose first columns carry the class with the given strength, in unit noise."""
    x = torch.randn(len(target), DIM, generator=generator, dtype=torch.float64)
    x[:, :CLASSES] += strength * nn.functional.one_hot(target, CLASSES)
    return x.to(dtype)


@pytest.fixture
def make_batches() -> Callable[..., list[Batch]]:
    """Build batches of a world in which modality ``a`` is easy and the others are harder (or all alike)."""

    def build(
        modalities: int | tuple[str, ...] = 2,
        *,
        batches: int = 4,
        size: int = 32,
        dtype: torch.dtype = torch.float32,
        alike: bool = False,
        seed: int = 0,
    ) -> list[Batch]:
        names = NAMES[:modalities] if isinstance(modalities, int) else modalities
        generator = torch.Generator().manual_seed(seed)
        n = batches * size
        target = torch.randint(CLASSES, (n,), generator=generator)
        inputs = {}
        for m in NAMES[: max(NAMES.index(name) for name in names) + 1]:
            inputs[m] = signal(target, 3.0 if m == "a" else 1.0, generator, dtype)
        if alike:
            inputs = dict.fromkeys(inputs, inputs["a"])
        index = torch.arange(n)
        parts = [Batch({m: inputs[m][rows] for m in names}, target[rows], rows) for rows in index.split(size)]
        return [part.to(HOME) for part in parts]

    return build
