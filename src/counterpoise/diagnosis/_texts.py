"""Texts as numbers: counts of hashed words, and whether the words of texts recur at all."""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

__all__ = ["hashed_texts", "read_times", "recurring_words", "words_of"]

TEXT_BUCKETS: Final = 512
FEW_TEXTS: Final = 5
FEW_SHARE: Final = 0.01
"""A word can be measured if this many texts, and this share of them, hold it and as many do not. Parts of identifiers
such as UUIDs also occur twice by chance, but not that often."""
_UNSPACED: Final = r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
"""Scripts that are written without spaces between words: Thai, Lao, Burmese, Khmer, Japanese and Chinese."""
_RUN: Final = re.compile(rf"(?P<unspaced>[{_UNSPACED}]+)|[^\W_{_UNSPACED}]+")
_TIME: Final = re.compile(r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?)?Z?")


def words_of(text: str) -> Iterator[str]:
    """Yield the words of a text in lower case; in scripts without spaces, pairs of neighbouring characters.

    Example:
        >>> list(words_of("Train/cat_0012.PNG")), list(words_of("我喜欢"))
        (['train', 'cat', '0012', 'png'], ['我喜', '喜欢'])
    """
    for match in _RUN.finditer(text.lower()):
        run = match.group()
        if match["unspaced"] and len(run) > 2:
            yield from (run[k : k + 2] for k in range(len(run) - 1))
        else:
            yield run


def recurring_words(texts: Sequence[str]) -> set[str]:
    """Return the words that occur in more than one text; none if no word is frequent enough to be measured.

    A word is frequent enough if at least 5 texts, and 1 % of them, hold it, and as many do not. Identifiers, file names
    and random strings have no such word.

    Example:
        >>> sorted(recurring_words(["cold day 1", "cold day 2", "warm day 3", "warm day 4"] * 3))
        ['1', '2', '3', '4', 'cold', 'day', 'warm']
        >>> recurring_words([f"note {k}" for k in range(600)])
        set()
    """
    counts = Counter(chain.from_iterable(set(words_of(text)) for text in texts))
    few = max(FEW_TEXTS, FEW_SHARE * len(texts))
    if not any(few <= k <= len(texts) - few for k in counts.values()):
        return set()
    return {word for word, k in counts.items() if k > 1}


def hashed_texts(texts: Sequence[Any], known: set[str] | None = None) -> Tensor:
    """Return counts of hashed words and letter triples ``(N, TEXT_BUCKETS)``.

    Args:
        texts: The texts.
        known: Words that are counted; by default all.
    """
    counts = torch.zeros(len(texts), TEXT_BUCKETS)
    for row, text in enumerate(texts):
        for word in words_of(str(text)):
            if known is not None and word not in known:
                continue
            counts[row, zlib.crc32(word.encode()) % TEXT_BUCKETS] += 1
            padded = f"^{word}$"
            for k in range(len(padded) - 2):
                counts[row, zlib.crc32(padded[k : k + 3].encode()) % TEXT_BUCKETS] += 0.3
    return counts


def read_times(texts: Sequence[str | None]) -> np.ndarray | None:
    """Return texts that are all ISO 8601 dates or times (in one time zone) as ``datetime64`` ``(N,)``; else None.

    Args:
        texts: The texts; None where one is missing.

    Example:
        >>> read_times(["2024-02-29", None, "2024-03-01 12:30"]).tolist()[2].hour
        12
        >>> read_times(["2024-02-29", "yesterday"]) is None
        True
    """
    if not all(text is None or _TIME.fullmatch(text) for text in texts):
        return None
    try:
        return np.array(["NaT" if text is None else text.rstrip("Z") for text in texts], dtype="datetime64[us]")
    except ValueError:  # month 13
        return None
