"""Classifier heads that estimate the conditional likelihood of the labels given features."""
