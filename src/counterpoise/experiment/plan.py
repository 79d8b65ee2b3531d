"""The runs of a comparison on one data set: rows times seeds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any

from counterpoise._validation import Interval, check_keys
from counterpoise.catalogue import user_name
from counterpoise.config import MAX_SEED, RunConfig
from counterpoise.data import DataInfo
from counterpoise.errors import ConfigError
from counterpoise.experiment.config import make_config, parse_method
from counterpoise.inference.catalogue import RULES
from counterpoise.methods.catalogue import METHODS


def expand(
    info: DataInfo,
    data: str,
    methods: Sequence[str],
    *,
    seeds: int | Sequence[int],
    rules: Sequence[str] = ("default",),
    reference_rules: Sequence[str] = (),
    ablation: str | None = None,
    given: Mapping[str, Any] | None = None,
) -> list[RunConfig]:
    """Return the runs of one data set, without repetitions: each method x rule x seed.

    `unimodal` is run once per modality. `joint` is always included, because all rows are compared to it.

    Args:
        info: Description of the data set.
        data: Name or path of the data set.
        methods: Names of methods, with hyper-parameters in brackets where they are not the defaults
            (``arm[tau=1.0,loss_weights=false]``). ``all`` stands for the whole catalogue.
        seeds: Number of runs of each method (seeds 0, 1, ...), or the seeds themselves.
        rules: Names of decision rules; ``default`` is each method's own.
        reference_rules: Further rules for joint training only.
        ablation: Method whose named parts are switched on and off in all combinations.
        given: Further settings, nested.

    Raises:
        ConfigError: For an unknown key, or no seeds.
        NotFoundError: For an unknown method or rule.
    """
    check_keys("`missing`", (given or {}).get("missing", {}), info.names)
    numbers = _seed_list(seeds)
    chosen = _chosen_methods(methods, ablation)
    for rule in (*rules, *reference_rules):
        if rule != "default" and not {".", ":"} & set(rule):
            RULES[rule]
    configs: dict[str, RunConfig] = {}
    further = [{"method": "joint", "rule": rule} for rule in reference_rules]
    for settings in (*_method_settings(info, chosen, rules), *further):
        for seed in numbers:
            config = make_config(info, {**(given or {}), "data": data, "seed": seed, **settings})
            configs.setdefault(config.key(""), config)
    return list(configs.values())


def _chosen_methods(methods: Sequence[str], ablation: str | None) -> list[tuple[str, dict[str, Any]]]:
    """Return the methods with their hyper-parameters, `joint` among them."""
    specs = list(METHODS) if "all" in methods else list(dict.fromkeys(methods))
    specs += [] if ablation is None else combinations_of(ablation)
    chosen = [parse_method(spec) for spec in specs]
    return chosen if ("joint", {}) in chosen else [("joint", {}), *chosen]


def _method_settings(
    info: DataInfo, chosen: Sequence[tuple[str, dict[str, Any]]], rules: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """Yield the settings of each row, including the reference row, joint training with its own rule."""
    for name, own in chosen:
        cls = METHODS.resolve(name)
        applicable = [rule for rule in dict.fromkeys(rules) if cls.trains_fusion or rule == "default"]
        for rule, arguments in product(applicable, _variants(info, name, own)):
            shown = "default" if rule == cls.default_rule else rule
            yield {"method": name, "method_args": arguments, "rule": shown}
    if "default" not in rules:
        yield {"method": "joint"}


def _variants(info: DataInfo, name: str, own: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the hyper-parameters of a method's rows: `unimodal` has one row per modality."""
    if name == "unimodal" and "modality" not in own:
        return [{**own, "modality": m} for m in info.names]
    return [own]


def _seed_list(seeds: int | Sequence[int]) -> list[int]:
    if isinstance(seeds, int):
        Interval(1, 10_000, "[]", integer=True).check("compare", "seeds", seeds)
        return list(range(seeds))
    if not seeds:
        raise ConfigError("Parameter `seeds` should name at least one seed. Found none.")
    for seed in seeds:
        Interval(0, MAX_SEED, "[]", integer=True).check("compare", "seeds", seed)
    return list(dict.fromkeys(seeds))


def combinations_of(method: str) -> list[str]:
    """Return a method with its named parts switched on and off in all combinations, all on first.

    Raises:
        ConfigError: If the method has no parts.
        NotFoundError: For an unknown method.

    Example:
        >>> combinations_of("arm")[:3]
        ['arm', 'arm[resampling=false]', 'arm[loss_weights=false]']
    """
    parts = METHODS.resolve(user_name(method)).parts
    if not parts:
        raise ConfigError(f"Method `{method}` has no parts that can be switched off. `arm` has.")
    names = []
    for on in product((True, False), repeat=len(parts)):
        off = ",".join(f"{part}=false" for part, kept in zip(parts, on, strict=True) if not kept)
        names.append(f"{method}[{off}]" if off else method)
    return names


def with_missing(
    given: Mapping[str, Any] | None, missing: Mapping[str, float] | None, missing_in: str = "both"
) -> dict[str, Any]:
    """Return the settings of runs with the modalities that are taken away from samples.

    Raises:
        ConfigError: If ``missing_in`` is given without ``missing``.
    """
    if missing_in != "both" and not missing:
        raise ConfigError(
            f"`missing_in = {missing_in}` needs `missing`: the modalities that are taken away, with their rates."
        )
    own = {"missing": dict(missing), "missing_in": missing_in} if missing else {}
    return {**(given or {}), **own}
