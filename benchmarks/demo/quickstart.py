"""Run the example of the README, and write what it prints (the first part) and the picture of the answer.

Run it: python benchmarks/demo/quickstart.py
"""

from __future__ import annotations

import io
import runpy
from pathlib import Path

from rich.console import Console

ROOT = Path(__file__).resolve().parents[2]
WIDTH = 100


def main() -> None:
    diagnosis = runpy.run_path(str(ROOT / "examples" / "diagnose_concat.py"))["main"]()
    screen = Console(file=io.StringIO(), width=WIDTH, no_color=True)
    screen.print(diagnosis)
    first = screen.file.getvalue().split("\n\n")[0]  # type: ignore[attr-defined]
    lines = [line.rstrip() for line in f"{first}\n...".splitlines()]
    (Path(__file__).parent / "quickstart.txt").write_text("\n".join(lines) + "\n")
    diagnosis.plot()[0].figure.savefig(ROOT / "docs" / "img" / "quickstart.png", dpi=150)


if __name__ == "__main__":
    main()
