"""A common interface to models with several inputs, from modalities to logits (and features)."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeAlias

import torch
from torch import Tensor, nn

from counterpoise._validation import Options, nearest
from counterpoise.diagnosis._outputs import find_logits, pick_logits, pooled
from counterpoise.diagnosis._samples import Value, each_leaf, named_leaves, num_rows
from counterpoise.diagnosis._signature import (
    accepts_keyword,
    call_parameters,
    keyword_only,
    positional,
    unwrapped,
    wrappers,
)
from counterpoise.errors import CounterpoiseError, ModelError, NotFoundError
from counterpoise.model import MultimodalClassifier, evaluation_mode

__all__ = ["Adapter", "Features", "adapt"]

Features: TypeAlias = "Callable[[Any], Mapping[str, Tensor]] | Mapping[str, str]"
"""A function from inputs to ``{m: (B, ...)}``, or the name of a submodule by modality."""

CALLS: Final = Options(("auto", "dict", "tuple", "args", "kwargs"))


@dataclass(frozen=True)
class Adapter:
    """A model and the way to call it, as returned by `adapt`.

    Attributes:
        model: A module, or any function that returns logits.
        call: ``dict``, ``tuple``, ``args``, ``kwargs``, or ``auto`` until the first batch is known.
        modalities: Names of the modalities; empty until the first batch is known.
        groups: Keys of the inputs that make up a modality, where it has several.
        features: See `adapt`.
        output: Function that selects the logits from the model's return value.
        order: Keys of the inputs in the order of positional arguments.
        constants: Inputs of the batch that have no rows, such as switches; they are passed on.
        nested: Entries of inputs that are mappings themselves.
        dtype: Floating inputs are converted to it; None keeps the loader's type.
        arrays: Whether the model takes NumPy arrays.
        autocast: Precision of `torch.autocast`, or None.
    """

    model: Callable[..., Any]
    call: str = "auto"
    modalities: tuple[str, ...] = ()
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    features: Features | None = None
    output: Callable[[Any], Any] | None = None
    order: tuple[str, ...] = ()
    constants: Mapping[str, Any] = field(default_factory=dict)
    nested: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    dtype: torch.dtype | None = None
    arrays: bool = False
    autocast: torch.dtype | None = None

    @property
    def device(self) -> torch.device:
        """The device of the model's parameters."""
        return next((p.device for p in self._parameters()), torch.device("cpu"))

    @property
    def classifier(self) -> MultimodalClassifier | None:
        """The model inside all wrappers, if it is a `MultimodalClassifier`."""
        inner = unwrapped(self.model)
        return inner if isinstance(inner, MultimodalClassifier) else None

    def _parameters(self) -> Iterator[Tensor]:
        for part in wrappers(self.model):
            if isinstance(part, nn.Module):
                yield from part.parameters()

    # -- how to call it ------------------------------------------------------------------------------------------------

    def names(self, inputs: Sequence[Any]) -> tuple[str, ...]:
        """Return names of positional inputs: those given, or those of the model's modalities or parameters."""
        if self.modalities:
            return self.modalities
        if self.classifier is not None and len(self.classifier.modalities) == len(inputs):
            return tuple(self.classifier.modalities)
        parameters = call_parameters(self.model)
        for names in (positional(parameters, required=True), positional(parameters)):
            if len(names) == len(inputs):
                return tuple(names)
        return tuple(f"x{i + 1}" for i in range(len(inputs)))

    def keys(self, modalities: Iterable[str]) -> tuple[str, ...]:
        """Return the keys of the inputs that make up some modalities."""
        return tuple(key for m in modalities for key in self.groups.get(m, (m,)))

    def resolve(self, modalities: tuple[str, ...], *, positional: bool) -> Adapter:
        """Return the adapter with ``auto`` decided.

        The order of positional arguments is never taken from the order of a mapping.

        Args:
            modalities: The modalities of the batches.
            positional: Whether the batches hold tuples rather than mappings.

        Raises:
            ModelError: If the signature does not determine the call.
        """
        keys = self.keys(modalities)
        ready = replace(self, modalities=modalities, order=keys)
        if self.call != "auto":
            return ready
        if self.classifier is not None:
            return replace(ready, call="dict")
        if positional:
            return ready._resolve_tuple(len(keys))
        return ready._resolve_mapping(keys, ordered=bool(self.modalities) and not self.groups)

    def _resolve_tuple(self, count: int) -> Adapter:
        parameters = call_parameters(self.model)
        fewest, most = len(positional(parameters, required=True)), len(positional(parameters))
        if _variadic(parameters) or 1 < fewest <= count <= most or fewest == count:
            return replace(self, call="args")
        if fewest == 1 or (fewest == 0 and most == 1):
            return replace(self, call="tuple")
        if count <= most:
            return replace(self, call="args")
        raise self._unclear(parameters)

    def _resolve_mapping(self, keys: tuple[str, ...], *, ordered: bool) -> Adapter:
        parameters = call_parameters(self.model)
        required, places = positional(parameters, required=True), positional(parameters)
        named = {*places, *keyword_only(parameters)}
        spread = self._spreads(keys, named)
        accepted = all(accepts_keyword(self.model, key) for key in keys if key not in spread)
        if accepted and set(required) <= self._passed(keys, spread):
            return replace(self, call="kwargs")
        if not accepted and set(keys) <= named:
            # An outer wrapper takes positions only; the order is that of the inner signature.
            return replace(self, call="args", order=tuple(name for name in places if name in keys))
        if len(required or places) == 1:
            return replace(self, call="dict")
        if ordered and (_variadic(parameters) or len(required) == len(keys)):
            return replace(self, call="args")
        raise self._unclear(parameters)

    def _spreads(self, keys: Sequence[str], named: set[str]) -> dict[str, tuple[str, ...]]:
        """Return entries that forward does not take by name, and which are mappings of what it does take."""
        known = {k: names for k, names in self.nested.items() if k in keys and k not in named}
        return {k: names for k, names in known.items() if set(names) <= named}

    def _passed(self, keys: Sequence[str], spread: Mapping[str, tuple[str, ...]]) -> set[str]:
        return {name for key in keys for name in spread.get(key, (key,))}

    def _unclear(self, parameters: Sequence[inspect.Parameter]) -> ModelError:
        return ModelError(
            f"It is not clear how to call the model: its forward takes ({', '.join(p.name for p in parameters)}), the "
            f"modalities are {', '.join(self.order)}. Use adapt(model, call='dict'), 'tuple', 'args' or 'kwargs'; for "
            f"'args' list modalities=[...] in the order of the arguments."
        )

    def tried(self, inputs: Mapping[str, Value]) -> tuple[Adapter, str]:
        """Return the adapter that can call the model on a batch, and a note if inputs have to be converted.

        Raises:
            ModelError: If the model fails, also with converted inputs.
        """
        attempts = [(self, "")]
        dtype = next((p.dtype for p in self._parameters() if p.is_floating_point()), None)
        if dtype is not None:
            attempts.append((replace(self, dtype=dtype), f"floating inputs are converted to the model's {dtype}"))
        elif not isinstance(self.model, nn.Module):
            attempts.append((replace(self, arrays=True), "the model is called with NumPy arrays"))
        first: Exception | None = None
        for adapter, note in attempts:
            try:
                adapter.raw(inputs)
            except CounterpoiseError:
                raise
            except Exception as error:  # a user's model may raise anything
                first = first or error
            else:
                return adapter, note
        shown = ", ".join(f"`{k}` {_shape(v)}" for k, v in self._flat(inputs).items())
        raise ModelError(
            f"The model could not be called (call='{self.call}') with {shown}: {type(first).__name__}: {first}. "
            f"Specify the call with adapt(model, call=..., modalities=...)."
        ) from first

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Put the model in evaluation mode without gradients, and restore every submodule's mode."""
        with contextlib.ExitStack() as stack:
            for part in wrappers(self.model):
                if isinstance(part, nn.Module):
                    stack.enter_context(evaluation_mode(part))
            stack.enter_context(torch.no_grad())
            if self.autocast is not None:
                stack.enter_context(torch.autocast(self.device.type, self.autocast))
            yield

    # -- calls ---------------------------------------------------------------------------------------------------------

    def logits(self, inputs: Mapping[str, Value]) -> Tensor:
        """Return the outputs ``(B, C)`` on the CPU for one value per modality."""
        return pick_logits(self.raw(inputs), self.output, num_rows(dict(inputs)) if inputs else None)

    def run(self, inputs: Mapping[str, Value]) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the outputs ``(B, C)`` and the features ``{m: (B, D_m)}`` of one forward pass, on the CPU."""
        size = num_rows(dict(inputs))
        features: Mapping[str, Any]
        if isinstance(self.features, Mapping):
            raw, features = self._hooked(inputs, self.features)
        else:
            raw, features = self.raw(inputs), self._given(inputs)
            if self.features is None and self.classifier is not None:
                features = self.classifier.vectors(raw.features)
        logits = pick_logits(raw, self.output, size)
        return logits, {m: pooled(m, value, size) for m, value in features.items()}

    def represent(self, inputs: Mapping[str, Value]) -> dict[str, Tensor]:
        """Return the features ``{m: (B, D_m)}`` on the CPU; empty where none are known.

        Raises:
            ModelError: If a submodule was not called, or features have another number of samples.
        """
        size = num_rows(dict(inputs)) if inputs else None
        if isinstance(self.features, Mapping):
            features: Mapping[str, Any] = self._hooked(inputs, self.features)[1]
        elif self.features is None and self.classifier is not None:
            features = self.classifier.vectors(self.classifier.encode(self._moved(inputs)))
        else:
            features = self._given(inputs)
        return {m: pooled(m, value, size) for m, value in features.items()}

    def _given(self, inputs: Mapping[str, Value]) -> Mapping[str, Any]:
        return self.features(self._flat(self._moved(inputs))) if callable(self.features) else {}

    def logits_of(self, raw: Any, size: int) -> Tensor:
        """Return the outputs ``(B, C)`` among what the model returned, with their graph.

        Args:
            raw: Return value of the model.
            size: B.
        """
        return find_logits(raw, self.output, size)

    def submodule(self, name: str, m: str) -> nn.Module:
        """Return a submodule of the model, or of the model inside a wrapper.

        Args:
            name: Dotted name of the module.
            m: The modality that it belongs to, for the message.

        Raises:
            NotFoundError: If there is none of that name.
        """
        _check_submodules(self.model, {m: name})
        return _submodule(self.model, name)

    def raw(self, inputs: Mapping[str, Value]) -> Any:
        """Call the model and return its result."""
        return self._call(self.model, self._moved(inputs))

    def _call(self, model: Callable[..., Any], inputs: Mapping[str, Any]) -> Any:
        flat = self._flat(inputs)
        if self.call == "args":
            return model(*(flat[key] for key in self.order))
        if self.call == "tuple":
            return model(tuple(flat[key] for key in self.order))
        if self.call == "dict":
            return model({**self.constants, **flat})
        return model(**self.constants, **self._keywords(model, flat))

    @staticmethod
    def _keywords(model: Callable[..., Any], flat: Mapping[str, Any]) -> dict[str, Any]:
        """Return keywords: what forward takes by name goes in whole, other mappings give their entries."""
        keywords: dict[str, Any] = {}
        named = {p.name for p in call_parameters(model) if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
        for name, value in flat.items():
            whole = name in named or not isinstance(value, Mapping) or not (named and set(value) <= named)
            keywords |= {name: value} if whole else value
        return keywords

    def _moved(self, inputs: Mapping[str, Value]) -> dict[str, Any]:
        device = self.device

        def move(_: str, leaf: Any) -> Any:
            if not isinstance(leaf, Tensor):
                return leaf
            if self.arrays:
                return leaf.numpy() if leaf.dtype != torch.bfloat16 else leaf.float().numpy()
            return leaf.to(device, self.dtype) if self.dtype and leaf.is_floating_point() else leaf.to(device)

        return {m: each_leaf(move, value) for m, value in inputs.items()}

    def _flat(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Return the inputs as the loader had them: groups are taken apart again."""
        flat: dict[str, Any] = {}
        for m, value in inputs.items():
            flat |= value if m in self.groups and isinstance(value, Mapping) else {m: value}
        return flat

    def _hooked(self, inputs: Mapping[str, Value], names: Mapping[str, str]) -> tuple[Any, dict[str, Any]]:
        # A compiled module does not run the hooks of its parts, so the module inside is called.
        wrapped: Any = self.model
        model = wrapped._modules["_orig_mod"] if _compiled(wrapped) else wrapped
        assert isinstance(model, nn.Module)  # adapt has checked
        caught: dict[str, Any] = {}

        def catch(m: str) -> Callable[[nn.Module, Any, Any], None]:
            def hook(module: nn.Module, arguments: Any, output: Any) -> None:
                caught[m] = output

            return hook

        handles = [_submodule(model, name).register_forward_hook(catch(m)) for m, name in names.items()]
        try:
            raw = self._call(model, self._moved(inputs))
        finally:
            for handle in handles:
                handle.remove()
        missed = [names[m] for m in names if m not in caught]
        if missed:
            raise ModelError(
                f"The submodule `{missed[0]}` should be called when the model runs. It was not. "
                "Name the encoder whose forward is used, or give features= as a function."
            )
        return raw, caught


