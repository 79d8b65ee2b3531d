"""Fill the generated blocks of README.md and docs/*.md: `make docs`; `--check` fails if one is out of date.

A block stands between ``<!-- begin:KIND ARGUMENT -->`` and ``<!-- end -->``. Kinds: ``file PATH`` (a file as it is),
``text PATH`` (what a command printed), ``markdown PATH`` (a generated Markdown file, without its title), ``catalogue
NAME`` (a table of names), ``hyperparameters`` (of all methods, from their declarations),
``processes`` (which methods train in several processes), ``layouts`` (what raw folders
should hold), ``recipes`` (what becomes of sound).
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r"(<!-- begin:(\w+) ?(\S*) ?-->\n).*?(<!-- end -->)", re.DOTALL)


def block(kind: str, argument: str) -> str:
    if kind == "file":
        return f"```python\n{(ROOT / argument).read_text()}```\n"
    if kind == "text":
        return f"```text\n{(ROOT / argument).read_text().rstrip()}\n```\n"
    if kind == "markdown":
        text = (ROOT / argument).read_text()
        return re.sub(r"\A# .*\n+", "", text).rstrip() + "\n"
    if kind == "catalogue":
        from counterpoise.cli._list import load_catalogue

        rows = load_catalogue(argument).values()
        lines = [f"| {argument.removesuffix('s')} | what it does | reference |", "|---|---|---|"]
        lines += [f"| `{r.name}` | {r.summary} | {r.reference} |" for r in rows]
        return "\n".join(lines) + "\n"
    if kind == "hyperparameters":
        return hyperparameters()
    if kind == "layouts":
        from counterpoise.data import DATASETS

        lines = ["| dataset | modalities | the raw folder should hold |", "|---|---|---|"]
        lines += [f"| `{r.name}` | {r.modalities} | {r.layout.replace('|', '/')} |" for r in DATASETS.values() if r.raw]
        return "\n".join(lines) + "\n"
    if kind == "processes":
        from counterpoise.methods.catalogue import METHODS

        lines = ["| method | family | two processes and one with the double batch |", "|---|---|---|"]
        for name, row in METHODS.items():
            cls = row.load()
            lines.append(f"| `{name}` | {cls.family} | {cls.one_process or 'equal'} |")
        return "\n".join(lines) + "\n"
    if kind == "recipes":
        lines = ["| sound recipe | becomes | source |", "|---|---|---|"]
        from counterpoise.data.preparation import RECIPES

        lines += [f"| `{k}` | {' x '.join(map(str, r.shape[1:]))} | {r.source} |" for k, r in RECIPES.items()]
        return "\n".join(lines) + "\n"
    raise SystemExit(f"Unknown kind of block `{kind}`.")


def hyperparameters() -> str:
    from counterpoise.methods.catalogue import METHODS

    lines = ["| method | hyper-parameter | default | allowed | meaning |", "|---|---|---|---|---|"]
    for name, row in METHODS.items():
        cls = row.load()
        meanings = described(cls.__doc__)
        for parameter, h in cls.declarations.items():
            cells = (f"`{name}`", f"`{parameter}`", f"`{h.default!r}`", h.domain, meanings[parameter])
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def described(doc: str) -> dict[str, str]:
    """Return the entries of a docstring's Args section by name, in plain text."""
    section = re.search(r"^    Args:\n(.*?)(?:\n\n|\Z)", doc, re.DOTALL | re.MULTILINE)
    entries = re.findall(r"^        (\w+): (.*(?:\n            .*)*)", section[1] if section else "", re.MULTILINE)
    return {name: plain(" ".join(text.split())) for name, text in entries}


GREEK = {
    "alpha": "α",
    "beta": "β",
    "delta": "δ",
    "epsilon": "ε",
    "eta": "η",
    "gamma": "γ",
    "lambda": "λ",
    "rho": "ρ",
    "xi": "ξ",
}


def plain(text: str) -> str:
    """Return a text without the mark-up of formulas."""
    text = re.sub(r":math:`(.*?)`", lambda m: re.sub(r"\\(\w+)", lambda g: GREEK.get(g[1], g[1]), m[1]), text)
    return text.replace("|", "/")


def main() -> int:
    stale = []
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        before = path.read_text()
        after = BLOCK.sub(lambda m: m[1] + block(m[2], m[3]) + m[4], before)
        if after != before:
            stale.append(path.relative_to(ROOT))
            if "--check" not in sys.argv:
                path.write_text(after)
    if stale:
        print("out of date, run `make docs`:" if "--check" in sys.argv else "written:", *stale)
    return int(bool(stale) and "--check" in sys.argv)


if __name__ == "__main__":
    sys.exit(main())
