"""Regenerate what the README shows of the demo: its output, its time, and the picture of its page.

    python benchmarks/demo/run.py

Runs ``counterpoise demo`` into a new folder, writes ``output.txt`` beside this file, and, where Chromium is installed, a screenshot of the page's beginning to
``docs/img/demo.png``.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
WINDOW = (1280, 2420)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "counterpoise.cli.main", "demo"]
        environment = os.environ | {"COLUMNS": "100", "NO_COLOR": "1"}
        started = time.perf_counter()
        result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True)
        seconds = time.perf_counter() - started
        lines = [line.rstrip() for line in result.stdout.splitlines() if not line.startswith("training")]
        text = re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()
        cores = len(os.sched_getaffinity(0))
        (HERE / "output.txt").write_text(f"$ counterpoise demo\n{text}\n\n({seconds:.0f} seconds on {cores} cores)\n")
        print((HERE / "output.txt").read_text())
        browser = shutil.which("chromium") or shutil.which("google-chrome")
        if browser is None:
            print("no Chromium here: the picture stays as it was")
            return
        picture = ROOT / "docs" / "img" / "demo.png"
        picture.parent.mkdir(exist_ok=True)
        page = Path(folder) / "counterpoise-demo" / "report.html"
        flags = "--headless --no-sandbox --disable-gpu --hide-scrollbars --no-first-run --disable-background-networking"
        subprocess.run(
            [
                browser,
                *flags.split(),
                f"--user-data-dir={folder}/browser",
                f"--window-size={WINDOW[0]},{WINDOW[1]}",
                "--virtual-time-budget=8000",
                f"--screenshot={picture}",
                page.as_uri(),
            ],
            check=True,
            capture_output=True,
        )


if __name__ == "__main__":
    main()
