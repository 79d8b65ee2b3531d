"""The base class of the classifier and the regressor."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from counterpoise._extras import extra
from counterpoise._files import write_atomic
from counterpoise.data import BatchLoader, Split, holdout_split
from counterpoise.diagnosis import Progress
from counterpoise.errors import DataError, NotFoundError
from counterpoise.estimators._columns import Table, learn_table
from counterpoise.evaluation.collect import collect
from counterpoise.inference import make_rule
from counterpoise.methods import EpochContext, Method, make_method
from counterpoise.model import MultimodalClassifier, build_model, evaluation_mode
from counterpoise.records import Outputs
from counterpoise.tasks import Task, make_task
from counterpoise.valuation import Valuation, estimate

with extra("sklearn", "A scikit-learn estimator"):
    import safetensors
    import safetensors.numpy
    from sklearn.base import BaseEstimator
    from sklearn.utils import check_random_state
    from sklearn.utils.validation import check_is_fitted, validate_data

if TYPE_CHECKING:
    import pandas as pd


HELD_OUT = 0.2
"""Share of the training samples on which the epoch is chosen, predictions are calibrated and contributions are
measured."""

FEWEST = 30
"""Number of samples below which nothing is held out."""

FEWEST_MEASURED = 10
"""Minimum number of held-out samples for contributions: two in each of five folds."""

ABOUT = "counterpoise"
"""Key of the JSON in the header of a saved file."""

CONSTANT = "constant"
"""Name of the constant input that accompanies a single modality."""


class EstimatorBase(BaseEstimator):
    """Base class of the classifier and the regressor."""

    _task: ClassVar[str]

    def __init__(
        self,
        method: str = "joint",
        *,
        modalities: Mapping[str, Sequence[Any]] | None = None,
        fusion: str = "concat",
        epochs: int = 30,
        batch_size: int = 64,
        learning_rate: float = 3e-3,
        width: int = 32,
        random_state: int | None = None,
        verbose: int | None = None,
    ) -> None:
        self.method = method
        self.modalities = modalities
        self.fusion = fusion
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.width = width
        self.random_state = random_state
        self.verbose = verbose

    def _progress(self) -> Progress:
        """Return the progress display of a long call, according to ``verbose``."""
        return Progress(None if self.verbose is None else bool(self.verbose), numbered=False)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.string = True
        tags.non_deterministic = self.random_state is None
        return tags

    # -- training ------------------------------------------------------------------------------------------------------

    def _columns(self, X: Any, *, reset: bool) -> dict[Any, Any]:
        """Return the columns of a DataFrame or array by name or position."""
        if hasattr(X, "iloc") and hasattr(X, "columns"):
            validate_data(self, X, skip_check_array=True, reset=reset)
            if not len(X) or not len(X.columns):
                shape = f"{len(X)} sample(s) and {len(X.columns)} feature(s)"
                raise ValueError(f"Found array with {shape}; at least 1 of each is required.")
            return {name: X[name] for name in X.columns}
        strings = np.asarray(X).dtype.kind in "US" if not hasattr(X, "toarray") else False
        array = validate_data(
            self,
            X,
            reset=reset,
            dtype=None if strings else "numeric",
            ensure_all_finite=False if strings else "allow-nan",
        )
        return {k: array[:, k] for k in range(array.shape[1])}

    def _fit(self, columns: dict[Any, Any], target: np.ndarray, task: Task) -> Self:
        with self._progress() as show:
            return self._learn(columns, target, task, show)

    def _learn(self, columns: dict[Any, Any], target: np.ndarray, task: Task, show: Progress) -> Self:
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        self._table = learn_table(columns, self.modalities)
        inputs = self._inputs(columns, show)
        self.modalities_ = list(self._table.plan)
        kept, held = _split(target, seed)
        split = Split(inputs, target)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self._model = self._build({m: x.shape[1:] for m, x in inputs.items()}, task)
            self._train(split, kept, held, seed, show)
        self._model.eval()
        name = "calibrated" if len(held) else "fused"
        self._rule = make_rule(name, self._model.modalities, task)
        self._held: dict[str, np.ndarray] | None = None
        self._valuation: Valuation | None = None
        if len(held):
            show("calibration")
            outputs, y = collect(self._model, BatchLoader(split, 512, seed, indices=held, shuffle=False))
            self._rule.fit(outputs, y)
            alone = {m: outputs.unimodal_logits[m].numpy() for m in self.modalities_}
            self._held = {
                **{f"features.{m}": outputs.features[m].numpy() for m in self.modalities_},
                **{f"logits.{m}": logits for m, logits in alone.items()},
                "logits": self._rule(outputs).detach().numpy(),
                "target": target[held],
            }
        return self

    def _inputs(self, columns: dict[Any, Any], show: Callable[[str], None]) -> dict[str, np.ndarray]:
        arrays = self._table.arrays(columns, show)
        if len(arrays) == 1:  # a multimodal model has two inputs; this one is constant
            arrays[CONSTANT] = np.zeros((len(next(iter(arrays.values()))), 1), np.float32)
        return arrays

    def _build(self, shapes: Mapping[str, tuple[int, ...]], task: Task) -> MultimodalClassifier:
        self._shapes = {m: tuple(shape) for m, shape in shapes.items()}
        kinds = {**self._table.kinds(), CONSTANT: "vector"}
        return build_model(
            {m: (kinds[m], shape, 0) for m, shape in self._shapes.items()},
            num_outputs=task.num_outputs,
            task=task,
            fusion=self.fusion,
            width=self.width,
        )

    def _method(self) -> Method:
        """Return the training method, which may not need trained models."""
        method = make_method(self.method) if isinstance(self.method, str) else self.method
        if method.requires:
            needed = ", ".join(method.requires)
            raise DataError(f"Method `{self.method}` needs {needed}. Use it with `counterpoise train`, or another one.")
        return method

    def _train(self, split: Split, kept: np.ndarray, held: np.ndarray, seed: int, show: Progress) -> None:
        method = self._method()
        watched = BatchLoader(split, 512, seed, indices=held, shuffle=False) if len(held) else None
        kept, measured = _without_measured(split.target, kept, seed) if method.needs_held_out else (kept, kept[:0])
        self._model = method.prepare(self._model, torch.from_numpy(split.target))
        parameters = [*self._model.parameters(), *method.parameters()]
        optimizer = torch.optim.AdamW(parameters, lr=self.learning_rate, weight_decay=1e-2)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(self.epochs, 1))
        loader = BatchLoader(split, self.batch_size, seed, indices=kept, plan=method.resample)
        fixed = BatchLoader(split, 512, seed, indices=kept, shuffle=False)
        unseen = BatchLoader(split, 512, seed, indices=measured, shuffle=False)
        held_out = (lambda: unseen) if len(measured) else None
        best, state = np.inf, None
        self.n_iter_ = self.epochs
        self._model.train(len(kept) > 1)  # batch norm cannot train on one sample
        for epoch in range(self.epochs):
            show(f"epoch {epoch + 1} of {self.epochs}")
            loader.set_epoch(epoch)
            method.on_epoch_start(self._model, EpochContext(epoch, self.epochs, lambda: fixed, held_out))
            _train_epoch(method, self._model, loader, optimizer)
            schedule.step()
            if watched is None:
                continue
            outputs, target = collect(self._model, watched)
            loss = float(self._model.task.loss(outputs.logits, target))
            if loss < best:
                best, self.n_iter_ = loss, epoch + 1
                state = {k: v.clone() for k, v in self._model.state_dict().items()}
        if state is not None:
            self._model.load_state_dict(state)

    # -- prediction ----------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def _outputs(self, X: Any) -> Outputs:
        check_is_fitted(self)
        columns = self._columns(X, reset=False)
        with self._progress() as show:
            arrays = self._inputs(columns, show)
            show("predictions")
            n = len(next(iter(arrays.values())))
            return collect(self._model, BatchLoader(Split(arrays, np.zeros(n, np.int64)), 512, 0, shuffle=False))[0]

    def _logits(self, X: Any) -> Tensor:
        with torch.no_grad(), evaluation_mode(self._model):
            return self._rule(self._outputs(X)).double()

    def contributions(self, X: Any) -> pd.DataFrame:
        """Return the contribution of each modality to each prediction, in nats and without labels."""
        with extra("sklearn", "A table of contributions"):
            import pandas as pd

        values = self._rule.contributions(self._outputs(X))
        index = getattr(X, "index", None)
        return pd.DataFrame({m: values[m].numpy() for m in self.modalities_}, index=index)

    @property
    def contributions_(self) -> pd.DataFrame:
        """Contributions on samples that were not trained on, one row per modality, in nats with 95 % intervals.

        Columns: ``mi`` (information of the modality alone about the target) and ``cmi`` (what it adds to the others),
        each with ``_low`` and ``_high``. They are measured on the encoders' features at first access.

        Raises:
            DataError: If there are too few samples, or only one modality.
        """
        with extra("sklearn", "A table of contributions"):
            import pandas as pd

        check_is_fitted(self)
        if len(self.modalities_) < 2:
            raise DataError("Contributions need at least two modalities. Set modalities={'name': ['column'], ...}.")
        if self._valuation is None:
            held = self._held
            if held is None or len(held["target"]) < FEWEST_MEASURED:
                raise DataError(
                    f"Contributions need at least {FEWEST_MEASURED} held-out samples, a fifth of the training samples. "
                    f"Fit on {round(FEWEST_MEASURED / HELD_OUT)} samples or more."
                )
            predictions: dict[tuple[str, ...], np.ndarray] = {(m,): held[f"logits.{m}"] for m in self.modalities_}
            with self._progress() as show:
                show("information in the features")
                self._valuation = estimate(
                    {m: held[f"features.{m}"] for m in self.modalities_},
                    held["target"],
                    task=self._model.task,
                    predictions={**predictions, tuple(self.modalities_): held["logits"]},
                )
        rows = {}
        for m in self.modalities_:
            pairs = {"mi": self._valuation.mi[m], "cmi": self._valuation.cmi[m]}
            rows[m] = {
                f"{k}{end}": getattr(e, field)
                for k, e in pairs.items()
                for end, field in (("", "value"), ("_low", "low"), ("_high", "high"))
            }
        return pd.DataFrame.from_dict(rows, orient="index").rename_axis("modality")

    # -- files ---------------------------------------------------------------------------------------------------------

    def _fitted(self) -> dict[str, Any]:
        """Return the other fitted attributes as plain JSON."""
        raise NotImplementedError

    def save(self, path: Path | str) -> Path:
        """Write the fitted estimator to one safetensors file with JSON in its header, and return its path.

        Raises:
            OutputError: If the file cannot be written.
        """
        check_is_fitted(self)
        about = {
            "class": type(self).__name__,
            "parameters": dict(self.get_params(deep=False)),
            "plan": self._table.plan,
            "shapes": self._shapes,
            "rule": "calibrated" if self._held is not None else "fused",
            "task": [self._model.task.name, self._model.task.num_outputs],
            "n_features_in_": self.n_features_in_,
            "n_iter_": self.n_iter_,
            "feature_names_in_": [str(n) for n in getattr(self, "feature_names_in_", [])],
            **self._fitted(),
        }
        try:
            text = json.dumps(about, default=_plain)
        except TypeError as error:
            raise DataError(f"Only plain parameters can be saved (names, numbers, lists): {error}.") from error
        arrays = {f"model.{k}": v.numpy() for k, v in self._model.state_dict().items()}
        arrays |= {f"rule.{k}": v.numpy() for k, v in self._rule.state_dict().items()}
        if self._held is not None:
            arrays |= {f"held.{k}": v for k, v in self._held.items()}
        whole = {k: np.ascontiguousarray(v) for k, v in arrays.items()}
        return write_atomic(path, safetensors.numpy.save(whole, metadata={ABOUT: text}))

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Read an estimator that `save` wrote. Nothing in the file is executed.

        Raises:
            NotFoundError: If the file does not exist.
            DataError: If the file is damaged, or holds another estimator.
        """
        if not Path(path).is_file():
            raise NotFoundError(f"There is no file `{path}`. Give the path of a file that `save` wrote.")
        try:
            with safetensors.safe_open(path, framework="numpy") as file:
                about = json.loads((file.metadata() or {})[ABOUT])
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 -- it is no mapping
            if about["class"] != cls.__name__:
                raise DataError(f"`{path}` should hold a {cls.__name__}. Found a {about['class']}.")
            estimator = cls(**about["parameters"])
            estimator._restore(about, arrays)
        except (KeyError, TypeError, RuntimeError, json.JSONDecodeError, safetensors.SafetensorError) as error:
            raise DataError(f"`{path}` should be a file that `save` wrote: {error}.") from error
        return estimator

    def _restore(self, about: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        self._table = Table(about["plan"])
        self.modalities_ = list(self._table.plan)
        self.n_features_in_, self.n_iter_ = about["n_features_in_"], about["n_iter_"]
        if about["feature_names_in_"]:
            self.feature_names_in_ = np.array(about["feature_names_in_"], dtype=object)
        task = make_task(*about["task"])
        with torch.random.fork_rng(devices=[]):
            model = self._build({m: tuple(s) for m, s in about["shapes"].items()}, task)
        state = _tensors(_named(arrays, "model."))
        if any(k.startswith("fusion.inner.") for k in state):  # ARM's fusion holds weights besides the model's
            from counterpoise.methods.arm import AsymmetricFusion

            model = model.with_fusion(AsymmetricFusion(model.fusion))
        model.load_state_dict(state)
        self._model, self._rule = model.eval(), make_rule(about["rule"], model.modalities, task)
        self._rule.load_state_dict(_tensors(_named(arrays, "rule.")))
        self._held, self._valuation = _named(arrays, "held.") or None, None
        self._load_fitted(about)

    def _load_fitted(self, about: Mapping[str, Any]) -> None:
        raise NotImplementedError


def _train_epoch(
    method: Method, model: MultimodalClassifier, loader: BatchLoader, optimizer: torch.optim.Optimizer
) -> None:
    for batch in loader:
        for _ in method.steps(model, batch):
            optimizer.step()
            optimizer.zero_grad()


def _split(target: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the positions for training and those for calibration; the latter are empty if there are few samples."""
    everything = np.arange(len(target)), np.arange(0)
    if len(target) < FEWEST:
        return everything
    try:
        return holdout_split(target, None, HELD_OUT, seed)
    except DataError:
        return everything


def _without_measured(target: np.ndarray, kept: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the positions for training, and those on which a method measures contributions, which are never trained
    on.
    """
    trained, measured = holdout_split(target[kept], None, HELD_OUT, seed)
    return kept[trained], kept[measured]


def _named(arrays: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    """Return the arrays whose names have a prefix, without it."""
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def _tensors(arrays: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    raise TypeError(f"Found {type(value).__name__}")
