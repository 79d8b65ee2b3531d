"""A method in the user's own LightningModule takes the same steps as in a plain loop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import lightning
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, nn

import counterpoise
from counterpoise.errors import ConfigError, DataError, ModelError
from counterpoise.integrations import MethodSampler, MethodTraining
from counterpoise.integrations.lightning import MethodCallback
from counterpoise.methods import ARM, OGMGE, EpochContext, GBlending, Method, Uniform, make_method
from counterpoise.records import Batch


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.vision, self.words, self.head = nn.Linear(4, 6), nn.Linear(3, 6), nn.Linear(6, 2)

    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        return self.head(torch.relu(self.vision(image) + self.words(text)))


class Module(lightning.LightningModule):
    def __init__(self, parameters: str = "all", schedule: str | None = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = Net()
        self.model = counterpoise.wrap(self.net, encoders={"image": "vision", "text": "words"}, num_outputs=2)
        self.chosen, self.schedule = parameters, schedule
        self.calls, self.seen = 0, []

    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        return self.net(image, text)

    def training_step(self, batch: Any, index: int) -> Tensor:
        self.calls += 1
        return nn.functional.cross_entropy(self(batch["image"], batch["text"]), batch["label"])

    def validation_step(self, batch: Any, index: int) -> None:
        self.seen.append(self(batch["image"], batch["text"]))

    def configure_optimizers(self) -> Any:
        source = self if self.chosen == "all" else self.net
        optimizer = torch.optim.SGD(source.parameters(), 0.1, momentum=0.9)
        if self.schedule is None:
            return optimizer
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": self.schedule}}


def make_rows(seed: int, n: int = 42) -> list[dict[str, Tensor]]:
    g = torch.Generator().manual_seed(seed)
    y = torch.randint(2, (n,), generator=g)
    image, text = torch.randn(n, 4, generator=g) + 2 * y[:, None], torch.randn(n, 3, generator=g) + y[:, None]
    return [{"image": image[i], "text": text[i], "label": y[i]} for i in range(n)]


def make_loader(method: Method, workers: int = 0) -> torch.utils.data.DataLoader:
    rows = make_rows(0)
    return torch.utils.data.DataLoader(rows, 10, sampler=MethodSampler(method, len(rows), 3), num_workers=workers)


def fit(
    module: Module,
    method: Method,
    *,
    loader: Any = None,
    held_out: Any = None,
    more: Sequence[Any] = (),
    resume: Any = None,
    **settings: Any,
) -> Any:
    trainer = lightning.Trainer(
        **{"max_epochs": 3, "accelerator": "cpu", "logger": False, "enable_checkpointing": bool(more), **settings},
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        callbacks=[MethodCallback(method, held_out), *more],
    )
    validation = torch.utils.data.DataLoader(make_rows(2), 20)
    loader = make_loader(method) if loader is None else loader
    trainer.fit(module, loader, validation, ckpt_path=resume, weights_only=False)
    return trainer


def plain(method: Method, held_out: Any = None, accumulate: int = 1, clip: float = 0.0, gamma: float = 1.0) -> Module:
    """Train with the loop of the documents: positions are drawn by hand, and nothing of the integrations is used."""
    module, rows = Module(), make_rows(0)
    whole = torch.utils.data.default_collate(rows)
    held = None if held_out is None else [torch.utils.data.default_collate(make_rows(1))]

    def as_batch(batch: dict[str, Tensor], index: Tensor) -> Batch:
        return Batch({m: batch[m][index] for m in ("image", "text")}, batch["label"][index], index)

    model = method.prepare(module.model, whole["label"])
    optimizer = torch.optim.SGD([*model.parameters(), *method.parameters()], 0.1, momentum=0.9)
    everything = torch.arange(len(rows))
    for epoch in range(3):
        context = EpochContext(
            epoch,
            3,
            train=lambda: [as_batch(whole, i) for i in everything.split(10)],
            held_out=None if held is None else lambda: [as_batch(held[0], everything)],
        )
        method.on_epoch_start(model, context)
        order = counterpoise.data.epoch_order(len(rows), 3, epoch)
        order = method.resample(order, counterpoise.data.epoch_generator(3, epoch, stream=1))
        groups = order.split(10)
        for k, index in enumerate(groups):
            size = min(accumulate, len(groups) - k + k % accumulate)
            last = k % accumulate == accumulate - 1 or k == len(groups) - 1
            for _ in method.steps(model, as_batch(whole, index), backward=lambda x, size=size: (x / size).backward()):
                if last:
                    if clip:
                        nn.utils.clip_grad_norm_([p for g in optimizer.param_groups for p in g["params"]], clip)
                    optimizer.step()
                    optimizer.zero_grad()
        for group in optimizer.param_groups:
            group["lr"] *= gamma
    return module


def seeded(name: str) -> Method:
    """Return a method that draws the same numbers in each step: loaders and Lightning draw some of their own."""
    method = make_method(name)
    steps, start = method.steps, method.on_epoch_start

    def seeded_steps(model: Any, batch: Batch, **options: Any) -> Any:
        torch.manual_seed(int(batch.index.sum()))
        return steps(model, batch, **options)

    def seeded_start(model: Any, epoch: EpochContext) -> None:
        torch.manual_seed(epoch.number)
        start(model, epoch)

    method.steps, method.on_epoch_start = seeded_steps, seeded_start  # type: ignore[method-assign]
    return method


def assert_equal(a: nn.Module, b: nn.Module) -> None:
    for (name, x), y in zip(a.state_dict().items(), b.state_dict().values(), strict=True):
        torch.testing.assert_close(x, y, rtol=0, atol=1e-6, msg=name)


@pytest.mark.parametrize("name", ["uniform", "ogm-ge", "mmpareto", "pmr", "modality-dropout", "arm", "g-blending"])
def test_the_callback_takes_the_steps_of_the_plain_loop(name: str) -> None:
    module, held_out = Module(), [torch.utils.data.default_collate(make_rows(1))]
    before = module.net.state_dict()["vision.weight"].clone()
    fit(module, seeded(name), held_out=held_out)
    expected = plain(seeded(name), held_out)
    assert_equal(module.net, expected.net)
    assert not torch.equal(before, module.net.vision.weight)
    assert module.calls == 0
    assert len(module.seen) == 9
    assert module.automatic_optimization
    assert "training_step" not in module.__dict__


def test_accumulation_clipping_and_schedules_stay() -> None:
    module = Module()
    fit(module, Uniform(), accumulate_grad_batches=2, gradient_clip_val=0.3)
    assert_equal(module.net, plain(Uniform(), accumulate=2, clip=0.3).net)
    module = Module(schedule="epoch")
    trainer = fit(module, Uniform())
    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(0.1 * 0.5**3)
    assert_equal(module.net, plain(Uniform(), gamma=0.5).net)
    trainer = fit(Module(schedule="step"), Uniform(), max_epochs=1)
    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(0.1 * 0.5**5)
    assert {"method/loss", "method/image", "method/text"} <= set(trainer.callback_metrics)


def test_the_epoch_hook_comes_before_the_order_also_with_workers() -> None:
    class Recording(Uniform):
        """Write down what is called."""

        events: list[str]

        def on_epoch_start(self, model: Any, epoch: EpochContext) -> None:
            """Note the epoch."""
            self.__dict__.setdefault("log", []).append(f"epoch {epoch.number} of {epoch.total}")

        def resample(self, order: Tensor, generator: torch.Generator) -> Tensor:
            """Note the call."""
            self.__dict__.setdefault("log", []).append("order")
            return order

    method = Recording()
    fit(Module(), method, loader=make_loader(method, workers=1), max_epochs=2)
    assert method.__dict__["log"] == ["epoch 0 of 2", "order", "epoch 1 of 2", "order"]


def test_what_is_missing_is_named_before_the_first_step() -> None:
    rows = torch.utils.data.DataLoader(make_rows(0), 10, shuffle=True)
    held_out = [torch.utils.data.default_collate(make_rows(1))]
    with pytest.raises(ConfigError, match="held_out"):
        fit(Module(), GBlending())
    with pytest.raises(ConfigError, match="MethodSampler"):
        fit(Module(), ARM(), loader=rows, held_out=held_out)
    with pytest.raises(ConfigError, match="MethodSampler"):
        fit(Module(), OGMGE(), loader=rows)
    with pytest.raises(ConfigError, match="optimizer"):
        fit(Module(parameters="net"), Uniform())
    with pytest.raises(ConfigError, match="another method"):
        fit(Module(), Uniform(), loader=make_loader(OGMGE()))
    with pytest.raises(ConfigError, match="generator"):
        MethodTraining(Uniform(), rows, held_out=iter([]))
    module = Module()
    module.model = nn.Linear(1, 1)
    with pytest.raises(ModelError, match="wrap"):
        fit(module, Uniform())
    sampler = MethodSampler(Uniform(), 4)
    list(sampler)
    with pytest.raises(DataError):
        sampler.take(5)


def test_batches_with_positions_need_no_sampler() -> None:
    rows = [{**row, "index": torch.tensor(i)} for i, row in enumerate(make_rows(0))]
    training = MethodTraining(OGMGE(), torch.utils.data.DataLoader(rows, 7, shuffle=True))
    training.prepare(Module().model)
    torch.testing.assert_close(training.targets(), torch.stack([row["label"] for row in rows]))
    for item in training.loader:
        batch = training.batch(item)
        assert torch.equal(batch.target, training.targets()[batch.index])


@pytest.mark.filterwarnings("ignore:.*callbacks used to create the checkpoint", "ignore:.*dirpath has changed")
def test_a_stopped_training_resumes_with_the_state_of_the_method(tmp_path: Any) -> None:
    keep = ModelCheckpoint(tmp_path / "a", "{epoch}", save_top_k=-1, save_on_train_epoch_end=True)
    held_out = [torch.utils.data.default_collate(make_rows(1))]
    whole, resumed = Module(schedule="epoch"), Module(schedule="epoch")
    fit(whole, ARM(), held_out=held_out, more=[keep])
    fit(
        resumed,
        ARM(),
        held_out=held_out,
        more=[ModelCheckpoint(tmp_path / "b")],
        resume=tmp_path / "a" / "epoch=1.ckpt",
    )
    assert_equal(whole, resumed)


@pytest.mark.filterwarnings("ignore:.*callbacks used to create the checkpoint", "ignore:.*pre-optimization state")
def test_a_checkpoint_from_within_an_epoch_is_refused(tmp_path: Any) -> None:
    keep = ModelCheckpoint(tmp_path / "a", "{step}", save_top_k=-1, every_n_train_steps=3)
    fit(Module(), Uniform(), more=[keep])
    with pytest.raises(ConfigError, match="start of an epoch"):
        fit(Module(), Uniform(), more=[ModelCheckpoint(tmp_path / "b")], resume=tmp_path / "a" / "step=3.ckpt")
