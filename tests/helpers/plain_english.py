"""Idioms that a reader has to decode, in code, documents, notebooks and commit messages.

``python tests/helpers/plain_english.py`` checks the repository (`make lint`), ``--message FILE`` a commit message. The
list is a minimum, not the standard.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]

BANNED = [
    r"\bhangs? on\b",
    r"\banew\b",
    r"\blest\b",
    r"\bthereof\b",
    r"\bso many (nats|samples|damaged|standard|epochs|steps|parts|trainings)\b",
    r"\bas it should be\b",
    r"\bwhat is there\b",
    r"\bbeside the (others|rest)\b",
    r"\bgo(es)? on from there\b",
    r"\bgo(es)? on there\b",
    r"\bdrops? anchor\b",
    r"\bdo(es)? (its|their) part\b",
    r"\bits time has come\b",
    r"\bone door to\b",
    r"\bcannot be told\b",
    r"\bclose the books\b",
    r"\bworth looking at\b",
    r"\bbecomes of it\b",
    r"\b(do|does) not tell\b",
    r"\b(file|folder|argument|path|modality) that (is|are) not there\b",
    r"\bonly watch\b",
    r"\bas you like\b",
    r"\bwhoever\b",
    r"\bwhat came of\b",
    r"\bwhen nobody says\b",
    r"\brules? of inference\b",
    r"(?<!there )\bis no (run|gallery|number|name|file)\b",
    r"\bfor want of\b",
]
SUFFIXES = {".py", ".md", ".j2", ".js", ".css", ".ipynb", ".yml", ".yaml", ".cff"}
FOLDERS = ("src", "docs", "benchmarks", "examples", ".github")


def files() -> Iterator[Path]:
    """Yield the files that people read; tests may quote idioms."""
    yield from sorted(ROOT.glob("*.md"))
    for folder in FOLDERS:
        yield from (path for path in sorted((ROOT / folder).rglob("*")) if path.suffix in SUFFIXES and path.is_file())


def idioms(text: str) -> list[str]:
    """Return the lines that hold an idiom, each with its number.

    Example:
        >>> idioms("It works.\\nIt is drawn anew.")
        ['2: It is drawn anew.']
    """
    expression = re.compile("|".join(BANNED), re.IGNORECASE)
    return [f"{i}: {line.strip()[:160]}" for i, line in enumerate(text.splitlines(), 1) if expression.search(line)]


def faults_of_message(text: str) -> list[str]:
    """Return the faults of a commit message: idioms, and a subject of more than 72 columns."""
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    faults = idioms("\n".join(lines))
    if lines and len(lines[0]) > 72:
        faults.append(f"1: the subject has {len(lines[0])} columns, at most 72 are allowed")
    return faults


def faults() -> list[str]:
    """Return the faults of all files of the repository."""
    ignored = subprocess.run(
        ["git", "ls-files", "--others", "--ignored", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True
    ).stdout.split("\n")
    skipped = {ROOT / name for name in ignored}
    read = (path for path in files() if path not in skipped)
    return [f"{path.relative_to(ROOT)}:{line}" for path in read for line in idioms(_text(path))]


def _text(path: Path) -> str:
    """Return the text of a file; of a notebook that of its cells, without their outputs."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".ipynb":
        return text
    return "\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"])


if __name__ == "__main__":
    problems = faults_of_message(Path(sys.argv[2]).read_text()) if sys.argv[1:2] == ["--message"] else faults()
    print("\n".join(problems))
    sys.exit(int(bool(problems)))
