"""Signature of a model, also inside wrappers."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, Final

from torch import nn

__all__ = ["accepts_keyword", "call_parameters", "keyword_only", "positional", "unwrapped", "wrappers"]

INNER: Final = ("_orig_mod", "module", "_forward_module", "base_model", "inner", "wrapped", "model")
"""Attributes in which wrappers store the wrapped model: torch.compile, DataParallel and DDP, Fabric, PEFT."""

_MAX_DEPTH: Final = 20

Parameters = list[inspect.Parameter]


def wrappers(model: Callable[..., Any]) -> list[Callable[..., Any]]:
    """Return the model and all models inside it, the outermost wrapper first.

    Example:
        >>> net = nn.Linear(2, 2)
        >>> wrappers(nn.DataParallel(net))[-1] is net
        True
    """
    chain = [model]
    while len(chain) < _MAX_DEPTH and (inner := _inner(chain[-1])) is not None:
        chain.append(inner)
    return chain


def unwrapped(model: Callable[..., Any]) -> Callable[..., Any]:
    """Return the model inside all wrappers."""
    return wrappers(model)[-1]


def call_parameters(model: Callable[..., Any]) -> Parameters:
    """Return the parameters of a call: those of the outermost wrapper that names any, else its ``*args``."""
    known = [_parameters(part) for part in wrappers(model)]
    named = [parameters for parameters in known if any(not _variable(p) for p in parameters)]
    return named[0] if named else next((p for p in known if p), [])


def accepts_keyword(model: Callable[..., Any], name: str) -> bool:
    """Return whether the keyword ``name`` is accepted by all wrappers and by the model."""
    for part in wrappers(model):
        parameters = _parameters(part)
        if any(p.name == name and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) for p in parameters):
            return True
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            return False
    return True


def positional(parameters: Parameters, *, required: bool = False) -> list[str]:
    """Return the names of the parameters that may be given by position."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [p.name for p in parameters if p.kind in kinds and not (required and p.default is not p.empty)]


def keyword_only(parameters: Parameters) -> list[str]:
    """Return the names of the parameters that can only be given by keyword."""
    return [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]


def _variable(p: inspect.Parameter) -> bool:
    return p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD)


def _parameters(target: Callable[..., Any]) -> Parameters:
    if isinstance(target, functools.partial) and isinstance(target.func, nn.Module):
        target = functools.partial(target.func.forward, *target.args, **target.keywords)
    elif isinstance(target, nn.Module):
        if "_orig_mod" in target._modules:  # torch.compile; its forward shows another signature
            return _parameters(target._modules["_orig_mod"])  # type: ignore[arg-type]
        target = target.forward
    try:
        return list(inspect.signature(target).parameters.values())
    except (TypeError, ValueError):
        return []


def _inner(target: Callable[..., Any]) -> Callable[..., Any] | None:
    """Return the model that a wrapper calls, or None if the argument is not a wrapper."""
    if isinstance(target, functools.partial):
        return target.func
    if not isinstance(target, nn.Module):
        return getattr(target, "_torchdynamo_orig_callable", None) or getattr(target, "__wrapped__", None)
    children = dict(target.named_children())
    if isinstance(target, nn.DataParallel) or "_orig_mod" in children:
        return children.get("_orig_mod", children.get("module"))
    if not all(_variable(p) for p in _parameters(target)):
        return None
    only = children.values() if len(children) == 1 else ()
    return next(iter([*(children[name] for name in INNER if name in children), *only]), None)
