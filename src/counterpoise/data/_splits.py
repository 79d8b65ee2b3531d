"""Division of arrays into training, validation and test samples; copies and groups in two of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np

from counterpoise._arrays import find_copies
from counterpoise._validation import nearest
from counterpoise.data._info import SPLIT_ALIASES, SPLITS
from counterpoise.data._sampling import holdout_split
from counterpoise.errors import DataError

__all__ = ["draw_splits", "first_copies", "given_splits", "shared_groups", "shared_rows"]

TEST, VALIDATION = 0.2, 0.125


def draw_splits(
    target: np.ndarray, group: np.ndarray | None, copies: np.ndarray | None, seed: int
) -> dict[str, np.ndarray]:
    """Return the positions of train, validation and test, 70/10/20.

    Args:
        target: Targets ``(N,)`` or ``(N, C)``.
        group: Groups that must not be in two splits, ``(N,)``; whole groups are drawn.
        copies: First position of the sample that each one is a copy of, ``(N,)``; copies stay in one split.
        seed: Seed.

    Raises:
        DataError: If there are fewer than three groups, or too few samples.
    """
    if group is not None:
        if len(np.unique(group)) < 3:
            raise DataError(
                "A split by group needs at least three groups, one for each of train, val and test. Found "
                f"{len(np.unique(group))}. Give `split` yourself, or leave `group` out."
            )
        return _draw(target, group, seed)
    if copies is None:
        return _draw(target, None, seed)
    first = np.unique(copies)
    drawn = _draw(target[first], None, seed)
    return {part: np.flatnonzero(np.isin(copies, first[rows])) for part, rows in drawn.items()}


def _draw(target: np.ndarray, group: np.ndarray | None, seed: int) -> dict[str, np.ndarray]:
    rest, test = holdout_split(target, group, TEST, seed)
    kept, held = holdout_split(target[rest], None if group is None else group[rest], VALIDATION, seed)
    return {"train": rest[kept], "val": rest[held], "test": test}


def given_splits(split: np.ndarray | Sequence[str], name: str) -> dict[str, np.ndarray]:
    """Return the positions of the training, validation and test samples of a given split.

    Raises:
        DataError: If an entry is not the name of a split.
    """
    words = np.array([SPLIT_ALIASES.get(str(word), str(word)) for word in np.asarray(split).tolist()])
    strange = sorted(set(words) - set(SPLITS))
    if strange:
        raise DataError(
            f"`split` of `{name}` should be train, val or test for each sample. Found `{strange[0]}`."
            f"{nearest(strange[0], SPLITS)}"
        )
    return {part: np.flatnonzero(words == part) for part in SPLITS}


def shared_groups(group: np.ndarray, parts: Mapping[str, np.ndarray]) -> list[str]:
    """Return notes on groups that are in two splits."""
    members = {part: set(np.unique(group[rows]).tolist()) for part, rows in parts.items()}
    total = len(np.unique(group))
    notes = []
    for a, b in combinations(SPLITS, 2):
        shared = len(members[a] & members[b])
        if shared:
            notes.append(f"warning: {shared} of {total} groups are in {a} and {b}; scores on {b} may be too good")
    return notes


def first_copies(arrays: Mapping[str, np.ndarray]) -> np.ndarray | None:
    """Return the first position of each sample's copies ``(N,)``, or None without copies; see `find_copies`."""
    numbers = find_copies(list(arrays.values()))
    return None if numbers is None else np.unique(numbers, return_index=True)[1][numbers]


def shared_rows(copies: np.ndarray | None, parts: Mapping[str, np.ndarray], *, drawn: bool) -> list[str]:
    """Return notes on samples that are copies of others, and on copies in two splits."""
    if copies is None:
        return []
    repeated = int((np.arange(len(copies)) != copies).sum())
    if drawn:
        return [
            f"{repeated} of {len(copies)} samples are copies of others (identical inputs); copies stay in one split"
        ]
    notes = []
    for part in ("val", "test"):
        shared = int(np.isin(copies[parts[part]], copies[parts["train"]]).sum())
        if shared:
            notes.append(
                f"warning: {shared} of {len(parts[part])} samples of {part} are copies of training samples; scores on "
                f"{part} may be too good"
            )
    return notes
