"""Jinja2 templates, and the style sheet of every page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from counterpoise._extras import extra
from counterpoise.pages import colours

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["page_css", "templates"]


def templates(package: str) -> Environment:
    """Return the templates of a package, which escape all values; they may extend ``base.html.j2``.

    Args:
        package: Import path of a package with a folder ``templates``.

    Example:
        >>> templates("counterpoise.pages").from_string("{{ text }}").render(text="<b>")
        '&lt;b&gt;'
    """
    with extra("report"):
        from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=ChoiceLoader([PackageLoader(name, "templates") for name in (package, "counterpoise.pages")]),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )


def page_css() -> str:
    """Return the style sheet of a page; its colours are the custom properties ``--m0``, ``--k0``, ``--focus``, ..."""
    return colours.css() + (Path(__file__).parent / "templates" / "page.css").read_text(encoding="utf-8")
