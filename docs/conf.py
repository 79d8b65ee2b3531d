"""Configuration of the documentation site: ``make docs`` builds it into ``build/docs``."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
sys.path.insert(0, str(ROOT / "src"))

from docutils import nodes  # noqa: E402
from docutils.utils.math.latex2mathml import tex2mathml  # noqa: E402

from counterpoise import __version__  # noqa: E402
from counterpoise.methods.catalogue import METHODS  # noqa: E402

project = "counterpoise"
author = "The counterpoise developers"
copyright = f"2026, {author}"
version = release = __version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
]
myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 4
nb_execution_mode = "off"  # the notebooks hold their outputs; a test runs them
exclude_patterns = ["build"]
html_math_renderer = "mathml"  # browsers draw it without a script from the network
html_theme = "furo"
html_title = "counterpoise"
html_show_sourcelink = False
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_type_aliases = {"Tensor": "torch.Tensor"}
napoleon_use_rtype = False
napoleon_use_ivar = True
add_module_names = False
toc_object_entries_show_parents = "hide"

OUTSIDE = re.compile(r"(?<!!)\[([^\]]+)\]\((?:\.\./)+([^)\s]+)\)")
FROM_README = re.compile(r"(?<!!)\[([^\]]+)\]\((?!docs/|https?:|#)([^)\s]+)\)")
COMPARISON = ROOT / "benchmarks" / "zoo"
RULES = ("fused", "calibrated", "dynamic")


def name_files(app: object, page: str, source: list[str]) -> None:
    """Replace links of the written pages to files outside of `docs` by the text and the path in the repository."""
    if "/" not in page:
        source[0] = OUTSIDE.sub(lambda m: f"{m[1]} (`{m[2]}`)", source[0])


def name_files_of_readme(app: object, path: Path, page: str, source: list[str]) -> None:
    """Do the same in the README, whose links start at the root of the repository."""
    source[0] = FROM_README.sub(lambda m: m[1] if m[1] == m[2] else f"{m[1]} (`{m[2]}`)", source[0])


def write_method_pages(app: object) -> None:
    """Write one page for each method of the catalogue, and their list."""
    folder = DOCS / "reference" / "methods"
    folder.mkdir(exist_ok=True)
    scores = comparison_rows()
    for name, row in METHODS.items():
        cls = row.load()
        released = ".replicas." in cls.__module__
        absent = "Released forms are not part of it." if released else "This method has not been run in it."
        lines = [
            f"# {name}",
            f"{row.summary[0].upper()}{row.summary[1:].rstrip('.')}.",
            f"Reference: {row.reference}." if row.reference else "",
            based_on(cls),
            f"On the command line: `--method {name}`, in Python: `make_method({name!r})`.",
            f"```{{eval-rst}}\n.. autoclass:: {cls.__module__}.{cls.__qualname__}\n   :show-inheritance:\n```",
            *(scores.get(name) or ["## In the comparison", absent]),
        ]
        write_changed(folder / f"{name}.md", "\n\n".join(line for line in lines if line) + "\n")
    entries = "\n".join(METHODS)
    table = "\n".join(f"| [{name}]({name}.md) | {row.summary} | {row.reference} |" for name, row in METHODS.items())
    index = (
        f"# Methods\n\n| method | what it does | reference |\n|---|---|---|\n{table}\n\n"
        f"```{{toctree}}\n:hidden:\n\n{entries}\n```\n"
    )
    write_changed(folder / "index.md", index)


def based_on(cls: type) -> str:
    """Return a link to the method that a released form is derived from, whose page has the equation."""
    if ".replicas." not in cls.__module__:
        return ""
    names = {row.load(): n for n, row in METHODS.items()}
    base = next((names[c] for c in cls.__mro__[1:] if c in names), "")
    return f"A form of [{base}]({base}.md), whose page has the equation." if base else ""


def comparison_rows() -> dict[str, list[str]]:
    """Return for each method its rows in the comparison, with joint training's, under every rule, as Markdown."""
    tables = {rule: table_rows(COMPARISON / f"{rule}.md") for rule in RULES if (COMPARISON / f"{rule}.md").is_file()}
    note = "Test accuracy in % under each decision rule, tuned alike; see [the results](../../results.md)."
    pages = {}
    for name in next(iter(tables.values()), {}):
        if name == "method":
            continue
        head = next(iter(tables.values()))["method"]
        lines = [f"| method | rule | {head}", "|---|---|" + "---:|" * head.count("|")]
        for rule, rows in tables.items():
            lines += [f"| {row} | {rule} | {rows[row]}" for row in dict.fromkeys((name, "joint")) if row in rows]
        pages[name] = ["## In the comparison", "\n".join(lines), note]
    return pages


def table_rows(file: Path) -> dict[str, str]:
    """Return the lines of a table by their first cell, without it; the header has the key `method`."""
    lines = [line for line in file.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    cut = (line.removeprefix("| ").split(" | ", 1) for line in lines)
    return {name.strip(" *`"): rest for name, rest in cut}


def write_changed(path: Path, text: str) -> None:
    """Write a file if its content changed, so that unchanged pages are not built again."""
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def inline_math(translator: Any, node: nodes.math) -> None:
    """Write a formula within a line as MathML."""
    translator.body.append(tex2mathml(" ".join(node.astext().split())))
    raise nodes.SkipNode


def block_math(translator: Any, node: nodes.math_block) -> None:
    """Write a displayed formula as MathML, with an anchor if it has a label."""
    anchor = f' id="{node["ids"][0]}"' if node["ids"] else ""
    formula = tex2mathml(" ".join(node.astext().split()), as_block=True)
    translator.body.append(f'<div class="math"{anchor}>{formula}</div>')
    raise nodes.SkipNode


def setup(app: Any) -> None:
    """Connect the hooks."""
    app.add_html_math_renderer("mathml", inline_renderers=(inline_math, None), block_renderers=(block_math, None))
    app.connect("builder-inited", write_method_pages)
    app.connect("source-read", name_files)
    app.connect("include-read", name_files_of_readme)
