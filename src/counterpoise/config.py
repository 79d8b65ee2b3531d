"""The typed configuration of a run: dataclasses that jsonargparse turns into command-line options and YAML.

Torch-free.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from counterpoise._validation import Interval, Options
from counterpoise.errors import ConfigError

__all__ = ["FitConfig", "ModelConfig", "OptimConfig", "RunConfig"]


@dataclass(frozen=True)
class ModelConfig:
    """The network around the data.

    Attributes:
        fusion: name of a fusion (``counterpoise list fusions``) or import path of your own.
        encoders: encoder by modality, where it should not be the data set's own (name or import path).
        width: feature dimension D_m of the library's encoders.
        init_seed: seed of the initial weights; None takes the run's. Set it to see several runs from one initialisation.
    """

    fusion: str = "concat"
    encoders: dict[str, str] = field(default_factory=dict)
    width: int = 64
    init_seed: int | None = None


@dataclass(frozen=True)
class OptimConfig:
    """The optimizer and its schedule.

    Attributes:
        name: optimizer.
        lr: learning rate.
        weight_decay: decoupled for AdamW, L2 for SGD.
        momentum: for SGD only.
        schedule: ``cosine`` to zero over the run, ``constant``, or ``step``: times ``factor`` every ``step`` epochs.
        step: epochs between steps.
        factor: of each step.
    """

    name: Literal["adamw", "adam", "sgd"] = "adamw"
    lr: float = 1e-3
    weight_decay: float = 1e-2
    momentum: float = 0.9
    schedule: Literal["cosine", "constant", "step"] = "cosine"
    step: int = 30
    factor: float = 0.1


@dataclass(frozen=True)
class FitConfig:
    """How long and on what a model is trained.

    Attributes:
        epochs: number of epochs.
        batch_size: samples per step.
        patience: stop after so many epochs without a better validation score; 0 never stops early.
        holdout: share of the training set that the calibrated rule holds out until half of the epochs.
        precision: as Lightning's Trainer takes it.
        accelerator: as Lightning's Trainer takes it.
        accumulate: number of batches whose gradients are added before a step.
    """

    epochs: int = 30
    batch_size: int = 64
    patience: int = 0
    holdout: float = 0.1
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    accelerator: str = "auto"
    accumulate: int = 1


@dataclass(frozen=True)
class RunConfig:
    """Everything that determines a run.

    Attributes:
        data: a data set's name, a folder of prepared data, or an ``.npz``.
        method: a method's name (``counterpoise list methods``) or import path of your own.
        method_args: the method's hyper-parameters, where they should not be the defaults.
        rule: how heads are combined at inference; ``default`` is the method's own.
        seed: of the initialisation, the order of the batches and every draw.
        model: the network.
        optim: the optimizer.
        fit: the training.
    """

    data: str
    method: str = "joint"
    method_args: dict[str, Any] = field(default_factory=dict)
    rule: str = "default"
    seed: int = 0
    model: ModelConfig = field(default_factory=ModelConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    fit: FitConfig = field(default_factory=FitConfig)

    def __post_init__(self) -> None:
        checks: tuple[tuple[str, object, dict[str, Interval | Options]], ...] = (
            ("model", self.model, {"width": Interval(1, integer=True)}),
            (
                "optim",
                self.optim,
                {
                    "name": Options(("adamw", "adam", "sgd")),
                    "lr": Interval(0, ends="()"),
                    "weight_decay": Interval(0),
                    "momentum": Interval(0, 1),
                    "schedule": Options(("cosine", "constant", "step")),
                    "step": Interval(1, integer=True),
                    "factor": Interval(0, 1, "(]"),
                },
            ),
            (
                "fit",
                self.fit,
                {
                    "epochs": Interval(1, integer=True),
                    "batch_size": Interval(1, integer=True),
                    "patience": Interval(0, integer=True),
                    "holdout": Interval(0, 1, "()"),
                    "accumulate": Interval(1, integer=True),
                    "precision": Options(("32-true", "bf16-mixed", "16-mixed")),
                },
            ),
        )
        for owner, part, limits in checks:
            for name, limit in limits.items():
                limit.check(owner, name, getattr(part, name))
        if self.seed < 0:
            raise ConfigError(f"Parameter `seed` should not be negative. Found `seed = {self.seed}`.")

    def to_dict(self) -> dict[str, Any]:
        """Return plain nested dictionaries."""
        return asdict(self)

    def key(self, fingerprint: str) -> str:
        """Return the run's name: a hash of the configuration and of the data's fingerprint.

        Example:
            >>> RunConfig("smartwatch").key("x") == RunConfig("smartwatch").key("x")
            True
            >>> RunConfig("smartwatch", seed=1).key("x") == RunConfig("smartwatch").key("x")
            False
        """
        settings = self.to_dict()
        if settings["model"]["init_seed"] is None:  # younger than the first runs, which are to be found again
            del settings["model"]["init_seed"]
        if settings["optim"]["schedule"] != "step":  # likewise
            del settings["optim"]["step"], settings["optim"]["factor"]
        text = json.dumps([settings, fingerprint], sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:16]
