"""``prepare`` and ``extract``: from raw files to prepared data, and to features."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from counterpoise.cli._screen import console
from counterpoise.cli._words import words
from counterpoise.errors import ConfigError

if TYPE_CHECKING:
    from jsonargparse import Namespace


def run_prepare(options: Namespace, given: Mapping[str, Any]) -> int:
    """Prepare a data set."""
    from dataclasses import fields

    from counterpoise.data.datasets.catalogue import prepare as prepare_data
    from counterpoise.data.preparation import Settings

    chosen = {f.name: getattr(options, f.name) for f in fields(Settings)}
    settings = Settings(**{**chosen, "modality": tuple(options.modality)})
    with console.status(f"preparing {options.name}") as status:

        def on_progress(done: int, total: int) -> None:
            status.update(f"preparing {options.name}: {done:,} of {total:,} samples")

        summary = prepare_data(
            options.name, options.source, options.out, settings=settings, jobs=options.jobs, on_progress=on_progress
        )
    console.print(str(summary), markup=False, highlight=False, soft_wrap=True)
    return 1 if summary.left_out else 0


def run_extract(options: Namespace, given: Mapping[str, Any]) -> int:
    """Store features of frozen encoders."""
    from counterpoise.experiment.extraction import extract

    encoders: dict[str, str] = {}
    for text in words(options.encoders):
        name, equals, encoder = text.partition("=")
        if not (name.strip() and equals and encoder.strip()) or name.strip() in encoders:
            raise ConfigError(f"`--encoders` should be MODALITY=ENCODER,..., each modality once. Found `{text}`.")
        encoders[name.strip()] = encoder.strip()
    with console.status("encoding") as status:

        def on_progress(done: int, total: int) -> None:
            status.update(f"encoding: {done:,} of {total:,} samples")

        extraction = extract(
            options.data,
            encoders,
            options.out,
            width=options.width,
            seed=options.seed,
            batch_size=options.batch_size,
            on_progress=on_progress,
        )
    console.print(str(extraction), markup=False, highlight=False, soft_wrap=True)
    return 0
