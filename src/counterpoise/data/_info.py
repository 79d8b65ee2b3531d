"""The description of a data set. Importing it needs no torch, so that processes that read raw files start quickly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from counterpoise.tasks import Task

__all__ = ["PRESENT", "SPLITS", "SPLIT_ALIASES", "DataInfo", "Kind", "Modality"]

Kind = Literal["vector", "sequence", "image", "video", "tokens"]
SPLITS = ("train", "val", "test")
PRESENT = "present:"
"""Prefix of the columns of prepared data that mark which samples have a modality."""
SPLIT_ALIASES = {"valid": "val", "validation": "val", "dev": "val", "training": "train", "testing": "test"}
"""Other names of the splits."""


@dataclass(frozen=True)
class Modality:
    """Description of one modality.

    Attributes:
        name: Name.
        kind: ``vector`` (D,), ``sequence`` (T, D), ``image`` (C, H, W), ``video`` (T, C, H, W) or ``tokens`` (L,) of
            integer ids, 0 = padding.
        shape: Shape of one sample.
        vocabulary: Number of token ids, for tokens.
        stored: Shape on disk if it differs from ``shape``, as for clips stored with more frames than a sample uses (see
            `ClipAugmentation`).
        words: Words of the token ids, ``words[id]``; empty if they are unknown.
        rate: Samples per second of a sequence or a waveform; 0 where it is not known.
    """

    name: str
    kind: Kind
    shape: tuple[int, ...]
    vocabulary: int = 0
    stored: tuple[int, ...] = ()
    words: tuple[str, ...] = field(default=(), repr=False)
    rate: float = 0.0


@dataclass(frozen=True)
class DataInfo:
    """Description of a data set.

    Attributes:
        name: Name.
        modalities: Modalities, in order.
        task: Multiclass, multilabel or regression, or a `counterpoise.tasks.Task` of your own.
        num_outputs: C.
        class_names: C names, or empty.
        group: Kind of the groups (``speaker``, ``subject``), or empty.
        source: Source of the data, and the terms of use.
        notes: Counts, choices and warnings that a reader should know.
        recipe: Settings of `RunConfig` that suit this data set (``{"fit": {"epochs": 20}}``).
        target_offset: Value of each regression target, in the user's unit, that is stored as 0; empty if the targets
            are stored as they are.
        target_unit: Difference of each regression target, in the user's unit, that is stored as 1; empty if the targets
            were not standardised.
        augment: Augmentation of the inputs in training: ``{"visual": ["video"], "smallest": 0.5}`` (see
            `ClipAugmentation`).
    """

    name: str
    modalities: tuple[Modality, ...]
    task: str | Task
    num_outputs: int
    class_names: tuple[str, ...] = ()
    group: str = ""
    source: str = ""
    notes: tuple[str, ...] = ()
    recipe: Mapping[str, Any] = field(default_factory=dict)
    augment: Mapping[str, Any] = field(default_factory=dict)
    target_offset: tuple[float, ...] = ()
    target_unit: tuple[float, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The modalities' names."""
        return tuple(m.name for m in self.modalities)

    def make_task(self) -> Task:
        """Return the task object."""
        from counterpoise.tasks import Regression, make_task

        if self.task == "regression" and self.target_unit:
            return Regression(self.num_outputs, offset=self.target_offset, unit=self.target_unit)
        return make_task(self.task, self.num_outputs)
