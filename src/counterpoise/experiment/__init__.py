"""Experiments: single runs, comparisons of methods, tuning and recommendations."""
