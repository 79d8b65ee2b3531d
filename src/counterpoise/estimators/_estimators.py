"""`CounterpoiseClassifier` and `CounterpoiseRegressor`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np

from counterpoise._extras import extra
from counterpoise.errors import DataError
from counterpoise.estimators._base import EstimatorBase
from counterpoise.tasks import make_task

with extra("sklearn", "A scikit-learn estimator"):
    from sklearn.base import ClassifierMixin, RegressorMixin
    from sklearn.utils import assert_all_finite
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import check_is_fitted, column_or_1d


__all__ = ["CounterpoiseClassifier", "CounterpoiseRegressor"]


class CounterpoiseClassifier(ClassifierMixin, EstimatorBase):
    """A multimodal classifier for tables, with the training methods of the library.

    Each column is read by its type: numbers and booleans, categories, texts, and paths of pictures or sounds. Missing
    cells are allowed. A fifth of the training samples is held out: it chooses the epoch, calibrates `predict_proba` and
    measures `contributions_`.

    Args:
        method: Name or import path of a method (see ``counterpoise list methods``).
        modalities: Columns of each modality, ``{"text": ["note"], "table": ["age", "city"]}`` (positions for arrays).
            By default, numbers and categories form one modality, texts form another, and each column of pictures or
            sounds is a modality of its own.
        fusion: Name of a fusion.
        epochs: Number of passes over the training samples.
        batch_size: Samples per step.
        learning_rate: Initial step size of AdamW; it falls to 0 along a cosine.
        width: Number of features of each encoder.
        random_state: Seed; None draws one.
        verbose: Whether a call that takes longer than two seconds shows its progress: 0 never, 1 always; by default in
            a terminal and in a notebook.

    Attributes:
        classes_: The classes, sorted.
        modalities_: Names of the modalities.
        n_iter_: Number of epochs after which the loss of the held-out samples was smallest.
        n_features_in_: Number of columns.
        feature_names_in_: Names of the columns, for DataFrames.

    Example:
        >>> import pandas as pd
        >>> rng = np.random.default_rng(0)
        >>> y = np.array(["no", "yes"])[rng.integers(2, size=200)]
        >>> X = pd.DataFrame({"age": rng.normal(size=200) + 2 * (y == "yes"), "noise": rng.normal(size=200)})
        >>> model = CounterpoiseClassifier(modalities={"who": ["age"], "other": ["noise"]}, random_state=0)
        >>> model.fit(X, y).predict(X[:3]).shape
        (3,)
    """

    _task = "multiclass"

    def fit(self, X: Any, y: Any) -> Self:
        """Train on a table and its labels ``(N,)``.

        Raises:
            DataError: For labels of one class, or columns that cannot be read.
        """
        columns = self._columns(X, reset=True)
        if y is None:
            raise ValueError(f"{type(self).__name__} requires y to be passed, but the target y is None.")
        labels = column_or_1d(y, warn=True)
        assert_all_finite(labels, input_name="y")
        check_classification_targets(labels)
        _check_lengths(columns, labels)
        self.classes_, target = np.unique(labels, return_inverse=True)
        if len(self.classes_) < 2:
            raise DataError(f"A classifier needs at least two classes. Found one class: {self.classes_[0]!r}.")
        return self._fit(columns, target.astype(np.int64), make_task("multiclass", len(self.classes_)))

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return calibrated probabilities ``(N, C)`` in the order of ``classes_``."""
        check_is_fitted(self)
        return self._logits(X).softmax(1).numpy()

    def predict(self, X: Any) -> np.ndarray:
        """Return the most probable class of each sample."""
        probabilities = self.predict_proba(X)
        return self.classes_[probabilities.argmax(1)]

    def _fitted(self) -> dict[str, Any]:
        return {"classes": self.classes_.tolist(), "dtype": str(self.classes_.dtype)}

    def _load_fitted(self, about: Mapping[str, Any]) -> None:
        kind = np.dtype(about["dtype"])
        self.classes_ = np.array(about["classes"], dtype=kind)


class CounterpoiseRegressor(RegressorMixin, EstimatorBase):
    """A multimodal regressor for tables; see `CounterpoiseClassifier` for the parameters."""

    _task = "regression"

    def fit(self, X: Any, y: Any) -> Self:
        """Train on a table and its real targets ``(N,)``.

        Raises:
            DataError: For columns that cannot be read.
        """
        columns = self._columns(X, reset=True)
        if y is None:
            raise ValueError(f"{type(self).__name__} requires y to be passed, but the target y is None.")
        target = np.asarray(column_or_1d(y, warn=True), dtype=np.float64)
        _check_lengths(columns, target)
        if not np.isfinite(target).all():
            raise DataError("Input y contains NaN or infinity.")
        self._mean, self._spread = float(target.mean()), float(target.std()) or 1.0
        scaled = ((target - self._mean) / self._spread).astype(np.float32)
        return self._fit(columns, scaled[:, None], make_task("regression", 1))

    def predict(self, X: Any) -> np.ndarray:
        """Return the prediction of each sample, ``(N,)``."""
        check_is_fitted(self)
        return self._logits(X)[:, 0].numpy() * self._spread + self._mean

    def _fitted(self) -> dict[str, Any]:
        return {"mean": self._mean, "spread": self._spread}

    def _load_fitted(self, about: Mapping[str, Any]) -> None:
        self._mean, self._spread = about["mean"], about["spread"]


def _check_lengths(columns: Mapping[Any, Any], target: np.ndarray) -> None:
    n = len(next(iter(columns.values())))
    if n != len(target):
        raise DataError(f"Found input variables with inconsistent numbers of samples: [{n}, {len(target)}].")
