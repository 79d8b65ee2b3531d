"""The typed configuration of a run: dataclasses that jsonargparse turns into command-line options and YAML.

Torch-free.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal

from counterpoise._validation import Interval, Options
from counterpoise.catalogue import user_name
from counterpoise.errors import ConfigError

__all__ = ["FitConfig", "ModelConfig", "OptimConfig", "RunConfig"]

MAX_SEED: Final = 2**32 - 1
"""Largest seed that NumPy's generators take as well."""
MAX_WIDTH: Final = 16_384
"""Largest feature dimension of the library's encoders."""


@dataclass(frozen=True)
class ModelConfig:
    """The network around the data.

    Attributes:
        fusion: Name of a fusion (``counterpoise list fusions``) or import path of your own.
        encoders: Encoder by modality (name or import path), for modalities that do not use the data set's encoder.
        width: Feature dimension D_m of the library's encoders.
        init_seed: Seed of the initial weights; None uses the run's seed. Set it to start several runs from one
            initialisation.
        absent: How the fused head reads modalities that a sample lacks: ``token`` (learned), ``zeros``, or ``auto``
            (skipped if the fusion can, else tokens). None skips them if the fusion can, and reads zeros otherwise.
        frozen: Parts that are not trained: names of modalities (their encoders), ``encoders``, ``heads`` or ``fusion``.
            Their batch norms and dropout are in evaluation mode.
        checkpointing: Whether encoders compute their activations again in the backward pass instead of keeping them,
            which takes less memory and more time, and gives the same numbers.
    """

    fusion: str = "concat"
    encoders: dict[str, str] = field(default_factory=dict)
    width: int = 64
    init_seed: int | None = None
    absent: Literal["auto", "token", "zeros"] | None = None
    frozen: tuple[str, ...] = ()
    checkpointing: bool = False

    def __post_init__(self) -> None:
        Options((None, "auto", "token", "zeros")).check("model", "absent", self.absent)
        Interval(1, MAX_WIDTH, "[]", integer=True).check("model", "width", self.width)
        if self.init_seed is not None:
            Interval(0, MAX_SEED, "[]", integer=True).check("model", "init_seed", self.init_seed)
        _check_type("model", "fusion", self.fusion, str)
        _check_type("model", "encoders", self.encoders, Mapping)
        _check_type("model", "frozen", self.frozen, (tuple, list))
        _check_type("model", "checkpointing", self.checkpointing, bool)
        object.__setattr__(self, "frozen", tuple(self.frozen))
        object.__setattr__(self, "fusion", user_name(self.fusion))
        object.__setattr__(self, "encoders", {m: user_name(name) for m, name in self.encoders.items()})


@dataclass(frozen=True)
class OptimConfig:
    """The optimizer and its schedule.

    Attributes:
        name: Optimizer.
        lr: Learning rate.
        weight_decay: Weight decay: decoupled for AdamW, an L2 penalty for SGD.
        momentum: Momentum of SGD; other optimizers ignore it.
        schedule: ``cosine`` to zero over the run, ``constant``, or ``step``: times ``factor`` every ``step`` epochs.
        step: Epochs between steps.
        factor: Factor of the learning rate at each step.
        warmup: Number of epochs, also a fraction, over which the learning rate rises linearly to that of the schedule,
            step by step.
        clip: Largest norm of the gradient of all parameters together; larger gradients are scaled down to it. 0 never
            clips.
        rates: Learning rates of parts that do not use ``lr``, by the name of a modality (its encoder), ``encoders``,
            ``heads`` or ``fusion``.
    """

    name: Literal["adamw", "adam", "sgd"] = "adamw"
    lr: float = 1e-3
    weight_decay: float = 1e-2
    momentum: float = 0.9
    schedule: Literal["cosine", "constant", "step"] = "cosine"
    step: int = 30
    factor: float = 0.1
    warmup: float = 0.0
    clip: float = 0.0
    rates: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        limits: dict[str, Interval | Options] = {
            "name": Options(("adamw", "adam", "sgd")),
            "lr": Interval(0, ends="()"),
            "weight_decay": Interval(0),
            "momentum": Interval(0, 1),
            "schedule": Options(("cosine", "constant", "step")),
            "step": Interval(1, integer=True),
            "factor": Interval(0, 1, "(]"),
            "warmup": Interval(0),
            "clip": Interval(0),
        }
        _check("optim", self, limits)
        _check_type("optim", "rates", self.rates, Mapping)
        for part, rate in self.rates.items():
            Interval(0, ends="()").check("optim", f"rates.{part}", rate)


