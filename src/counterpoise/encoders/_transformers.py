"""Encoders from `transformers`: built from a configuration with random weights, or with pretrained weights on request.

Nothing is downloaded unless ``pretrained`` names weights; torchvision is never needed.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from counterpoise._extras import extra
from counterpoise.errors import ConfigError, NotFoundError

__all__ = ["BERT", "ResNet18", "SequenceTransformer", "ViT"]


def _pretrained(kind: Any, name: str, **options: Any) -> Any:
    """Return a model with published weights.

    Raises:
        NotFoundError: If the weights are neither in a folder nor in the local cache, and cannot be downloaded.
    """
    with extra("encoders"):
        from transformers.utils import logging

    level = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        return kind.from_pretrained(name, **options)
    except (OSError, ValueError) as error:
        raise NotFoundError(
            f"The weights `{name}` are neither a folder nor in the local cache of the Hugging Face hub, and could not "
            "be downloaded. Connect to the network once, give a folder that holds them, or leave `pretrained` out to "
            "train from scratch."
        ) from error
    finally:
        logging.set_verbosity(level)


def _statistics(name: str) -> tuple[list[float], list[float]] | None:
    """Return mean and standard deviation of the images that the weights were trained on, or None if they are not given.

    They are read from ``preprocessor_config.json`` in the folder of the weights.
    """
    with extra("encoders"):
        from transformers.utils.hub import cached_file

    try:
        path = cached_file(name, "preprocessor_config.json")
    except (OSError, ValueError):
        return None
    if path is None:
        return None
    described = json.loads(Path(path).read_text())
    return (described["image_mean"], described["image_std"]) if described.get("do_normalize", True) else None


class Standardise(nn.Module):
    """Scaling of images in [0, 1] to mean 0 and standard deviation 1 over the data that the weights were trained on.

    Each of three channels has its own mean and deviation; with any other number of channels, all use the averages.

    Args:
        channels: Number of channels.
        statistics: Means and deviations, or None to leave pictures unchanged.

    Example:
        >>> import torch
        >>> Standardise(3, ([0.5, 0.5, 0.5], [0.5, 0.5, 0.5]))(torch.ones(1, 3, 2, 2)).unique()
        tensor([1.])
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, channels: int, statistics: tuple[list[float], list[float]] | None) -> None:
        super().__init__()
        mean, deviation = map(torch.tensor, statistics or ([0.0], [1.0]))
        if len(mean) != channels:
            mean, deviation = mean.mean().repeat(channels), deviation.mean().repeat(channels)
        self.register_buffer("mean", mean.view(-1, 1, 1))
        self.register_buffer("deviation", deviation.view(-1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, C, H, W)`` to ``(B, C, H, W)``."""
        return (x - self.mean) / self.deviation


class ResNet18(nn.Module):
    """ResNet-18 for images with any number of channels, and for videos, whose frames are averaged.

    It is the usual encoder of audio-visual baselines: global average pooling over space and time, 512 features.
    Pretrained weights (``microsoft/resnet-18``) have three input channels; for another number the first convolution
    gets their mean over the channels, scaled so that a grey input gives the same result as it does in RGB. Pictures are
    standardised as in the preprocessing of the weights, if their folder holds it.

    Args:
        shape: ``(H, W)``, ``(C, H, W)`` or ``(T, C, H, W)``.
        feature_dim: Ignored: the architecture has 512.
        pretrained: None for random weights; a folder or a name on the hub.

    Example:
        >>> import torch
        >>> ResNet18((1, 64, 64))(torch.zeros(2, 1, 64, 64)).shape
        torch.Size([2, 512])
    """

    feature_dim = 512

    def __init__(self, shape: tuple[int, ...], feature_dim: int = 512, *, pretrained: str | None = None) -> None:
        super().__init__()
        with extra("encoders"):
            from transformers import ResNetConfig, ResNetModel

        del feature_dim  # the architecture fixes it
        channels = shape[-3] if len(shape) > 2 else 1
        self.standardise: nn.Module = nn.Identity()
        if pretrained is not None:
            self.network = _pretrained(ResNetModel, pretrained)
            self.standardise = Standardise(channels, _statistics(pretrained))
            self._adapt(channels)
            return
        config = ResNetConfig(
            num_channels=channels,
            embedding_size=64,
            hidden_sizes=[64, 128, 256, 512],
            depths=[2, 2, 2, 2],
            layer_type="basic",
        )
        self.network = ResNetModel(config)

    def _adapt(self, channels: int) -> None:
        stem = self.network.embedder.embedder.convolution
        if channels != stem.in_channels:
            weight = stem.weight.detach().sum(1, keepdim=True).repeat(1, channels, 1, 1) / channels
            stem.in_channels, stem.weight = channels, nn.Parameter(weight)
            self.network.embedder.num_channels = channels

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, H, W)``, ``(B, C, H, W)`` or ``(B, T, C, H, W)`` to ``(B, 512)``."""
        if x.ndim == 3:
            x = x.unsqueeze(1)
        frames = x.flatten(0, 1) if x.ndim == 5 else x
        pooled = self.network(self.standardise(frames)).pooler_output.flatten(1)
        return pooled.unflatten(0, x.shape[:2]).mean(1) if x.ndim == 5 else pooled


class ViT(nn.Module):
    """Vision Transformer for images ``(B, C, H, W)``: the class token's last state.

    With ``pretrained``, pictures are standardised as in the preprocessing of the weights, if their folder holds it.

    Args:
        shape: ``(C, H, W)``; sides are multiples of ``patch``.
        feature_dim: Width, a multiple of ``heads``; ignored with ``pretrained``.
        layers: Number of blocks.
        heads: Attention heads.
        patch: Side of a patch, in pixels.
        pretrained: None for random weights; a folder or a name on the hub (``google/vit-base-patch16-224-in21k``).

    Example:
        >>> import torch
        >>> ViT((3, 32, 32), 32, layers=1, heads=2, patch=8)(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 32])
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        feature_dim: int = 192,
        *,
        layers: int = 6,
        heads: int = 4,
        patch: int = 16,
        pretrained: str | None = None,
    ) -> None:
        super().__init__()
        with extra("encoders"):
            from transformers import ViTConfig, ViTModel

        if len(shape) != 3 or shape[1] != shape[2]:
            raise ConfigError(f"A Vision Transformer should get square images (C, S, S). Found shape {shape}.")
        self.standardise: nn.Module = nn.Identity()
        if pretrained is not None:
            self.network = _pretrained(ViTModel, pretrained, add_pooling_layer=False)
            self.standardise = Standardise(shape[0], _statistics(pretrained))
            self.feature_dim = int(self.network.config.hidden_size)
            return
        if feature_dim % heads or shape[1] % patch:
            raise ConfigError(
                f"`feature_dim` should be a multiple of `heads`, the image's side of `patch`. Found {feature_dim}, "
                f"{heads}; {shape[1]}, {patch}."
            )
        config = ViTConfig(
            hidden_size=feature_dim,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            intermediate_size=4 * feature_dim,
            image_size=shape[1],
            patch_size=patch,
            num_channels=shape[0],
        )
        self.network = ViTModel(config, add_pooling_layer=False)
        self.feature_dim = feature_dim

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, C, S, S)`` to ``(B, feature_dim)``."""
        size = self.network.config.image_size
        embeddings: Tensor = self.network(
            self.standardise(x), interpolate_pos_encoding=x.shape[-1] != size
        ).last_hidden_state[:, 0]
        return embeddings


class BERT(nn.Module):
    """BERT for token ids ``(B, L)``, 0 = padding (masked): the first token's last state.

    If a tokenizer pads with another id than 0, the data hold the two ids exchanged (see
    `counterpoise.data.preparation.Text`); with ``pretrained`` they are changed back here.

    Args:
        shape: ``(L,)``.
        feature_dim: Width, a multiple of ``heads``; ignored with ``pretrained``.
        vocabulary: Number of ids.
        layers: Number of blocks.
        heads: Attention heads.
        pretrained: None for random weights; a folder or a name on the hub (``bert-base-uncased``).

    Example:
        >>> import torch
        >>> BERT((12,), 32, vocabulary=50, layers=1, heads=2)(torch.ones(2, 12, dtype=torch.long)).shape
        torch.Size([2, 32])
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        feature_dim: int = 128,
        vocabulary: int = 30522,
        *,
        layers: int = 2,
        heads: int = 4,
        pretrained: str | None = None,
    ) -> None:
        super().__init__()
        with extra("encoders"):
            from transformers import AutoModel, BertConfig, BertModel

        self.padding = 0
        if pretrained is not None:
            self.network = _pretrained(AutoModel, pretrained)
            self.feature_dim = int(self.network.config.hidden_size)
            self.padding = int(self.network.config.pad_token_id or 0)
            if vocabulary > self.network.config.vocab_size:
                raise ConfigError(
                    f"The data hold {vocabulary} token ids, `{pretrained}` knows {self.network.config.vocab_size}. "
                    f"Prepare the data with its tokenizer: --tokenizer {pretrained}."
                )
            return
        if feature_dim % heads:
            raise ConfigError(f"`feature_dim` should be a multiple of `heads`. Found {feature_dim} and {heads}.")
        config = BertConfig(
            vocab_size=vocabulary,
            hidden_size=feature_dim,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            intermediate_size=4 * feature_dim,
            max_position_embeddings=max(shape[0], 2),
        )
        self.network = BertModel(config, add_pooling_layer=False)
        self.feature_dim = feature_dim

    def forward(self, tokens: Tensor) -> Tensor:
        """Map ``(B, L)`` to ``(B, feature_dim)``."""
        mask = tokens != 0
        if self.padding:
            tokens = torch.where(tokens == self.padding, 0, torch.where(tokens == 0, self.padding, tokens))
        embeddings: Tensor = self.network(input_ids=tokens, attention_mask=mask.long()).last_hidden_state[:, 0]
        return embeddings


class SequenceTransformer(nn.Module):
    """Transformer over feature sequences ``(B, T, D)``. Steps that are all zeros are padding: masked and not averaged.

    Args:
        shape: ``(T, D)``.
        feature_dim: Width, a multiple of ``heads``.
        layers: Number of blocks.
        heads: Attention heads.
        dropout: Dropout rate of the blocks.

    Example:
        >>> import torch
        >>> SequenceTransformer((20, 5), 32)(torch.randn(2, 20, 5)).shape
        torch.Size([2, 32])
    """

    def __init__(
        self, shape: tuple[int, ...], feature_dim: int = 64, *, layers: int = 2, heads: int = 4, dropout: float = 0.1
    ) -> None:
        super().__init__()
        if feature_dim % heads:
            raise ConfigError(f"`feature_dim` should be a multiple of `heads`. Found {feature_dim} and {heads}.")
        steps, size = shape[0], 1
        for n in shape[1:]:
            size *= n
        self.project = nn.Linear(size, feature_dim)
        self.place = nn.Parameter(0.02 * torch.randn(steps, feature_dim))
        block = nn.TransformerEncoderLayer(
            feature_dim, heads, 4 * feature_dim, dropout, batch_first=True, norm_first=True
        )
        self.blocks = nn.TransformerEncoder(block, layers, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(feature_dim)
        self.feature_dim = feature_dim

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, T, D)`` to ``(B, feature_dim)``."""
        x = x.flatten(2)
        padding = (x == 0).all(-1)
        padding = padding & ~padding.all(1, keepdim=True)  # an empty sequence attends to its zeros
        states = self.norm(self.blocks(self.project(x) + self.place[-x.shape[1] :], src_key_padding_mask=padding))
        kept = (~padding).to(states.dtype).unsqueeze(-1)
        pooled: Tensor = (states * kept).sum(1) / kept.sum(1)
        return pooled
