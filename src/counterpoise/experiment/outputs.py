"""Files that are derived from the records of a comparison: tables, page and figures."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

from counterpoise._files import write_atomic
from counterpoise._version import __version__
from counterpoise.catalogue import user_name
from counterpoise.errors import describe
from counterpoise.experiment.parallel import Failure, map_jobs
from counterpoise.methods.catalogue import METHODS
from counterpoise.runs import RunRecord


def write_outputs(
    records: list[RunRecord],
    out: Path,
    *,
    reference: str,
    focus: str | None,
    ablation: str | None,
    figures: bool,
    jobs: int | None,
    on_figure: Callable[[int, int], None] | None,
) -> list[Failure]:
    """Write the files that are derived from the records, if these changed. An output that cannot be written is returned
    as a failure.
    """
    from counterpoise.report import ablation_table, write_figures, write_page, write_tables

    rows = {"reference": reference, "focus": focus}
    stamp = out / ".outputs"
    digest = hashlib.sha256(repr((__version__, rows, ablation, [r.to_json() for r in records])).encode()).hexdigest()
    if _are_current(out, stamp, digest, figures=figures):
        return []
    stamp.unlink(missing_ok=True)
    steps: dict[str, Callable[[], object]] = {
        "tables": lambda: write_tables(records, out, reference=reference, focus=focus),
        "page": lambda: write_page(records, out / "report.html", reference=reference, focus=focus),
    }
    if figures:
        steps["figures"] = lambda: write_figures(
            records,
            out / "figures",
            on_figure=on_figure,
            reference=reference,
            focus=focus,
            mapped=partial(map_jobs, jobs=jobs),
        )
    if ablation is not None:
        parts = METHODS.resolve(user_name(ablation)).parts
        steps["ablation"] = lambda: write_atomic(out / "ablation.md", ablation_table(records, ablation, parts))
    failures = [failure for name, write in steps.items() if (failure := _failure_of(name, write)) is not None]
    if not failures:
        write_atomic(stamp, digest)
    return failures


def _are_current(out: Path, stamp: Path, digest: str, *, figures: bool) -> bool:
    """Return whether the outputs are those of the records with this digest, and all of them exist."""
    wanted = ("report.html", "table.csv", *(("figures",) if figures else ()))
    if not all((out / name).exists() for name in wanted) or not stamp.is_file():
        return False
    return stamp.read_text(encoding="utf-8", errors="replace") == digest


def _failure_of(name: str, write: Callable[[], object]) -> Failure | None:
    """Write an output; return the failure if it cannot be written."""
    try:
        write()
    except Exception as error:
        return Failure(None, f"The {name} could not be written: {describe(error)}")
    return None
