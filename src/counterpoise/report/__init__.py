"""Statistics, conclusions, tables, figures and a self-contained page from RunRecords. It does not import torch."""

from counterpoise.report.analysis.ablation import ablation_table
from counterpoise.report.analysis.conclusions import Conclusions, conclusions, explain
from counterpoise.report.analysis.statistics import (
    Friedman,
    Paired,
    Summary,
    crossed_error,
    friedman,
    holm,
    mean_ranks,
    nemenyi_critical_difference,
    paired_difference,
    summarise,
    t_interval,
)
from counterpoise.report.figures.write import draw_figures, plot_scores, write_figures
from counterpoise.report.page.write import render_page, write_page, write_report
from counterpoise.report.tables import (
    COLUMNS,
    compact_table,
    comparison_table,
    rich_table,
    to_csv,
    to_html,
    to_latex,
    to_markdown,
    write_tables,
)

__all__ = [
    "COLUMNS",
    "Conclusions",
    "Friedman",
    "Paired",
    "Summary",
    "ablation_table",
    "compact_table",
    "comparison_table",
    "conclusions",
    "crossed_error",
    "draw_figures",
    "explain",
    "friedman",
    "holm",
    "mean_ranks",
    "nemenyi_critical_difference",
    "paired_difference",
    "plot_scores",
    "render_page",
    "rich_table",
    "summarise",
    "t_interval",
    "to_csv",
    "to_html",
    "to_latex",
    "to_markdown",
    "write_figures",
    "write_page",
    "write_report",
    "write_tables",
]
