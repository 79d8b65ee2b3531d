"""Encoders from `transformers`, built from a configuration (random weights); nothing is downloaded."""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["ResNet18"]


class ResNet18(nn.Module):
    """ResNet-18 with as many input channels as the data has; frames of a video are flattened into the batch and
    averaged.

    The audio-visual baseline of this literature: global average pooling over space and time, 512 features.

    Example:
        >>> import torch
        >>> ResNet18((1, 64, 64))(torch.zeros(2, 1, 64, 64)).shape
        torch.Size([2, 512])
    """

    feature_dim = 512

    def __init__(self, shape: tuple[int, ...], feature_dim: int = 512) -> None:
        super().__init__()
        from transformers import ResNetConfig, ResNetModel

        del feature_dim  # the architecture fixes it
        config = ResNetConfig(
            num_channels=shape[-3] if len(shape) > 2 else 1,
            embedding_size=64,
            hidden_sizes=[64, 128, 256, 512],
            depths=[2, 2, 2, 2],
            layer_type="basic",
        )
        self.network = ResNetModel(config)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, H, W)``, ``(B, C, H, W)`` or ``(B, T, C, H, W)`` to ``(B, 512)``."""
        if x.ndim == 3:
            x = x.unsqueeze(1)
        frames = x.flatten(0, 1) if x.ndim == 5 else x
        pooled = self.network(frames).pooler_output.flatten(1)
        return pooled.unflatten(0, x.shape[:2]).mean(1) if x.ndim == 5 else pooled
