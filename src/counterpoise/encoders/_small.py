"""Small encoders that train in seconds on two cores."""

from __future__ import annotations

import math

import torch  # noqa: F401 - the examples use it
from torch import Tensor, nn

__all__ = ["MLP", "ConvNet", "TemporalConv", "TokenBag"]


class MLP(nn.Sequential):
    """Two-layer perceptron for vectors ``(B, D)``; the input is standardised by a batch norm.

    Example:
        >>> MLP((10,), 32)(torch.zeros(4, 10)).shape
        torch.Size([4, 32])
    """

    def __init__(self, shape: tuple[int, ...], feature_dim: int) -> None:
        size = math.prod(shape)
        super().__init__(
            nn.Flatten(),
            nn.BatchNorm1d(size, affine=False),
            nn.Linear(size, 2 * feature_dim),
            nn.ReLU(),
            nn.Linear(2 * feature_dim, feature_dim),
            nn.ReLU(),
        )
        self.feature_dim = feature_dim


class TemporalConv(nn.Module):
    """Three strided 1-d convolutions over time, with maximum pooling, for sequences ``(B, T, D)``.

    Example:
        >>> TemporalConv((100, 3), 32)(torch.zeros(4, 100, 3)).shape
        torch.Size([4, 32])
    """

    def __init__(self, shape: tuple[int, ...], feature_dim: int) -> None:
        super().__init__()
        width = max(feature_dim // 2, 8)
        self.layers = nn.Sequential(
            nn.BatchNorm1d(math.prod(shape[1:]), affine=False),
            _unit_1d(math.prod(shape[1:]), width, 9),
            _unit_1d(width, feature_dim, 9),
            _unit_1d(feature_dim, feature_dim, 5),
        )
        self.feature_dim = feature_dim

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, T, ...)`` to ``(B, feature_dim)``."""
        return self.layers(x.flatten(2).transpose(1, 2)).amax(-1)


def _unit_1d(inputs: int, outputs: int, kernel: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv1d(inputs, outputs, kernel, stride=2, padding=kernel // 2, bias=False),
        nn.BatchNorm1d(outputs),
        nn.ReLU(),
    )


class ConvNet(nn.Module):
    """Three strided 2-d convolutions for images ``(B, H, W)`` or ``(B, C, H, W)`` and videos ``(B, T, C, H, W)``.

    The features are pooled to 2 x 2 places before the last layer, which preserves coarse positions. The frames of a
    video are stacked as channels: the first convolution can detect motion, and the cost is that of one image.

    Example:
        >>> ConvNet((28, 28), 32)(torch.zeros(4, 28, 28)).shape
        torch.Size([4, 32])
        >>> ConvNet((5, 1, 16, 16), 32)(torch.zeros(4, 5, 1, 16, 16)).shape
        torch.Size([4, 32])
    """

    def __init__(self, shape: tuple[int, ...], feature_dim: int) -> None:
        super().__init__()
        channels = math.prod(shape[:-2])
        width = max(feature_dim // 2, 16)
        self.layers = nn.Sequential(
            nn.BatchNorm2d(channels, affine=False),
            _unit_2d(channels, width),
            _unit_2d(width, 2 * width),
            _unit_2d(2 * width, 2 * width),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Linear(8 * width, feature_dim),
            nn.ReLU(),
        )
        self.feature_dim = feature_dim

    def forward(self, x: Tensor) -> Tensor:
        """Map images or videos to ``(B, feature_dim)``."""
        return self.layers(x.unsqueeze(1) if x.ndim == 3 else x.flatten(1, -3))


def _unit_2d(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
    )


class TokenBag(nn.Module):
    """Mean of word embeddings, then one hidden layer, for token ids ``(B, L)`` with 0 as padding.

    Example:
        >>> TokenBag((12,), 32, vocabulary=100)(torch.ones(4, 12, dtype=torch.long)).shape
        torch.Size([4, 32])
    """

    def __init__(self, shape: tuple[int, ...], feature_dim: int, vocabulary: int) -> None:
        super().__init__()
        del shape  # any length
        self.embedding = nn.EmbeddingBag(vocabulary, 2 * feature_dim, mode="mean", padding_idx=0)
        self.layers = nn.Sequential(nn.Linear(2 * feature_dim, feature_dim), nn.ReLU())
        self.feature_dim = feature_dim

    def forward(self, tokens: Tensor) -> Tensor:
        """Map ``(B, L)`` ids to ``(B, feature_dim)``."""
        return self.layers(self.embedding(tokens))
