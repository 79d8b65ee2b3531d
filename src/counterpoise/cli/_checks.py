"""``check``: the checks of a method."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from counterpoise.cli._screen import console

if TYPE_CHECKING:
    from jsonargparse import Namespace


def run_check(options: Namespace, given: Mapping[str, Any]) -> int:
    """Run every check on a method and print the results."""
    from rich.table import Table

    from counterpoise.catalogue import parse_spec
    from counterpoise.methods.checks import check_method

    name, arguments = parse_spec("method", options.method)
    with console.status("checking"):
        results = check_method(name, arguments)
    failed = sum(r.status == "failed" for r in results)
    if options.json:
        print(json.dumps([asdict(r) for r in results], indent=2))
        return int(failed > 0)
    table = Table("check", "result", "message", title=f"Checks of {escape(options.method)}")
    colours = {"passed": "green", "failed": "bold red", "skipped": "yellow"}
    for r in results:
        table.add_row(r.name, f"[{colours[r.status]}]{r.status}[/]", escape(r.message))
    console.print(table)
    skipped = sum(r.status == "skipped" for r in results)
    console.print(f"{len(results) - failed - skipped} passed, {failed} failed, {skipped} skipped")
    return int(failed > 0)
