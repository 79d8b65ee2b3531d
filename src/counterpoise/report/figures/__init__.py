"""Figures of a comparison."""

from counterpoise.report.figures.write import draw_figures, write_figures

__all__ = ["draw_figures", "write_figures"]
