"""A diagnosis as one HTML page that needs nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from counterpoise.diagnosis._plot import svg
from counterpoise.diagnosis._text import class_rows, damage_rows, headline, modality_rows, sample_rows

if TYPE_CHECKING:
    from counterpoise.diagnosis._diagnosis import Diagnosis

__all__ = ["render"]

TEMPLATE: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Diagnosis: {{ d.verdict }}</title>
<style>
body { margin: 0 auto; max-width: 68rem; padding: 2rem 1.25rem 5rem; color: #1b2330; background: #fbfbf9;
  font: 16px/1.6 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
h1 { margin: 0; line-height: 1.2; } h2 { margin: 2.5rem 0 .5rem; font-size: 1.2rem; }
.muted { color: #5a6472; } .scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem 1.2rem .35rem 0; text-align: left; border-bottom: 1px solid #e3e6ea; white-space: nowrap; }
td.wide { white-space: normal; }
svg { max-width: 100%; height: auto; }
</style>
</head>
<body>
<main>
<h1>Diagnosis: {{ d.verdict }}</h1>
<p class="muted">{{ headline }}</p>
<ul>{% for f in d.findings.values() %}<li>{{ f.sentence }}</li>{% endfor %}</ul>
<figure role="img" aria-label="Contributions of the modalities; the numbers are in the tables.">{{ figure }}</figure>
{% for title, note, rows in tables if rows %}
<h2>{{ title }}</h2>
<p class="muted">{{ note }}</p>
<div class="scroll" tabindex="0" role="region" aria-label="{{ title }}"><table>
<thead><tr>{% for cell in rows[0] %}<th scope="col">{{ cell }}</th>{% endfor %}</tr></thead>
<tbody>{% for row in rows[1:] %}<tr>{% for cell in row %}<td>{{ cell }}</td>{% endfor %}</tr>{% endfor %}</tbody>
</table></div>
{% endfor %}
{% if d.notes %}<h2>Notes</h2><ul>{% for note in d.notes %}<li>{{ note }}</li>{% endfor %}</ul>{% endif %}
</main>
</body>
</html>
"""


def render(d: Diagnosis) -> str:
    """Return the page; whatever came from the data is escaped."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    tables = [
        ("Modalities", "In nats. Alone, and given all the others.", modality_rows(d)),
        ("Missing or noisy", "The model with one modality replaced; noise in standard deviations.", damage_rows(d)),
        (
            "Classes",
            "What each modality says on the samples of a class, in nats. In brackets: not certain.",
            class_rows(d, 200),
        ),
        (
            "Samples to look at",
            "Positions in the loader, or rows of the arrays, the clearest first.",
            sample_rows(d, 30),
        ),
    ]
    environment = Environment(autoescape=True, undefined=StrictUndefined)
    # The figure is drawn by matplotlib, which escapes the names in it.
    return environment.from_string(TEMPLATE).render(d=d, headline=headline(d), tables=tables, figure=Markup(svg(d)))
