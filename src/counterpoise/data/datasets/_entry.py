"""A row of the catalogue of data sets. Importing it needs no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from counterpoise.catalogue import Entry

__all__ = ["DataEntry", "fit_recipe"]


@dataclass(frozen=True)
class DataEntry(Entry):
    """One row of the catalogue of data sets.

    ``target`` is its builder, which is called with the raw folder and ``options``, or with ``options`` alone where
    ``files`` is empty.

    Attributes:
        modalities: Names of the modalities.
        files: The raw files that the builder reads, below the raw folder; empty if it needs none.
        options: Arguments of the builder that distinguish a variant.
        terms: Licence or terms of use.
        recipe: Settings of `RunConfig` that suit this data set.
        splits: Number of seeded splits, from which the builder's argument ``split`` chooses; 1 if the split is fixed.
        version: Raised whenever the prepared data change.
        raw: Whether ``target`` returns an `Index` of videos, images, texts or features that the user has downloaded:
            such a set is prepared once into a folder of the user and opened from there.
        layout: Expected files of the raw folder, for sets that are prepared from raw files.
        choices: Names of the fields of `Settings` that the builder depends on besides those of its readers.
    """

    modalities: str = ""
    files: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    terms: str = ""
    recipe: Mapping[str, Any] = field(default_factory=dict)
    splits: int = 1
    version: int = 1
    raw: bool = False
    layout: str = ""
    choices: tuple[str, ...] = ()


def fit_recipe(epochs: int, batch_size: int = 64, width: int = 64, lr: float = 1e-3) -> dict[str, Any]:
    """Return a recipe: settings of `RunConfig` that suit a data set."""
    return {"fit": {"epochs": epochs, "batch_size": batch_size}, "model": {"width": width}, "optim": {"lr": lr}}
