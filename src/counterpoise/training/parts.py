"""Parts of a model by name: frozen parts, learning rates of parts, compiled encoders."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from counterpoise._validation import check_keys
from counterpoise.config import OptimConfig, RunConfig
from counterpoise.errors import ConfigError
from counterpoise.model import MultimodalClassifier

__all__ = ["check_frozen", "check_parts", "compile_encoders", "freeze", "parameter_groups", "parts_of", "uncompile"]


def parts_of(model: MultimodalClassifier) -> dict[str, list[nn.Module]]:
    """Return the named parts of a model: encoders, heads, fusion, and each encoder by its modality.

    A modality that has the name of a part hides that part.

    Example:
        >>> from counterpoise.model import build_model
        >>> model = build_model({"a": ("vector", (4,), 0), "b": ("vector", (6,), 0)}, num_outputs=3)
        >>> list(parts_of(model))
        ['encoders', 'heads', 'fusion', 'a', 'b']
    """
    names = model.modalities
    parts: dict[str, list[nn.Module]] = {
        "encoders": [model.encoder(m) for m in names],
        "heads": [model.head(m) for m in names],
        "fusion": [model.fusion],
    }
    return parts | {m: [model.encoder(m)] for m in names}


def check_parts(model: MultimodalClassifier, config: RunConfig) -> None:
    """Check that the parts which the configuration names exist.

    Raises:
        ConfigError: For an unknown part.
    """
    check_keys("`frozen` of the model", dict.fromkeys(config.model.frozen), parts_of(model))
    check_keys("`rates` of the optimizer", config.optim.rates, parts_of(model))


def freeze(model: MultimodalClassifier, names: Iterable[str]) -> None:
    """Freeze parts: they get no gradients, and their batch norms and dropout are in evaluation mode.

    Args:
        model: Model.
        names: Names of parts, see `parts_of`.
    """
    for part in (part for name in names for part in parts_of(model)[name]):
        part.requires_grad_(False).eval()


def check_frozen(model: MultimodalClassifier, prepared: MultimodalClassifier, config: RunConfig) -> None:
    """Check after `Method.prepare` that frozen parts are still part of the model, and that not all parts are frozen.

    Raises:
        ConfigError: If the method replaces a frozen fusion, or all parts are frozen.
    """
    inside = {id(part) for part in prepared.fusion.modules()}
    if "fusion" in config.model.frozen and "fusion" not in model.modalities and id(model.fusion) not in inside:
        raise ConfigError(
            f"Method `{config.method}` replaces the fusion by `{type(prepared.fusion).__name__}`, so it cannot be "
            "frozen. Leave `fusion` out of `model.frozen`."
        )
    if not any(p.requires_grad for p in prepared.parameters()):
        raise ConfigError(f"Nothing is trained. Found `model.frozen = {list(config.model.frozen)}`.")


def parameter_groups(model: MultimodalClassifier, method: nn.Module, config: OptimConfig) -> list[dict[str, object]]:
    """Return parameter groups for the optimizer, one per learning rate that the configuration names.

    The rate of a modality takes precedence over that of ``encoders``. Parts without a rate of their own, and the
    parameters of the method, have the configuration's ``lr``.

    Args:
        model: Model that `Method.prepare` returned.
        method: Method.
        config: Optimizer.
    """
    parts = parts_of(model)
    owner: dict[int, str] = {}
    for name in sorted(
        config.rates, key=lambda name: name in model.modalities
    ):  # modalities last, so that they take precedence
        owner |= {id(p): name for part in parts[name] for p in part.parameters()}
    groups: dict[str, list[nn.Parameter]] = {}
    for p in [*model.parameters(), *method.parameters()]:
        groups.setdefault(owner.get(id(p), ""), []).append(p)
    return [
        {"params": members, **({"lr": config.rates[name], "name": name} if name else {})}
        for name, members in groups.items()
    ]


def compile_encoders(model: MultimodalClassifier, backend: str) -> None:
    """Compile the encoders in place with `torch.compile`; names and weights do not change.

    Args:
        model: Model.
        backend: Backend of torch, or ``none``.
    """
    for m in model.modalities:
        if backend != "none":
            model.encoder(m).compile(backend=backend)


def uncompile(model: MultimodalClassifier) -> None:
    """Let the encoders run uncompiled again."""
    for m in model.modalities:
        model.encoder(m)._compiled_call_impl = None
