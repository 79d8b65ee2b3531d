"""The monitor logs numbers per modality and epoch, and leaves the training bit for bit as it is without it."""

from __future__ import annotations

from typing import Any

import lightning
import pytest
import torch
from torch import Tensor, nn

from counterpoise.errors import ConfigError
from counterpoise.integrations.lightning import ContributionMonitor


class Module(lightning.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.image, self.text = nn.Linear(4, 8), nn.Linear(3, 8)
        self.head = nn.Sequential(nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 2))

    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        return self.head(self.image(image) + self.text(text))

    def training_step(self, batch: Any, index: int) -> Tensor:
        return nn.functional.cross_entropy(self(batch["image"], batch["text"]), batch["label"])

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), 0.05)


def make_batches(seed: int) -> list[dict[str, Tensor]]:
    g = torch.Generator().manual_seed(seed)
    y = torch.randint(2, (120,), generator=g)
    image, text = torch.randn(120, 4, generator=g) + 2 * y[:, None], torch.randn(120, 3, generator=g)
    return [{"image": image[i], "text": text[i], "label": y[i]} for i in torch.arange(120).split(40)]


def train(callbacks: list[Any]) -> tuple[Module, dict[str, Tensor]]:
    torch.manual_seed(0)
    module = Module()
    trainer = lightning.Trainer(
        max_epochs=3,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=callbacks,
    )
    trainer.fit(module, torch.utils.data.DataLoader(make_batches(0), batch_size=None))
    return module, dict(trainer.callback_metrics)


def test_the_monitor_logs_and_changes_nothing() -> None:
    plain, _ = train([])
    watched, metrics = train([ContributionMonitor(make_batches(1))])
    for a, b in zip(plain.parameters(), watched.parameters(), strict=True):
        assert torch.equal(a, b)
    assert set(metrics) == {f"contribution/{m}/{k}" for m in ("image", "text") for k in ("mi", "cmi", "used")}
    assert float(metrics["contribution/image/used"]) > 0.3
    assert abs(float(metrics["contribution/text/mi"])) < 0.05
    _, seldom = train([ContributionMonitor(make_batches(1), every=4)])
    assert not seldom
    with pytest.raises(ConfigError):
        ContributionMonitor([], every=0)
