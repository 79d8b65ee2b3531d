"""scikit-learn estimators for tables, with calibrated predictions and the contributions of the modalities."""

from counterpoise.estimators._estimators import CounterpoiseClassifier, CounterpoiseRegressor

__all__ = ["CounterpoiseClassifier", "CounterpoiseRegressor"]