@dataclass(frozen=True)
class FitConfig:
    """Length, batches, precision and devices of a training run.

    Attributes:
        epochs: Number of epochs.
        batch_size: Samples per step.
        patience: Number of epochs without a better validation score after which training stops; 0 never stops early.
        holdout: Share of the training set that the calibrated rule holds out until half of the epochs.
        precision: Precision, with the values of Lightning's Trainer.
        accelerator: Accelerator, with the values of Lightning's Trainer.
        accumulate: Number of batches whose gradients are added before a step.
        devices: Number of devices (processes on CPUs). Each takes ``batch_size`` samples per step, so that the batch of
            a step holds ``devices * batch_size`` samples.
        strategy: How the processes start, as Lightning names it: ``ddp`` and ``ddp_spawn`` start fresh ones,
            ``ddp_fork`` and ``ddp_notebook`` copies of this one. ``auto`` is ``ddp``.
        class_weights: Factor of each sample's loss by its class: ``none``, ``balanced`` (all classes count equally), or
            one number per class.
        ema: Decay, in [0, 1), of an exponential moving average of the weights, such as 0.999. The averaged weights are
            validated, selected and stored. 0 uses the weights themselves.
        compile: Backend of `torch.compile` for the encoders (``inductor``, or another one of torch), or ``none``.
    """

    epochs: int = 30
    batch_size: int = 64
    patience: int = 0
    holdout: float = 0.1
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    accelerator: Literal["auto", "cpu", "gpu", "cuda", "mps", "tpu"] = "auto"
    accumulate: int = 1
    devices: int = 1
    strategy: Literal["auto", "ddp", "ddp_spawn", "ddp_fork", "ddp_notebook"] = "auto"
    class_weights: Literal["none", "balanced"] | tuple[float, ...] = "none"
    ema: float = 0.0
    compile: Literal["none", "inductor", "cudagraphs", "aot_eager", "eager"] = "none"

    def __post_init__(self) -> None:
        limits: dict[str, Interval | Options] = {
            "epochs": Interval(1, integer=True),
            "batch_size": Interval(1, integer=True),
            "patience": Interval(0, integer=True),
            "holdout": Interval(0, 1, "()"),
            "precision": Options(("32-true", "bf16-mixed", "16-mixed")),
            "accelerator": Options(("auto", "cpu", "gpu", "cuda", "mps", "tpu")),
            "accumulate": Interval(1, integer=True),
            "devices": Interval(1, integer=True),
            "strategy": Options(("auto", "ddp", "ddp_spawn", "ddp_fork", "ddp_notebook")),
            "ema": Interval(0, 1),
            "compile": Options(("none", "inductor", "cudagraphs", "aot_eager", "eager")),
        }
        _check("fit", self, limits)
        if isinstance(self.class_weights, str):
            Options(("none", "balanced")).check("fit", "class_weights", self.class_weights)
        else:
            _check_type("fit", "class_weights", self.class_weights, (tuple, list))
            object.__setattr__(self, "class_weights", tuple(self.class_weights))
            for weight in self.class_weights:
                Interval(0).check("fit", "class_weights", weight)
            if not any(self.class_weights):
                raise ConfigError(
                    "Parameter `class_weights` of `fit` should hold a weight above 0, or no sample has a loss. Found "
                    f"`class_weights = {list(self.class_weights)}`."
                )


_LEFT_OUT: Final[Mapping[str, tuple[str, ...]]] = {
    "model": ("absent", "frozen", "checkpointing"),
    "optim": ("warmup", "clip", "rates"),
    "fit": ("devices", "strategy", "class_weights", "ema", "compile"),
}
"""Fields that are stored only if they differ from their defaults, so that the keys of older runs stay valid."""