def _compiled(model: Any) -> bool:
    return isinstance(model, nn.Module) and "_orig_mod" in model._modules


def _shape(value: Any) -> str:
    return ", ".join(
        f"{tuple(x.shape)} {x.dtype}" if isinstance(x, Tensor) else f"list of {len(x)}"
        for x in named_leaves(value).values()
    )


def _submodules(model: Callable[..., Any]) -> dict[str, nn.Module]:
    """Return every named submodule of the model and of the models inside its wrappers."""
    submodules: dict[str, nn.Module] = {}
    for part in reversed(wrappers(model)):
        if isinstance(part, nn.Module):
            submodules |= {name: module for name, module in part.named_modules() if name}
    return submodules


def _submodule(model: Callable[..., Any], name: str) -> nn.Module:
    return _submodules(model)[name]


def _check_submodules(model: Callable[..., Any], names: Mapping[str, str]) -> None:
    known = list(_submodules(model))
    for m, name in names.items():
        if name not in known:
            shown = ", ".join(n for n in known if "." not in n) or "none"
            raise NotFoundError(
                f"The model has no submodule `{name}` for the features of `{m}`.{nearest(name, known)} "
                f"At the top: {shown}."
            )


def _variadic(parameters: Sequence[inspect.Parameter]) -> bool:
    return any(p.kind is p.VAR_POSITIONAL for p in parameters)


