"""Run the examples of the README and of docs/diagnose.md, and write their outputs and the picture of the answer.

Run it: python benchmarks/demo/quickstart.py
"""

from __future__ import annotations

import io
import runpy
from pathlib import Path

from rich.console import Console

HERE = Path(__file__).parent
ROOT = Path(__file__).resolve().parents[2]
WIDTH = 100


def write(name: str, text: str) -> None:
    """Write an output without spaces at the ends of lines."""
    (HERE / name).write_text("".join(f"{line.rstrip()}\n" for line in text.splitlines()), encoding="utf-8")


def main() -> None:
    diagnosis = runpy.run_path(str(ROOT / "examples" / "diagnose_concat.py"))["main"]()
    screen = Console(file=io.StringIO(), width=WIDTH, no_color=True)
    screen.print(diagnosis)
    first = screen.file.getvalue().split("\n\n")[0]  # type: ignore[attr-defined]
    write("quickstart.txt", f"{first}\n...")
    write("diagnose_concat.txt", "\n\n".join(str(diagnosis).split("\n\n")[:2]) + "\n...")
    arrays = runpy.run_path(str(ROOT / "examples" / "diagnose_arrays.py"))["main"]()
    write("diagnose_arrays.txt", str(arrays))
    diagnosis.plot()[0].figure.savefig(ROOT / "docs" / "img" / "quickstart.png", dpi=150)


if __name__ == "__main__":
    main()
