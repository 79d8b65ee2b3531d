"""An image network and a table network, trained together and tested with one input missing.

The image network is a small convolution, so that the file runs without `timm`. With timm installed one line changes:
`self.image = timm.create_model("resnet18", num_classes=0)`.

Run it: python examples/diagnose_image_table.py
"""

import torch
from torch import Tensor, nn

from counterpoise.diagnosis import adapt, diagnose


class ImageTable(nn.Module):
    """A convolutional network for the image and a small network for the table."""

    def __init__(self) -> None:
        super().__init__()
        self.image = nn.Sequential(
            nn.Conv2d(1, 8, 3, stride=2),
            nn.ReLU(),
            nn.Conv2d(8, 8, 3),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
        )
        self.table = nn.Sequential(nn.Linear(6, 16), nn.ReLU())
        self.head = nn.Linear(32 + 16, 2)

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return logits (B, 2) and what they were made from."""
        features = torch.cat([self.image(batch["image"]), self.table(batch["table"])], 1)
        return {"logits": self.head(features), "features": features}


def make_batches(n: int, seed: int) -> list[dict[str, Tensor]]:
    g = torch.Generator().manual_seed(seed)
    label = torch.randint(2, (n,), generator=g)
    image = torch.randn(n, 1, 12, 12, generator=g)
    image[:, :, :6] += 0.5 * label[:, None, None, None]  # the upper half is brighter
    table = torch.randn(n, 6, generator=g)
    table[:, 0] += label
    whole = {"image": image, "table": table, "label": label}
    return [{k: v[rows] for k, v in whole.items()} for rows in torch.arange(n).split(50)]


def main(n: int = 1000, seed: int = 0) -> object:
    torch.manual_seed(seed)
    model, train, held_out = ImageTable(), make_batches(n, seed), make_batches(n, seed + 1)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.005)
    for _ in range(5):
        for batch in train:
            optimiser.zero_grad()
            nn.functional.cross_entropy(model(batch)["logits"], batch["label"]).backward()
            optimiser.step()
    # The encoders have the modalities' names, and forward takes one dict, so nothing else is needed.
    adapter = adapt(model, call="dict", features={"image": "image", "table": "table"})
    diagnosis = diagnose(adapter, held_out, train=train, class_names=["dark", "bright"])
    print(diagnosis)
    return diagnosis


if __name__ == "__main__":
    main()