def adapt(
    model: Callable[..., Any],
    *,
    call: str = "auto",
    modalities: Sequence[str] | Mapping[str, Sequence[str]] | None = None,
    features: Features | None = None,
    output: Callable[[Any], Any] | None = None,
) -> Adapter:
    """Specify how `counterpoise.diagnose` calls a model.

    Args:
        model: A torch module, or any function, over several inputs. Wrappers (``torch.compile``, ``DataParallel``,
            PEFT, ``functools.partial``) are looked through.
        call: ``dict`` (one mapping), ``tuple`` (one tuple), ``args`` (positional), ``kwargs`` (by keyword), or
            ``auto``: decided from the signature of ``forward``. Batches that are mappings are passed by keyword; their
            order is never taken for the order of arguments.
        modalities: Names, in the order of the positional inputs; or ``{name: [keys]}`` where a modality has several
            inputs (token ids and mask). By default every input is a modality, and masks belong to the inputs that they
            mask.
        features: Encoder outputs: the name of a submodule by modality, whose output is recorded while the model runs,
            or a function from the inputs to ``{m: (B, ...)}``. If not given, information is measured in the inputs.
        output: Function that selects the logits ``(B, C)`` from the model's return value; by default a tensor,
            ``.logits``, ``["logits"]``, or the first floating matrix of a tuple. One column counts as the log-odds of
            class 1. Outputs in [0, 1] whose rows sum to 1 are taken for probabilities.

    Raises:
        ConfigError: For an unknown ``call``.
        NotFoundError: For an unknown submodule.
        ModelError: If the model cannot be called at all.

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
        _check_submodules(model, features)
    if isinstance(modalities, str):
        raise ModelError(f"`modalities` should be a list of names. Found the text {modalities!r}.")
    groups = {m: tuple(keys) for m, keys in modalities.items()} if isinstance(modalities, Mapping) else {}
    return Adapter(model, call, tuple(modalities or ()), groups, features, output)
