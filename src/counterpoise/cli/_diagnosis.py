"""``diagnose``: what each modality contributes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from counterpoise.cli._screen import console
from counterpoise.cli._words import words
from counterpoise.errors import ConfigError

if TYPE_CHECKING:
    from jsonargparse import Namespace

    from counterpoise.diagnosis import Diagnosis


def run_diagnose(options: Namespace, given: Mapping[str, Any]) -> int:
    """Diagnose a trained model, arrays or a table."""
    sources = [name for name in ("run", "arrays", "table", "csv") if getattr(options, name) is not None]
    if len(sources) != 1:
        raise ConfigError(
            "Give one thing to diagnose: a run folder, --arrays FILE.npz or --table FILE. Found "
            f"{' and '.join(sources) or 'none'}."
        )
    with console.status("measuring contributions"):
        diagnosis = _diagnosis(options)
    if options.out is not None:
        diagnosis.save_html(options.out / "diagnosis.html")
        diagnosis.save_json(options.out / "diagnosis.json")
    if options.json:
        print(json.dumps(diagnosis.to_dict()))
        return 0
    console.print(diagnosis)
    if options.out is not None:
        console.print(f"\nThe page: [bold]{options.out / 'diagnosis.html'}[/]")
    return 0


def _diagnosis(options: Namespace) -> Diagnosis:
    from counterpoise.diagnosis import diagnose_csv, diagnose_file

    estimator, table = options.estimator or "variational", options.table or options.csv
    if options.arrays is not None:
        return diagnose_file(options.arrays, task=options.task, estimator=estimator)
    if table is not None:
        columns: dict[str, Sequence[str]] = {}
        for text in options.modality:
            name, equals, rest = text.partition("=")
            if not (name and equals and words(rest)):
                raise ConfigError(f"`--modality` should be NAME=COLUMN,COLUMN. Found `{text}`.")
            if name in columns:
                raise ConfigError(
                    f"`--modality {name}` is given twice. Name all of its columns at once: "
                    f"--modality {name}={','.join([*columns[name], *words(rest)])}."
                )
            columns[name] = words(rest)
        return diagnose_csv(
            table,
            label=options.label,
            modalities=columns,
            group=options.group,
            task=options.task,
            estimator=estimator,
        )
    from counterpoise.experiment.runner import diagnose_run

    return diagnose_run(Path(options.run), estimator=options.estimator, trust=options.trust)
