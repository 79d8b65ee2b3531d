"""scikit-learn estimators: a table in, calibrated predictions and the contributions of its modalities out."""

from counterpoise.estimators._estimators import CounterpoiseClassifier, CounterpoiseRegressor

__all__ = ["CounterpoiseClassifier", "CounterpoiseRegressor"]
