"""Experiments: which runs to do, running them once each, and comparisons of methods."""
