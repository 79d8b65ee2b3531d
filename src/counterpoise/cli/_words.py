"""Texts of options that hold several words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from counterpoise.errors import ConfigError

if TYPE_CHECKING:
    pass


def missing_rates(text: str) -> dict[str, float]:
    """Return the shares of samples that lose modalities.

    Raises:
        ConfigError: If the text is not ``NAME=RATE,NAME=RATE``.

    Example:
        >>> missing_rates("audio=0.5,video=0.2")
        {'audio': 0.5, 'video': 0.2}
    """
    rates: dict[str, float] = {}
    for word in words(text):
        name, _, share = word.rpartition("=")
        try:
            rate = float(share)
        except ValueError:
            rate = -1.0
        if not name or not 0 <= rate <= 1 or name in rates:
            raise ConfigError(
                f"--missing should be NAME=RATE,NAME=RATE, once per modality, with rates from 0 to 1. Found `{text}`."
            )
        rates[name] = rate
    return rates


def words(text: str) -> Sequence[str]:
    """Split at commas, but not inside brackets."""
    return [word.strip() for word in re.split(r",(?![^\[]*\])", text) if word.strip()]


def data_names(text: str) -> list[str]:
    """Split names of data sets at commas, but not within the name of a file or folder that exists.

    Example:
        >>> data_names("kanji, world-xor")
        ['kanji', 'world-xor']
    """
    parts = text.split(",")
    names: list[str] = []
    while parts:
        longest = next((n for n in range(len(parts), 1, -1) if Path(",".join(parts[:n]).strip()).exists()), 1)
        names.append(",".join(parts[:longest]).strip())
        parts = parts[longest:]
    return [name for name in names if name]


def seed_numbers(text: str) -> int | list[int]:
    """Parse ``--seeds``: the number of seeds, or the seeds themselves.

    Example:
        >>> seed_numbers("3"), seed_numbers("3,7,11")
        (3, [3, 7, 11])
    """
    try:
        numbers = [int(word) for word in text.split(",") if word.strip()]
    except ValueError as error:
        raise ConfigError(f"`--seeds` should be a number, or seeds separated by commas. Found `{text}`.") from error
    return numbers[0] if len(numbers) == 1 and "," not in text else numbers
