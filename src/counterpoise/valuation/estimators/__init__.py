"""The estimators beside the default one. Each takes a checked problem and returns a `Valuation`."""
