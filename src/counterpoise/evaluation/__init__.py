"""Evaluation of a trained model: scores, robustness, and the samples that a report shows."""
