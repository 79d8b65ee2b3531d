"""Two towers from Hugging Face `transformers`, one for images and one for text, and a head on both.

Built from small configurations with random weights, so nothing is downloaded; `from_pretrained` models are diagnosed in
the same way. Batches are mappings as a Hugging Face collator makes them, and `modalities` says which of their entries
belong together.

Run it: python examples/diagnose_two_towers.py
"""

import torch
from torch import Tensor, nn
from transformers import BertConfig, BertModel, ViTConfig, ViTModel

from counterpoise.diagnosis import diagnose


class TwoTowers(nn.Module):
    """A vision transformer, a BERT, and a head on both."""

    def __init__(self) -> None:
        super().__init__()
        small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
        self.vision = ViTModel(ViTConfig(image_size=8, patch_size=4, num_channels=1, **small))
        self.text = BertModel(BertConfig(vocab_size=30, max_position_embeddings=12, **small))
        self.head = nn.Linear(32, 3)

    def forward(self, pixel_values: Tensor, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Return logits (B, 3)."""
        image = self.vision(pixel_values=pixel_values).pooler_output
        text = self.text(input_ids=input_ids, attention_mask=attention_mask).pooler_output
        return self.head(torch.cat([image, text], 1))


def make_batches(n: int, seed: int) -> list[dict[str, Tensor]]:
    g = torch.Generator().manual_seed(seed)
    labels = torch.randint(3, (n,), generator=g)
    pixels = torch.randn(n, 1, 8, 8, generator=g)
    for k in range(3):
        pixels[labels == k, :, :, 2 * k : 2 * k + 2] += 0.5  # a bright stripe
    words = torch.randint(4, 30, (n, 6), generator=g)
    telling = torch.rand(n, generator=g) < 0.5
    words[telling, 2] = 1 + labels[telling]  # one word of its class in half of the texts
    whole = {"pixel_values": pixels, "input_ids": words, "attention_mask": torch.ones_like(words), "labels": labels}
    return [{k: v[rows] for k, v in whole.items()} for rows in torch.arange(n).split(100)]


def main(n: int = 600, seed: int = 0, epochs: int = 6) -> object:
    torch.manual_seed(seed)
    model, train, held_out = TwoTowers(), make_batches(n, seed), make_batches(n, seed + 1)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.003)
    for _ in range(epochs):
        for batch in train:
            optimiser.zero_grad()
            inputs = {k: v for k, v in batch.items() if k != "labels"}
            nn.functional.cross_entropy(model(**inputs), batch["labels"]).backward()
            optimiser.step()
    diagnosis = diagnose(
        model,
        held_out,
        train=train,
        modalities={"image": ["pixel_values"], "text": ["input_ids", "attention_mask"]},
        features={"image": "vision", "text": "text"},
    )
    print(diagnosis)
    return diagnosis


if __name__ == "__main__":
    main()
