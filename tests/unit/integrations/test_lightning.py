"""The monitor logs numbers per modality and epoch, and leaves the training bit for bit as it is without it."""

from __future__ import annotations

from typing import Any

import lightning
import pytest
import torch
from torch import Tensor, nn

import counterpoise
from counterpoise.errors import ConfigError
from counterpoise.integrations._monitor import Contributions
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


def make_trainer(epochs: int, callbacks: list[Any]) -> lightning.Trainer:
    return lightning.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=callbacks,
    )


def train(callbacks: list[Any]) -> tuple[Module, dict[str, Tensor]]:
    torch.manual_seed(0)
    module = Module()
    trainer = make_trainer(3, callbacks)
    trainer.fit(module, torch.utils.data.DataLoader(make_batches(0), batch_size=None))
    return module, dict(trainer.callback_metrics)


def test_the_monitor_logs_and_changes_nothing() -> None:
    plain, _ = train([])
    watched, metrics = train([ContributionMonitor(make_batches(1))])
    for a, b in zip(plain.parameters(), watched.parameters(), strict=True):
        assert torch.equal(a, b)
    names = [f"contribution/{m}/{k}" for m in ("image", "text") for k in ("mi", "cmi", "used")]
    assert set(metrics) == {*names, "probe/image", "probe/text"}
    assert float(metrics["probe/image"]) > 0.3
    assert float(metrics["contribution/image/used"]) > 0.3
    assert abs(float(metrics["contribution/text/mi"])) < 0.05
    _, seldom = train([ContributionMonitor(make_batches(1), every=4)])
    assert not seldom
    with pytest.raises(ConfigError):
        ContributionMonitor([], every=0)


def test_what_is_available_does_not_depend_on_the_encoders() -> None:
    module = Module()
    with torch.no_grad():
        module.image.weight.zero_()  # the encoder loses everything
    monitor = Contributions(make_batches(1), {}, patience=3)
    lost = monitor.measure(module, 1)
    assert lost["probe/image"] == pytest.approx(0.0, abs=0.02)
    whole = Contributions(make_batches(1), {}, patience=3).measure(Module(), 1)
    assert lost["contribution/image/mi"] == pytest.approx(whole["contribution/image/mi"], abs=0.05)
    assert lost["contribution/image/cmi"] > 0.4
    with pytest.raises(ConfigError):
        ContributionMonitor([], patience=0)


class Idle(lightning.Callback):
    """Let an encoder learn no more, or forget, from the second epoch on."""

    def __init__(self, forget: bool) -> None:
        self.forget = forget

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """Change the encoder of the text."""
        for p in pl_module.text.parameters():
            p.requires_grad_(False)
            if self.forget and trainer.current_epoch == 1:
                p.zero_()


def informative(seed: int) -> list[dict[str, Tensor]]:
    """Both modalities tell the label, the text in one column only."""
    batches = make_batches(seed)
    for k, batch in enumerate(batches):
        g = torch.Generator().manual_seed(100 * seed + k)
        batch["text"] = torch.randn(40, 3, generator=g)
        batch["text"][:, 0] += 3.0 * batch["label"]
    return batches


@pytest.mark.parametrize("kind", ["learns", "starts empty", "forgets"])
def test_a_warning_names_the_encoder_that_stops_learning(kind: str) -> None:
    torch.manual_seed(0)
    module = Module()
    if kind == "starts empty":
        module.text.weight.data.zero_()
    monitor = ContributionMonitor([b for seed in range(1, 5) for b in informative(seed)], patience=2)
    idle = [] if kind == "learns" else [Idle(forget=kind == "forgets")]
    trainer = make_trainer(5, [*idle, monitor])
    loader = torch.utils.data.DataLoader(informative(0), batch_size=None)
    if kind == "learns":
        trainer.fit(module, loader)
        assert monitor.stopped == {}
        return
    with pytest.warns(UserWarning, match="`text` stopped learning"):
        trainer.fit(module, loader)
    assert set(monitor.stopped) == {"text"}
    assert monitor.stopped["text"] == 3


def test_the_encoders_of_a_wrapped_model_inside_are_probed() -> None:
    class Outer(Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = counterpoise.wrap(
                Bare(),
                encoders={"photo": "a", "words": "b"},
                inputs={"photo": ["image"], "words": ["text"]},
                num_outputs=2,
            )

        def forward(self, image: Tensor, text: Tensor) -> Tensor:
            return self.inner.net(image, text)

    class Bare(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Linear(4, 8), nn.Linear(3, 8), nn.Linear(8, 2)

        def forward(self, image: Tensor, text: Tensor) -> Tensor:
            return self.c(self.a(image) + self.b(text))

    numbers = Contributions(make_batches(1), {}, 3).measure(Outer(), 1)
    names = [f"contribution/{m}/{k}" for m in ("photo", "words") for k in ("mi", "cmi", "used")]
    assert set(numbers) == {*names, "probe/photo", "probe/words"}
    assert numbers["probe/photo"] > 0.3
    assert "probe/photo" not in Contributions(make_batches(1), {}, 3).measure(Anonymous(), 1)


class Anonymous(nn.Module):
    """A model whose encoders have no names that tell anything."""

    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        return torch.cat([image[:, :1], text[:, :1]], 1)
