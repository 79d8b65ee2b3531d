"""Regenerate what the README shows of the demo: its output and its time.

    python benchmarks/demo/run.py [FOLDER]

Runs ``counterpoise demo`` and writes ``output.txt`` beside this file. What the demo left is kept in FOLDER, if one is
given: pictures are made of it (``benchmarks/screenshots/run.py``).
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "counterpoise.cli.main", "demo"]
        environment = os.environ | {"COLUMNS": "100", "NO_COLOR": "1"}
        result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True)
        lines = [line.rstrip() for line in result.stdout.splitlines() if not line.startswith(("training", "figures"))]
        text = re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()
        head, _, rest = text.partition("\n•")  # the README shows the answer, the table and the last lines
        tail = rest[rest.index("\n\n") :]
        (HERE / "output.txt").write_text(f"$ counterpoise demo\n{head}\n...{tail}\n")
        print((HERE / "output.txt").read_text())
        if len(sys.argv) > 1:
            shutil.rmtree(sys.argv[1], ignore_errors=True)
            shutil.copytree(Path(folder) / "counterpoise-demo", sys.argv[1])


if __name__ == "__main__":
    main()
