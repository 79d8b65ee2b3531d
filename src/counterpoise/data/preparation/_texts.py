"""The reader of texts."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import Any

import numpy as np

from counterpoise._extras import extra
from counterpoise._validation import Interval
from counterpoise.data._info import Modality
from counterpoise.data._vocabulary import Vocabulary
from counterpoise.data.preparation._findings import Remark, UnreadableError
from counterpoise.data.preparation._reader import Reader
from counterpoise.errors import DataError, NotFoundError

__all__ = ["Text", "swap_padding"]


class Text(Reader):
    """Reader of texts as token ids ``(length,)`` int32, padded with 0, so that the attention mask is ``ids != 0``.

    Args:
        tokenizer: ``words`` (the words of the training texts), or what `transformers` calls a tokenizer: a folder, or
            a name on the hub. Where its padding is another id than 0 the two change places; encoders that are
            pretrained change them back.
        length: Ids per text, special tokens included.
        least: Minimum number of occurrences of a word in training, for ``words``.
    """

    settings = ("tokenizer", "length")
    dtype = "int32"

    def __init__(self, tokenizer: str = "words", length: int = 40, least: int = 1) -> None:
        Interval(1, integer=True).check("Text", "length", length)
        self.tokenizer, self.length, self.least = str(tokenizer), length, least
        self._words: Any = None

    def fit(self, sources: Iterable[str]) -> None:
        """Count the words."""
        if self.tokenizer == "words":
            self._words = Vocabulary(sources, self.least)

    @cached_property
    def _tokenizer(self) -> Any:
        with extra("encoders"):
            from transformers import AutoTokenizer

        try:
            tokenizer = AutoTokenizer.from_pretrained(self.tokenizer)
        except (OSError, ValueError) as error:
            raise NotFoundError(
                f"The tokenizer `{self.tokenizer}` is neither a folder nor in the local cache of the Hugging Face hub, "
                "and could not be downloaded. Connect to the network, give a folder that holds it, or take --tokenizer "
                "words."
            ) from error
        if tokenizer.pad_token_id is None:
            raise DataError(
                f"The tokenizer `{self.tokenizer}` has no padding token; give it one and save it to a folder."
            )
        return tokenizer

    def read(self, source: str, remark: Remark) -> np.ndarray:
        """See `Reader.read`."""
        if not source.strip():
            raise UnreadableError("missing", "the text is empty")
        if self.tokenizer == "words":
            row: np.ndarray = self._words.encode([source], self.length)[0]
            return row
        tokens = self._tokenizer(source, truncation=True, max_length=self.length)["input_ids"]
        ids = np.full(self.length, self._tokenizer.pad_token_id, np.int32)
        ids[: len(tokens)] = tokens
        return swap_padding(ids, self._tokenizer.pad_token_id)

    def modality(self, name: str) -> Modality:
        """See `Reader.modality`."""
        if self.tokenizer == "words":
            return Modality(name, "tokens", (self.length,), vocabulary=len(self._words), words=self._words.words)
        return Modality(name, "tokens", (self.length,), vocabulary=len(self._tokenizer))

    @property
    def parameters(self) -> dict[str, Any]:
        """See `Reader.parameters`."""
        parameters = {"reader": "Text", "tokenizer": self.tokenizer, "length": self.length}
        if self.tokenizer == "words":
            return {**parameters, "words": list(self._words.ids) if self._words else []}
        return {**parameters, "vocabulary": len(self._tokenizer), "padding": self._tokenizer.pad_token_id}


def swap_padding(ids: np.ndarray, padding: int) -> np.ndarray:
    """Return ids in which ``padding`` and 0 have changed places (which also undoes it).

    Example:
        >>> swap_padding(np.array([0, 5, 2, 1, 1]), padding=1)
        array([1, 5, 2, 0, 0])
    """
    return np.where(ids == padding, 0, np.where(ids == 0, padding, ids)).astype(ids.dtype)
