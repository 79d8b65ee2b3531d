"""Base class of the readers of modalities."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from counterpoise.data._info import Modality
from counterpoise.data.preparation._findings import Finding, Remark, UnreadableError

__all__ = ["Reader", "absence", "is_empty", "without_any"]


def is_empty(source: Any) -> bool:
    """Return whether a sample has no source of a modality: nothing, or a text without a letter."""
    return source is None or (isinstance(source, str) and not source.strip())


def absence(m: str, item: str, source: Any, error: UnreadableError, optional: Collection[str]) -> list[Finding]:
    """Return the findings that make a modality with an unreadable source absent; none if the sample is excluded.

    Only media can be broken and absent. Numbers that cannot be used are an error of the row, in a cell or in a file.

    Args:
        m: The modality.
        item: Id of the sample.
        source: The source.
        error: Error of the reader.
        optional: Kinds of findings that are absences, see `Index`; none if samples need every modality.
    """
    if not optional or not (is_empty(source) or error.kind in optional):
        return []
    numbers = not isinstance(source, Path) or source.suffix.lower() == ".npy"
    if numbers and not is_empty(source) and error.kind not in ("missing", "silent"):
        return []
    absent = Finding("absent", item, m, error.detail, False)
    if is_empty(source) or error.kind == "silent":  # a video without a sound track is not faulty
        return [absent]
    return [Finding(error.kind, item, m, error.detail, False), absent]


def without_any(item: str, findings: Iterable[Finding]) -> list[Finding]:
    """Return the findings about a sample that lacks every modality, which excludes it.

    Args:
        item: Id of the sample.
        findings: Findings about its sources.
    """
    return [*(f for f in findings if f.kind != "absent"), Finding("empty", item, "", item, True)]


class Reader(ABC):
    """Base class of readers, which convert one source of a modality into an array of a fixed shape.

    Attributes:
        settings: Names of the fields of `Settings` that the reader depends on.
    """

    settings: ClassVar[tuple[str, ...]] = ()
    dtype: str = "float32"
    """Type of the array."""

    def fit(self, sources: Iterable[Any]) -> None:
        """Fit the parts that depend on the *training* sources (a vocabulary, a width)."""

    @abstractmethod
    def read(self, source: Any, remark: Remark) -> np.ndarray:
        """Return the array.

        Raises:
            UnreadableError: If the source cannot be read; it holds the kind of finding.
        """

    @abstractmethod
    def modality(self, name: str) -> Modality:
        """Return the description of the modality."""

    def blank(self) -> np.ndarray:
        """Return zeros of the shape and type of the array, for a sample that lacks the modality."""
        modality = self.modality("")
        return np.zeros(modality.stored or modality.shape, self.dtype)

    @property
    def parameters(self) -> dict[str, Any]:
        """Parameters that determine the result, for the manifest."""
        return {"reader": type(self).__name__, **{k: v for k, v in vars(self).items() if not k.startswith("_")}}
