"""Any model over several inputs, seen in one way: a mapping of modalities goes in, logits (and features) come out."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeAlias

import torch
from torch import Tensor, nn

from counterpoise._tree import to_device
from counterpoise._validation import Options, nearest
from counterpoise.errors import ModelError, NotFoundError
from counterpoise.model import MultimodalClassifier
from counterpoise.records import Inputs

__all__ = ["Adapter", "Features", "adapt"]

Features: TypeAlias = "Callable[[Any], Mapping[str, Tensor]] | Mapping[str, str]"
"""A function from inputs to ``{m: (B, ...)}``, or the name of a submodule by modality."""

CALLS: Final = Options(("auto", "dict", "tuple", "args", "kwargs"))


@dataclass(frozen=True)
class Adapter:
    """A model, and how to speak to it. Made by `adapt`.

    Attributes:
        model: a module, or any function that returns logits.
        call: ``dict``, ``tuple``, ``args``, ``kwargs``, or ``auto`` until the first batch tells.
        modalities: their names; empty until the first batch tells.
        groups: which keys of the inputs make up a modality, where one has several.
        features: see `adapt`.
        output: what picks the logits from what the model returns.
    """

    model: Callable[..., Any]
    call: str = "auto"
    modalities: tuple[str, ...] = ()
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    features: Features | None = None
    output: Callable[[Any], Tensor] | None = None

    @property
    def device(self) -> torch.device:
        """Where the model's parameters are."""
        parameters = iter(self.model.parameters()) if isinstance(self.model, nn.Module) else iter(())
        return next((p.device for p in parameters), torch.device("cpu"))

    def names(self, inputs: Mapping[str, Any] | Sequence[Any]) -> tuple[str, ...]:
        """Return the modalities' names: those given, the keys of a mapping, or the model's parameters."""
        if self.modalities:
            return self.modalities
        if isinstance(inputs, Mapping):
            return tuple(inputs)
        parameters = [p.name for p in self._parameters() if p.default is p.empty]
        return tuple(parameters) if len(parameters) == len(inputs) else tuple(f"x{i + 1}" for i in range(len(inputs)))

    def resolve(self, modalities: tuple[str, ...], *, positional: bool) -> Adapter:
        """Return the adapter with ``auto`` decided.

        Args:
            modalities: what the batches hold.
            positional: whether the batches hold tuples rather than mappings.

        Raises:
            ModelError: if the signature does not tell.
        """
        ready = replace(self, modalities=modalities)
        if self.call != "auto":
            return ready
        if isinstance(self.model, MultimodalClassifier):
            return replace(ready, call="dict")
        parameters = self._parameters()
        names = {p.name for p in parameters if p.kind is not p.VAR_POSITIONAL}
        required = [
            p for p in parameters if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
        ]
        keys = {key for m in modalities for key in self.groups.get(m, (m,))}
        if keys <= names:
            return replace(ready, call="kwargs")
        if len(required) == len(modalities) or any(p.kind is p.VAR_POSITIONAL for p in parameters):
            return replace(ready, call="args")
        if len(required) == 1:
            return replace(ready, call="tuple" if positional else "dict")
        raise ModelError(
            f"It is not clear how to call the model: its forward takes ({', '.join(p.name for p in parameters)}), the "
            f"modalities are {', '.join(modalities)}. Say adapt(model, call='dict'), 'tuple', 'args' or 'kwargs'."
        )

    def _parameters(self) -> list[inspect.Parameter]:
        target = self.model.forward if isinstance(self.model, nn.Module) else self.model
        try:
            return list(inspect.signature(target).parameters.values())
        except (TypeError, ValueError):
            return []

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Switch the model to evaluation mode without gradients, and back."""
        module = self.model if isinstance(self.model, nn.Module) else None
        modes = [] if module is None else [(part, part.training) for part in module.modules()]
        if module is not None:
            module.eval()
        try:
            with torch.no_grad():
                yield
        finally:
            for part, mode in modes:
                part.training = mode

    def logits(self, inputs: Inputs) -> Tensor:
        """Return ``(B, C)`` on the CPU for one tensor (or mapping of tensors) per modality."""
        return _pick(self._raw(to_device(inputs, self.device)), self.output)

    def represent(self, inputs: Inputs) -> dict[str, Tensor]:
        """Return the features ``{m: (B, D_m)}`` on the CPU; empty where none are known.

        Raises:
            ModelError: if a submodule was not called, or features have another number of samples.
        """
        moved = to_device(inputs, self.device)
        if self.features is None:
            found: Mapping[str, Any] = self.model.encode(moved) if isinstance(self.model, MultimodalClassifier) else {}
        elif isinstance(self.features, Mapping):
            found = self._hooked(moved, self.features)
        else:
            found = self.features(self._flat(moved))
        return {m: _pooled(m, value) for m, value in found.items()}

    def _flat(self, inputs: Inputs) -> dict[str, Any]:
        """Return the inputs as the loader had them: groups are taken apart again."""
        found: dict[str, Any] = {}
        for m, value in inputs.items():
            found |= value if m in self.groups and isinstance(value, Mapping) else {m: value}
        return found

    def _raw(self, inputs: Inputs) -> Any:
        if self.call == "args":
            return self.model(*(inputs[m] for m in self.modalities))
        if self.call == "tuple":
            return self.model(tuple(inputs[m] for m in self.modalities))
        flat = self._flat(inputs)
        if self.call == "dict":
            return self.model(flat)
        keywords: dict[str, Any] = {}
        for name, value in flat.items():
            keywords |= value if isinstance(value, Mapping) else {name: value}
        return self.model(**keywords)

    def _hooked(self, inputs: Inputs, names: Mapping[str, str]) -> dict[str, Any]:
        assert isinstance(self.model, nn.Module)  # adapt has checked
        known, caught = dict(self.model.named_modules()), {}

        def catch(m: str) -> Callable[[nn.Module, Any, Any], None]:
            def hook(module: nn.Module, arguments: Any, output: Any) -> None:
                caught[m] = output

            return hook

        handles = [known[name].register_forward_hook(catch(m)) for m, name in names.items()]
        try:
            self._raw(inputs)
        finally:
            for handle in handles:
                handle.remove()
        missed = [names[m] for m in names if m not in caught]
        if missed:
            raise ModelError(
                f"The submodule `{missed[0]}` should be called when the model runs. It was not. "
                "Name the encoder whose forward is used, or give features= as a function."
            )
        return caught


def adapt(
    model: Callable[..., Any],
    *,
    call: str = "auto",
    modalities: Sequence[str] | Mapping[str, Sequence[str]] | None = None,
    features: Features | None = None,
    output: Callable[[Any], Tensor] | None = None,
) -> Adapter:
    """Say how a model is called, so that `counterpoise.diagnose` can speak to it.

    Args:
        model: a torch module, or any function, over several inputs.
        call: with one mapping (``dict``), one ``tuple``, positional tensors (``args``), keyword tensors (``kwargs``; a
            modality that is itself a mapping gives its entries), or ``auto``: found in the signature of ``forward``.
        modalities: names, in the order of the positional inputs; or ``{name: [keys]}`` where a modality has several
            inputs (token ids and mask).
        features: what the encoders say: the name of a submodule by modality, whose output is caught while the model
            runs, or a function from the inputs to ``{m: (B, ...)}``. Without, inputs are valued in their place.
        output: picks logits ``(B, C)`` from what the model returns; by default a tensor, ``.logits``, ``["logits"]`` or
            the first of a tuple. One column counts as the log-odds of class 1.

    Raises:
        ConfigError: for an unknown ``call``.
        NotFoundError: if a submodule is not there.
        ModelError: if the model cannot be called at all.

    Example:
        >>> class Sum(nn.Module):
        ...     def forward(self, image, text):
        ...         return image + text
        >>> adapter = adapt(Sum()).resolve(("image", "text"), positional=False)
        >>> adapter.call, adapter.logits({"image": torch.ones(2, 3), "text": torch.ones(2, 3)}).shape
        ('kwargs', torch.Size([2, 3]))
    """
    CALLS.check("adapt", "call", call)
    if not callable(model):
        raise ModelError(
            f"A model should be callable. Found {type(model).__name__}; give a torch module or a function."
        )
    if isinstance(features, Mapping):
        known = [name for name, _ in model.named_modules() if name] if isinstance(model, nn.Module) else []
        for m, name in features.items():
            if name not in known:
                shown = ", ".join(n for n in known if "." not in n) or "none"
                raise NotFoundError(
                    f"The model has no submodule `{name}` for the features of `{m}`.{nearest(name, known)} At the top: {shown}."
                )
    if isinstance(modalities, str):
        raise ModelError(f"`modalities` should be a list of names. Found the text {modalities!r}.")
    groups = {m: tuple(keys) for m, keys in modalities.items()} if isinstance(modalities, Mapping) else {}
    return Adapter(model, call, tuple(modalities or ()), groups, features, output)


def _pick(raw: Any, output: Callable[[Any], Tensor] | None) -> Tensor:
    value = output(raw) if output is not None else raw
    if not isinstance(value, Tensor):
        if hasattr(value, "logits"):
            value = value.logits
        elif isinstance(value, Mapping) and "logits" in value:
            value = value["logits"]
        elif isinstance(value, tuple | list) and value:
            value = value[0]
    if not isinstance(value, Tensor) or value.ndim not in (1, 2):
        found = tuple(value.shape) if isinstance(value, Tensor) else type(raw).__name__
        raise ModelError(
            f"A model should return logits of shape (B, C). Found {found}. Say which output they are: "
            "adapt(model, output=lambda out: out.scores)."
        )
    return value.detach().cpu().reshape(len(value), -1)


def _pooled(m: str, value: Any) -> Tensor:
    """Return ``(B, D)``: a pooled output where there is one, else averages over time or space."""
    for name in ("pooler_output", "last_hidden_state"):
        if not isinstance(value, Tensor) and getattr(value, name, None) is not None:
            value = getattr(value, name)
    if isinstance(value, tuple | list) and value:
        value = value[0]
    if not isinstance(value, Tensor) or not value.ndim:
        raise ModelError(f"The features of `{m}` should be a tensor (B, ...). Found {type(value).__name__}.")
    value = value.detach().cpu()
    if value.ndim == 3:
        return value.mean(1)
    return value.flatten(2).mean(2) if value.ndim > 3 else value.reshape(len(value), -1)
