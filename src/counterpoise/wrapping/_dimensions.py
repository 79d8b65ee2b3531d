"""Dimensions of the features of encoders inside a module."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from torch import nn

from counterpoise.fusion import feature_dims_of

__all__ = ["dimension", "last_layer"]


def dimension(m: str, module: nn.Module, given: Mapping[str, int] | None) -> int:
    """Return D of the pooled features of an encoder.

    Raises:
        ModelError: If the dimension cannot be determined.
    """
    if given and m in given:
        return given[m]
    if isinstance(module, nn.Embedding | nn.EmbeddingBag):
        return module.embedding_dim
    if "_orig_mod" in module._modules:
        module = module.get_submodule("_orig_mod")
    width = _pooled_width(module)
    return feature_dims_of({m: module})[m] if width is None else width


_SAME_WIDTH: Final = (
    *(nn.ReLU, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Tanh, nn.Sigmoid, nn.Dropout, nn.Dropout1d, nn.Dropout2d),
    *(nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.GroupNorm, nn.MaxPool1d, nn.MaxPool2d, nn.AvgPool1d),
    *(nn.AvgPool2d, nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d),
)
"""Layers that keep the number of channels."""


def _pooled_width(module: nn.Module) -> int | None:
    """Return D of layers whose output has a time or space axis that is averaged out; None for others."""
    module = last_layer(module)
    match module:
        case nn.Conv1d() | nn.Conv2d() | nn.Conv3d():
            return module.out_channels
        case nn.RNNBase():
            return (module.proj_size or module.hidden_size) * (2 if module.bidirectional else 1)
        case nn.TransformerEncoderLayer():
            return module.linear2.out_features
        case nn.TransformerEncoder():
            return _pooled_width(module.layers[-1])
    return None


def last_layer(module: nn.Module) -> nn.Module:
    """Return the last layer of a sequence that decides the shape of its output; any other module is returned
    unchanged.
    """
    while isinstance(module, nn.Sequential):
        last = next((layer for layer in reversed(module) if not isinstance(layer, _SAME_WIDTH)), None)
        if last is None:
            break
        module = last
    return module
