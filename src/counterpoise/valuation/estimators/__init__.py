"""The estimators. Each takes a checked input and returns a `Valuation`."""
