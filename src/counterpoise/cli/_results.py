"""Results of runs on the screen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.markup import escape

from counterpoise.cli._screen import console

if TYPE_CHECKING:
    from counterpoise.experiment.parallel import Failure
    from counterpoise.runs import RunRecord


def show(
    records: Sequence[RunRecord], *, reference: str = "joint", focus: str | None = None, details: bool = False
) -> None:
    """Print the results of a comparison: the finding and the advice, the table, the evidence, and notes."""
    from counterpoise.report import conclusions, rich_table

    if not records:
        return
    by_data = conclusions(records, reference=reference, focus=focus)

    def say(text: str, data: str) -> None:
        prefix = f"{data}: " if len(by_data) > 1 else ""
        console.print(f"{prefix}{text}", highlight=False, markup=False)

    console.print()
    for data, one in by_data.items():
        say(one.finding, data)
        if one.action:
            say(one.action, data)
    console.print()
    console.print(rich_table(records, reference=reference, focus=focus, details=details))
    for data, one in by_data.items():
        for sentence in (*one.evidence, *(one.details if details else ())):
            say(f"• {sentence}", data)
    for note in dict.fromkeys(note for record in records for note in record.notes):
        console.print(f"Note: {note}", highlight=False, markup=False)


def complain(failures: Sequence[Failure]) -> int:
    """Print the failures and return the exit status."""
    for failure in failures:
        console.print(f"[red]failed[/] {escape(str(failure))}", highlight=False, soft_wrap=True)
    return 1 if failures else 0
