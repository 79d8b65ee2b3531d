"""A diagnosis as one HTML page that needs nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from counterpoise._extras import extra
from counterpoise.diagnosis._plot import INK, PALETTE, svg
from counterpoise.diagnosis._text import class_rows, corruption_rows, headline, modality_rows, sample_rows
from counterpoise.gallery import Gallery, css
from counterpoise.gallery import render as render_gallery

if TYPE_CHECKING:
    from counterpoise.diagnosis._diagnosis import Diagnosis

__all__ = ["render"]

TEMPLATE: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:; media-src data:; base-uri 'none'; form-action 'none'">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<title>Diagnosis: {{ d.verdict }}</title>
<style>
:root { color-scheme: light; --paper: #fbfbf9; --surface: #ffffff; --ink: #1b2330; --muted: #5a6472; --rule: #e3e6ea; --good: #1a7f4b;
  --bad: #b42318; {{ tokens }} }
@media (prefers-color-scheme: dark) { :root { color-scheme: dark; --paper: #111419; --surface: #171b21; --ink: #e7eaee;
  --muted: #a1aab6; --rule: #2b323b; --good: #5cc98f; --bad: #ff8a7a; --m0: #3d9bdc; --m6: #9387e6; --m7: #bf8650; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 68rem; padding: 2rem 1.25rem 5rem; color: var(--ink); background: var(--paper);
  font: 16px/1.6 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; overflow-wrap: anywhere; }
h1 { margin: 0; line-height: 1.2; } h2 { margin: 2.5rem 0 .5rem; font-size: 1.2rem; }
.muted { color: var(--muted); } .scroll { overflow-x: auto; } figure { margin: 0; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem 1.2rem .35rem 0; text-align: left; border-bottom: 1px solid var(--rule); white-space: nowrap; }
.figure svg { max-width: 100%; height: auto; min-width: 30rem; fill: currentColor; }
@media print { body { background: #fff; } audio { display: none; } }
{{ gallery_css }}
</style>
</head>
<body>
<main>
<h1>Diagnosis: {{ d.verdict }}</h1>
<p class="muted">{{ headline }}</p>
<ul>{% for f in d.findings.values() %}<li>{{ f.sentence }}</li>{% endfor %}</ul>
<figure class="figure scroll" tabindex="0" role="img" aria-label="Contributions of the modalities; the numbers are in the tables.">{{ figure }}</figure>
{% for title, note, rows in tables if rows %}
<h2>{{ title }}</h2>
<p class="muted">{{ note }}</p>
<div class="scroll" tabindex="0" role="region" aria-label="{{ title }}"><table>
<thead><tr>{% for cell in rows[0] %}<th scope="col">{{ cell }}</th>{% endfor %}</tr></thead>
<tbody>{% for row in rows[1:] %}<tr>{% for cell in row %}<td>{{ cell }}</td>{% endfor %}</tr>{% endfor %}</tbody>
</table></div>
{% endfor %}
{% if gallery %}
<h2>Samples, shown</h2>
<p class="muted">Alone: information of the modality about the true label; added: what it adds to the others; in nats. {{ source }}</p>
{{ gallery }}
{% endif %}
{% if d.notes %}<h2>Notes</h2><ul>{% for note in d.notes %}<li>{{ note }}</li>{% endfor %}</ul>{% endif %}
</main>
</body>
</html>
"""


def render(d: Diagnosis) -> str:
    """Return the page; whatever came from the data is escaped."""
    with extra("report"):
        from jinja2 import Environment, StrictUndefined
        from markupsafe import Markup

    tables = [
        (
            "Modalities",
            "Per cent of what can be known about the label, and nats with their interval: alone, and given the other modalities.",
            modality_rows(d),
        ),
        ("Robustness", "Scores with one modality corrupted; noise in standard deviations.", corruption_rows(d)),
        (
            "Classes",
            "Information of each modality on the samples of a class, in nats. In brackets: the lead is not significant.",
            class_rows(d, 200),
        ),
        (
            "Samples to inspect",
            "Positions in the loader, or rows of the arrays, the clearest first.",
            sample_rows(d, 30),
        ),
    ]
    environment = Environment(autoescape=True, undefined=StrictUndefined)
    shown = Gallery.read(d.gallery) if d.gallery else Gallery(0)
    slots = {m: k % len(PALETTE) for k, m in enumerate(d.modalities)}
    # The figure is drawn by matplotlib, which escapes the names in it; its ink follows the light or dark theme.
    return environment.from_string(TEMPLATE).render(
        d=d,
        headline=headline(d),
        tables=tables,
        figure=Markup(svg(d).replace(INK.lower(), "currentColor").replace("#ffffff", "none")),
        tokens=Markup("".join(f"--m{k}: {colour}; " for k, colour in enumerate(PALETTE))),
        gallery=render_gallery(shown, slots) if shown.cards else "",
        gallery_css=Markup(css()),
        source=shown.source,
    )
