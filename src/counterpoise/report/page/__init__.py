"""The self-contained HTML report."""

from counterpoise.report.page.write import render_page, write_page, write_report

__all__ = ["render_page", "write_page", "write_report"]
