"""Vocabularies: words and their ids."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np

__all__ = ["Vocabulary"]

WORD: Final = re.compile(r"[a-z0-9]+")


class Vocabulary:
    """Mapping from words to ids: 0 is padding, 1 is every word that occurs too rarely in the training texts.

    Args:
        texts: The *training* texts.
        least: Minimum number of occurrences of a word.

    Example:
        >>> words = Vocabulary(["Blue shirt", "blue shoes", "Blue shirt"], least=2)
        >>> len(words), words.encode(["BLUE shirt, red"], length=5)
        (4, array([[2, 3, 1, 0, 0]], dtype=int32))
    """

    def __init__(self, texts: Iterable[str], least: int = 1) -> None:
        counts = Counter(word for text in texts for word in WORD.findall(text.lower()))
        known = sorted((word for word, n in counts.items() if n >= least), key=lambda word: (-counts[word], word))
        self.ids = {word: k for k, word in enumerate(known, 2)}

    def __len__(self) -> int:
        return len(self.ids) + 2

    @property
    def words(self) -> tuple[str, ...]:
        """What each id stands for: ``words[id]``."""
        return "", "?", *self.ids

    def encode(self, texts: Sequence[str], length: int) -> np.ndarray:
        """Return ``(N, length)`` int32, cut or padded; a text without words gets one unknown."""
        rows = np.zeros((len(texts), length), dtype=np.int32)
        for row, text in zip(rows, texts, strict=True):
            ids = [self.ids.get(word, 1) for word in WORD.findall(text.lower())][:length] or [1]
            row[: len(ids)] = ids
        return rows
