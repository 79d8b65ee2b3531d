"""What every reader of a modality does."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, ClassVar

import numpy as np

from counterpoise.data._info import Modality
from counterpoise.data.preparation._findings import Remark

__all__ = ["Reader"]


class Reader(ABC):
    """Turns one source of a modality into an array of a fixed shape.

    Attributes:
        settings: Names of the fields of `Settings` that the reader depends on.
    """

    settings: ClassVar[tuple[str, ...]] = ()

    def fit(self, sources: Iterable[Any]) -> None:
        """Learn from the *training* sources what depends on them (a vocabulary, a width)."""

    @abstractmethod
    def read(self, source: Any, remark: Remark) -> np.ndarray:
        """Return the array.

        Raises:
            UnreadableError: if the source gives no sample, with the kind of finding.
        """

    @abstractmethod
    def modality(self, name: str) -> Modality:
        """Return what it looks like."""

    @property
    def parameters(self) -> dict[str, Any]:
        """What the result depends on, for the manifest."""
        return {"reader": type(self).__name__, **{k: v for k, v in vars(self).items() if not k.startswith("_")}}
