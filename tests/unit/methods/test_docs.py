"""The table of methods in the docs and the catalogue name the same rows."""

from __future__ import annotations

from pathlib import Path

from counterpoise.methods import METHODS

PAGE = Path(__file__).parents[3] / "docs" / "methods.md"


def test_the_table_has_every_row_with_its_paper_and_family() -> None:
    rows = {}
    for line in PAGE.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 5 and cells[0].startswith("`") and not cells[1].startswith("`"):
            rows[cells[0].strip("`")] = cells
    assert sorted(rows) == sorted(METHODS)
    for name, (_, paper, family, does, differs) in rows.items():
        assert family == METHODS[name].family, name
        reference = METHODS[name].reference.split(" (")[0]
        assert paper.split(",")[0] == reference.split(",")[0], name
        assert does
        assert differs
