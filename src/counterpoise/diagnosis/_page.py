"""A diagnosis as one HTML page that needs nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from counterpoise._extras import extra
from counterpoise.diagnosis._plot import INK, PALETTE, svg
from counterpoise.diagnosis._text import class_rows, corruption_rows, headline, modality_rows, sample_rows
from counterpoise.gallery import Gallery, css, page_css
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
<style>:root { {{ tokens }} }
{{ page_css }}
.figure svg { max-width: 100%; height: auto; fill: currentColor; }
th, td { text-align: left; }
{{ gallery_css }}
</style>
</head>
<body>
<header class="top">
<p class="brand"><svg width="20" height="20" viewBox="0 0 20 20" aria-hidden="true"><path d="M10 3v13M4 17h12M3 7l14-2" fill="none" stroke="currentColor" stroke-width="1.5" stroke-linecap="round"/><circle cx="3" cy="10" r="2.4" fill="var(--m0)"/><circle cx="17" cy="8" r="2.4" fill="var(--m1)"/></svg> counterpoise</p>
<h1>Diagnosis: {{ d.verdict }}</h1>
<p class="sub">{{ headline }}</p>
</header>
<main>
<section class="panel">
<div class="verdict">{% for f in d.findings.values() %}<p{% if loop.first %} class="lead"{% endif %}>{{ f.sentence }}</p>{% endfor %}</div>
<figure class="figure scroll" tabindex="0" role="img" aria-label="Contributions of the modalities; the numbers are in the tables.">{{ figure }}</figure>
{% for title, note, rows in tables if rows %}
<section class="block">
<h2>{{ title }}</h2>
<p class="reading">{{ note }}</p>
<div class="scroll" tabindex="0" role="region" aria-label="{{ title }}"><table>
<thead><tr>{% for cell in rows[0] %}<th scope="col">{{ cell }}</th>{% endfor %}</tr></thead>
<tbody>{% for row in rows[1:] %}<tr>{% for cell in row %}<td>{{ cell }}</td>{% endfor %}</tr>{% endfor %}</tbody>
</table></div>
</section>
{% endfor %}
{% if gallery %}
<section class="block">
<h2>Samples, shown</h2>
<p class="reading">By itself: information of the modality about the true label; added: what it adds to the others; in nats. {{ source }}</p>
{{ gallery }}
</section>
{% endif %}
{% if d.notes %}<section class="block"><h2>Notes</h2><ul class="note">{% for note in d.notes %}<li>{{ note }}</li>{% endfor %}</ul></section>{% endif %}
</section>
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
        page_css=Markup(page_css()),
        source=shown.source,
    )
