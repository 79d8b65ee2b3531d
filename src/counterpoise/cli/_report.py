"""``report``: the page of finished runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from rich.markup import escape

from counterpoise.cli._screen import console
from counterpoise.errors import OutputError

if TYPE_CHECKING:
    from jsonargparse import Namespace


SKIPPED: Final = 10
"""Maximum number of unreadable files that are named on the screen. The page names all of them."""


def run_report(options: Namespace, given: Mapping[str, Any]) -> int:
    """Make the page."""
    from counterpoise.report import write_page
    from counterpoise.runs import read_records

    if options.out.suffix.lower() not in {".html", ".htm"}:
        raise OutputError(f"The page is one HTML file; `--out` should end in .html. Found `{options.out}`.")
    with console.status("reading runs"):
        records, skipped = read_records(options.runs)
    for line in skipped[:SKIPPED]:
        console.print(f"[yellow]skipped[/] {escape(line)}", highlight=False, soft_wrap=True)
    if len(skipped) > SKIPPED:
        console.print(f"[yellow]skipped[/] {len(skipped) - SKIPPED} more", highlight=False)
    if not records:
        raise OutputError(f"There is no finished run in {', '.join(options.runs)}, so there is nothing to report.")
    with console.status("drawing the page"):
        write_page(records, options.out, skipped=skipped, reference=options.reference, focus=options.focus)
    runs = f"{len(records)} run" + ("" if len(records) == 1 else "s")
    console.print(f"The page: [bold]{escape(str(options.out))}[/] ({runs})", highlight=False, soft_wrap=True)
    return 0