@dataclass(frozen=True)
class RunConfig:
    """Everything that determines a run.

    Attributes:
        data: A data set's name, a folder of prepared data, or an ``.npz``.
        method: A method's name (``counterpoise list methods``) or import path of your own.
        method_args: Hyper-parameters of the method that differ from their defaults.
        rule: Decision rule, which combines the heads at inference; ``default`` is that of the method.
        seed: Seed of the initialisation, of the order of the batches, and of every other random draw.
        model: The network.
        optim: The optimizer.
        fit: The training.
        tuned: Names of hyper-parameters in ``method_args`` that a search chose. They are not part of the row's name.
        missing: Modalities that are taken away from samples, completely at random, with the share of the samples that
            lose each of them. The same samples lose them for every method and seed.
        missing_in: Splits in which they are taken away: ``train`` (with validation), ``test`` or ``both``.
    """

    data: str
    method: str = "joint"
    method_args: dict[str, Any] = field(default_factory=dict)
    rule: str = "default"
    seed: int = 0
    model: ModelConfig = field(default_factory=ModelConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    fit: FitConfig = field(default_factory=FitConfig)
    tuned: tuple[str, ...] = ()
    missing: dict[str, float] = field(default_factory=dict)
    missing_in: Literal["both", "train", "test"] = "both"

    def __post_init__(self) -> None:
        _check_type("run", "missing", self.missing, Mapping)
        for rate in self.missing.values():
            Interval(0, 1, "[]").check("run", "missing", rate)
        Options(("both", "train", "test")).check("run", "missing_in", self.missing_in)
        object.__setattr__(self, "missing", {m: float(rate) for m, rate in sorted(self.missing.items()) if rate})
        Interval(0, MAX_SEED, "[]", integer=True).check("run", "seed", self.seed)
        object.__setattr__(self, "seed", int(self.seed))
        for name, kind in (("data", str), ("method", str), ("rule", str), ("method_args", Mapping)):
            _check_type("run", name, getattr(self, name), kind)
        object.__setattr__(self, "method", user_name(self.method))
        object.__setattr__(self, "rule", user_name(self.rule))
        object.__setattr__(self, "tuned", tuple(self.tuned))

    def to_dict(self) -> dict[str, Any]:
        """Return plain nested dictionaries, lists, texts and numbers."""
        fields: dict[str, Any] = _plain(asdict(self))
        if not self.tuned:
            del fields["tuned"]
        for section, names in _LEFT_OUT.items():
            defaults = type(getattr(self, section))()
            for name in names:
                if getattr(getattr(self, section), name) == getattr(defaults, name):
                    del fields[section][name]
        if not self.missing:
            del fields["missing"], fields["missing_in"]
        return fields

    def shown_data(self, name: str) -> str:
        """Return the name of a data set with the modalities that the run takes away: reports compare runs of one name.

        Example:
            >>> RunConfig("clips", missing={"audio": 0.5, "video": 0.25}, missing_in="test").shown_data("clips")
            'clips without 50 % of audio, 25 % of video in test'
        """
        if not self.missing:
            return name
        shares = ", ".join(f"{100 * rate:g} % of {m}" for m, rate in self.missing.items())
        return f"{name} without {shares}" + ("" if self.missing_in == "both" else f" in {self.missing_in}")

    def key(self, fingerprint: str) -> str:
        """Return the hash of the configuration and of the fingerprint of the data.

        Example:
            >>> RunConfig("smartwatch").key("x") == RunConfig("smartwatch").key("x")
            True
            >>> RunConfig("smartwatch", seed=1).key("x") == RunConfig("smartwatch").key("x")
            False
        """
        settings = self.to_dict()
        text = json.dumps([settings, fingerprint], sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    return str(value) if isinstance(value, str) else value


def _check(owner: str, part: object, limits: Mapping[str, Interval | Options]) -> None:
    for name, limit in limits.items():
        limit.check(owner, name, getattr(part, name))


def _check_type(owner: str, name: str, value: object, kind: type | tuple[type, ...]) -> None:
    if not isinstance(value, kind):
        raise ConfigError(f"Parameter `{name}` of `{owner}` has the wrong type. Found `{name} = {value!r}`.")
