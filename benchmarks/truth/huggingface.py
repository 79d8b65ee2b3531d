"""A text-and-image classifier of Hugging Face parts whose reliance is set by construction."""

from __future__ import annotations

import numpy as np
import torch
from models import Outputs
from torch import Tensor, nn
from transformers import BertConfig, BertModel, PretrainedConfig, PreTrainedModel, ViTConfig, ViTModel
from transformers.modeling_outputs import SequenceClassifierOutput

__all__ = ["Classifier", "images", "sentences"]

LENGTH, SIDE, PATCH, WIDTH = 6, 8, 4, 32


class _Config(PretrainedConfig):
    model_type = "planted"


class Classifier(PreTrainedModel):
    """BERT on ``input_ids`` and a vision transformer on ``pixel_values``, and a linear classifier on both.

    The outputs of attention and feed-forward layers are set to 0: what remains are embeddings, residual paths and layer
    norms, so that the state of a position depends on its own token or patch only. The classifier is then the solution
    of a linear system: for every pair of symbols, its logits are those of the planted model.
    """

    config_class = _Config

    def __init__(self, words: int, pictures: int, planted: Outputs) -> None:
        super().__init__(_Config())
        small = {"hidden_size": WIDTH, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.text = BertModel(BertConfig(vocab_size=40, max_position_embeddings=LENGTH, **small))
            self.vision = ViTModel(ViTConfig(image_size=SIDE, patch_size=PATCH, num_channels=1, **small))
        _pass_through(self)
        self.eval()
        pairs = torch.cartesian_prod(torch.arange(words), torch.arange(pictures))
        codes = {"a": torch.eye(words)[pairs[:, 0]], "b": torch.eye(pictures)[pairs[:, 1]]}
        rng = np.random.default_rng(0)
        with torch.no_grad():
            ids, mask = sentences(pairs[:, 0], rng)
            states = self.states(ids, mask, images(pairs[:, 1], rng, noise=0.0)).double()
            design = torch.cat([states, torch.ones(len(pairs), 1, dtype=torch.float64)], 1)
            logits = planted(codes).double()
            logits = logits - logits.mean(1, keepdim=True)  # additive in the modalities, as log-probabilities are not
            solution = torch.linalg.lstsq(design, logits, driver="gelsd").solution.float()
            self.classifier = nn.Linear(2 * WIDTH, solution.shape[1])
            self.classifier.weight.copy_(solution[:-1].T)
            self.classifier.bias.copy_(solution[-1])

    def states(self, input_ids: Tensor, attention_mask: Tensor, pixel_values: Tensor) -> Tensor:
        """Return the states ``(N, 2 * WIDTH)`` of the first token and of the mean patch."""
        text = self.text(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state[:, 0]
        image = self.vision(pixel_values=pixel_values).last_hidden_state[:, 1:].mean(1)
        return torch.cat([text, image], 1)

    def forward(self, input_ids: Tensor, pixel_values: Tensor, attention_mask: Tensor) -> SequenceClassifierOutput:
        """Return an output with logits ``(N, C)``."""
        return SequenceClassifierOutput(logits=self.classifier(self.states(input_ids, attention_mask, pixel_values)))


def _pass_through(model: nn.Module) -> None:
    """Set the linear maps at the end of attention and feed-forward blocks to 0."""
    with torch.no_grad():
        for name, part in model.named_modules():
            last = name.endswith(("output.dense", "mlp.fc2", "o_proj", "attention.projection"))
            if isinstance(part, nn.Linear) and last:
                part.weight.zero_()
                part.bias.zero_()


def sentences(symbols: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Return token ids and masks ``(N, LENGTH)``: the symbol first, then other words, padded to the right."""
    n = len(symbols)
    ids = torch.from_numpy(rng.integers(20, 40, size=(n, LENGTH)))
    ids[:, 0] = 1 + symbols
    mask = torch.arange(LENGTH) < torch.from_numpy(rng.integers(2, LENGTH + 1, size=n))[:, None]
    return ids * mask, mask.long()


def images(symbols: Tensor, rng: np.random.Generator, noise: float = 0.05) -> Tensor:
    """Return images ``(N, 1, SIDE, SIDE)`` with a bright column in every patch that shows the symbol (0 to 3)."""
    pixels = torch.from_numpy(noise * rng.standard_normal((len(symbols), 1, SIDE, SIDE))).float()
    column = torch.arange(SIDE) % PATCH
    return pixels + (column == symbols[:, None]).float()[:, None, None, :]
