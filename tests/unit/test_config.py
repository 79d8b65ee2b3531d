from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from counterpoise.config import FitConfig, ModelConfig, OptimConfig, RunConfig
from counterpoise.data import DataInfo, Modality
from counterpoise.errors import ConfigError, NotFoundError
from counterpoise.experiment.compare import expand
from counterpoise.experiment.config import make_config

INFO = DataInfo(
    "toy",
    (Modality("a", "vector", (2,)), Modality("b", "vector", (2,))),
    "multiclass",
    2,
    recipe={"fit": {"epochs": 7, "batch_size": 16}},
)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: OptimConfig(lr=0.0), "`lr` of `optim`"),
        (lambda: OptimConfig(name="sgdd"), "Did you mean `sgd`"),  # type: ignore[arg-type]
        (lambda: FitConfig(epochs=0), "`epochs` of `fit`"),
        (lambda: FitConfig(holdout=1.0), "`holdout` of `fit`"),
        (lambda: ModelConfig(width=0), "`width` of `model`"),
        (lambda: RunConfig("toy", seed=-1), "`seed`"),
        (lambda: RunConfig("toy", seed=2**63), "`seed`"),
        (lambda: ModelConfig(init_seed=2**70), "`init_seed`"),
        (lambda: ModelConfig(width=1_000_000), "`width`"),
        (lambda: FitConfig(accelerator="quantum"), "`accelerator`"),
        (lambda: FitConfig(patience=-1), "`patience`"),
        (lambda: FitConfig(class_weights=(0.0, 0.0)), "`class_weights`"),
    ],
)
def test_values_out_of_range_are_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


def test_the_key_depends_on_everything_that_determines_a_run() -> None:
    base = RunConfig("toy")
    changed = [
        replace(base, seed=1),
        replace(base, method="arm"),
        replace(base, method_args={"x": 1}),
        replace(base, rule="calibrated"),
        replace(base, optim=OptimConfig(lr=1e-2)),
        replace(base, fit=FitConfig(epochs=3)),
        replace(base, model=ModelConfig(fusion="sum")),
    ]
    keys = {c.key("d") for c in [base, *changed]} | {base.key("other data")}
    assert len(keys) == len(changed) + 2


def test_what_the_user_gives_wins_over_the_recipe_which_wins_over_defaults() -> None:
    config = make_config(INFO, {"data": "toy", "fit": {"epochs": 3}})
    assert (config.fit.epochs, config.fit.batch_size, config.fit.holdout) == (3, 16, FitConfig().holdout)


def test_unknown_keys_name_the_nearest() -> None:
    with pytest.raises(ConfigError, match="Did you mean `optim`"):
        make_config(INFO, {"data": "toy", "optin": {}})
    with pytest.raises(ConfigError, match="Did you mean `epochs`"):
        make_config(INFO, {"data": "toy", "fit": {"epoch": 3}})


def test_expansion_has_every_run_once_and_always_the_reference() -> None:
    configs = expand(INFO, "toy", ["unimodal", "arm"], seeds=2)
    runs = {(c.method, c.method_args.get("modality"), c.seed) for c in configs}
    assert runs == {
        (m, x, s) for s in (0, 1) for m, x in [("joint", None), ("unimodal", "a"), ("unimodal", "b"), ("arm", None)]
    }
    assert len(configs) == len(runs)


def test_rules_multiply_methods_that_have_the_heads() -> None:
    configs = expand(INFO, "toy", ["unimodal", "uniform", "separated-experts"], seeds=1, rules=["fused", "dynamic"])
    rows = sorted((c.method, c.rule) for c in configs)
    assert rows == sorted(
        [
            ("joint", "default"),  # fused is its own
            ("joint", "dynamic"),
            ("uniform", "default"),
            ("uniform", "dynamic"),
            ("separated-experts", "fused"),
            ("separated-experts", "default"),  # dynamic is its own
        ]
    )


def test_expansion_refuses_what_it_does_not_know() -> None:
    with pytest.raises(NotFoundError, match="Did you mean `uniform`"):
        expand(INFO, "toy", ["unifrom"], seeds=1)
    with pytest.raises(NotFoundError, match="Unknown rule"):
        expand(INFO, "toy", ["joint"], seeds=1, rules=["no such rule"])
    with pytest.raises(ConfigError, match="`seeds`"):
        expand(INFO, "toy", ["joint"], seeds=0)
