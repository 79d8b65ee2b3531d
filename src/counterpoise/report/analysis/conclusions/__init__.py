"""Conclusions from the numbers of a comparison, as sentences with numbers and their uncertainty.

A difference is called a gain or a loss only if a two-sided paired t-test over seeds gives p < 0.05; otherwise the
sentence says that it is not significant. One seed has no error estimate, and the sentence says so.
"""

from counterpoise.report.analysis.conclusions._conclusions import Conclusions, conclusions, describe, explain
from counterpoise.report.analysis.conclusions._phrases import name_of
from counterpoise.report.analysis.conclusions._significance import ALPHA, is_significant, seeds_needed

__all__ = ["ALPHA", "Conclusions", "conclusions", "describe", "explain", "is_significant", "name_of", "seeds_needed"]
