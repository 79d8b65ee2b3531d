"""``list``: the catalogues, and the faults of a folder of data."""

from __future__ import annotations

import importlib
import json
from collections.abc import Collection, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from counterpoise._validation import unknown
from counterpoise.catalogue import Catalogue
from counterpoise.cli._screen import console
from counterpoise.errors import ConfigError

if TYPE_CHECKING:
    from jsonargparse import Namespace


CATALOGUES: Final = {
    "methods": "counterpoise.methods.catalogue:METHODS",
    "datasets": "counterpoise.data.datasets.catalogue:DATASETS",
    "encoders": "counterpoise.encoders.catalogue:ENCODERS",
    "fusions": "counterpoise.fusion.catalogue:FUSIONS",
    "valuations": "counterpoise.valuation.catalogue:VALUATIONS",
    "rules": "counterpoise.inference.catalogue:RULES",
}
"""Where each catalogue is, by the name that ``list`` knows it by."""


def run_list(options: Namespace, given: Mapping[str, Any]) -> int:
    """Show a catalogue."""
    if options.check is not None:
        return _check(options)
    ignored = [f"--{name}" for name in ("name", "out") if getattr(options, name) is not None]
    if ignored:
        raise ConfigError(
            f"{' and '.join(ignored)} of `list` needs --check DIR, the folder to check. Found no --check."
        )
    rows = load_catalogue(options.what).values()
    if options.json:
        print(json.dumps([{k: v for k, v in asdict(r).items() if k != "target"} for r in rows], indent=1, default=str))
    else:
        _print_catalogue(options.what, rows)
    return 0


def _print_catalogue(name: str, rows: Collection[Any]) -> None:
    """Print the entries of a catalogue as a table."""
    from rich.table import Table

    table = Table(title=f"{name} ({len(rows)})", title_justify="left", box=None, pad_edge=False)
    for column in ("name", "what it is", "reference"):
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(f"[bold]{row.name}[/]", row.summary, row.reference)
    console.print(table)


def _check(options: Namespace) -> int:
    """Report the faults of a folder of data; the exit status is 1 if anything is missing."""
    from counterpoise._files import write_atomic
    from counterpoise.data.preparation import check_folder, to_csv

    lines, findings, well = check_folder(options.check, options.name)
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    if options.out is not None:
        write_atomic(options.out, to_csv(findings))
        console.print(f"The whole list: {options.out}", markup=False)
    return 0 if well else 1


def load_catalogue(name: str) -> Catalogue[Any]:
    """Import and return a catalogue.

    Raises:
        NotFoundError: If there is none of that name.
    """
    if name not in CATALOGUES:
        raise unknown("catalogue", name, CATALOGUES)
    module, _, attribute = CATALOGUES[name].partition(":")
    catalogue: Catalogue[Any] = getattr(importlib.import_module(module), attribute)
    return catalogue
