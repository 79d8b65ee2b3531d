"""A method in Hugging Face's Trainer takes the same steps as in a plain loop, and the monitor changes nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import counterpoise
from counterpoise.data import epoch_generator, epoch_order
from counterpoise.errors import ConfigError, ModelError
from counterpoise.methods import EpochContext, Method, Uniform, make_method
from counterpoise.records import Batch

pytest.importorskip("accelerate")
transformers = pytest.importorskip("transformers")
from counterpoise.integrations.transformers import ContributionMonitor, MethodTrainer  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:.*pin_memory.*")
CONFIG = {
    "vocab_size": 16,
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 8,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
    "max_position_embeddings": 8,
}


class Net(nn.Module):
    """A tiny BERT and a linear layer for the picture."""

    def __init__(self) -> None:
        super().__init__()
        self.vision = nn.Linear(4, 8)
        self.text = transformers.BertModel(transformers.BertConfig(**CONFIG), add_pooling_layer=False)
        self.head = nn.Linear(8, 2)

    def forward(self, pixel_values: Tensor, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        words = self.text(input_ids, attention_mask).last_hidden_state[:, 0]
        return self.head(torch.relu(self.vision(pixel_values) + words))


def make_model() -> Any:
    torch.manual_seed(0)
    return counterpoise.wrap(
        Net(),
        encoders={"image": "vision", "text": "text"},
        inputs={"image": ["pixel_values"], "text": ["input_ids", "attention_mask"]},
        num_outputs=2,
    )


def make_rows(seed: int, n: int = 40) -> list[dict[str, Any]]:
    g = torch.Generator().manual_seed(seed)
    y = torch.randint(2, (n,), generator=g)
    pixels, ids = torch.randn(n, 4, generator=g) + 2 * y[:, None], torch.randint(4, 16, (n, 5), generator=g)
    return [
        {"pixel_values": pixels[i], "input_ids": ids[i], "attention_mask": torch.ones_like(ids[i]), "labels": y[i]}
        for i in range(n)
    ]


def make_arguments(folder: Path, **settings: Any) -> Any:
    return transformers.TrainingArguments(
        str(folder),
        **{
            "num_train_epochs": 2,
            "per_device_train_batch_size": 8,
            "optim": "sgd",  # Adam enlarges gradients that are zero but for rounding
            "learning_rate": 0.1,
            "lr_scheduler_type": "constant",
            "max_grad_norm": 0.0,
            "logging_steps": 1,
            "save_strategy": "no",
            "report_to": [],
            "use_cpu": True,
            "disable_tqdm": True,
            "seed": 3,
            **settings,
        },
    )


def losses(trainer: Any) -> list[float]:
    return [row["loss"] for row in trainer.state.log_history if "loss" in row]


def plain(method: Method, accumulate: int = 1) -> tuple[Any, list[float]]:
    """Train with the loop of the documents; return the model and its losses."""
    model, whole = make_model(), torch.utils.data.default_collate(make_rows(0))
    held_out = torch.utils.data.default_collate(make_rows(1))

    def as_batch(batch: dict[str, Tensor], index: Tensor) -> Batch:
        return Batch({k: v[index] for k, v in batch.items() if k != "labels"}, batch["labels"][index], index)

    model = method.prepare(model, whole["labels"])
    optimizer = torch.optim.SGD([*model.parameters(), *method.parameters()], 0.1)
    everything, values = torch.arange(40), []
    for epoch in range(2):
        train, held = ([as_batch(rows, i) for i in everything.split(8)] for rows in (whole, held_out))
        method.on_epoch_start(model, EpochContext(epoch, 2, lambda rows=train: rows, lambda rows=held: rows))
        model.train()
        order = method.resample(epoch_order(40, 3, epoch), epoch_generator(3, epoch, stream=1))
        groups = list(order.split(8))
        for start in range(0, len(groups), accumulate):
            part, total = groups[start : start + accumulate], 0.0
            for k, index in enumerate(part):
                scale = len(part)
                steps = method.steps(model, as_batch(whole, index), backward=lambda x, n=scale: (x / n).backward())
                for record in steps:
                    total += float(record.loss) / scale
                    if k == scale - 1:
                        optimizer.step()
                        optimizer.zero_grad()
            values.append(total)
    return model, values


@pytest.mark.parametrize("name", ["uniform", "mmpareto", "pmr", "arm", "g-blending"])
def test_the_trainer_takes_the_steps_of_the_plain_loop(name: str, tmp_path: Path) -> None:
    arguments = make_arguments(tmp_path)
    trainer = MethodTrainer(
        make_model(), arguments, method=make_method(name), train_dataset=make_rows(0), held_out=make_rows(1)
    )
    trainer.train()
    model, expected = plain(make_method(name))
    assert len(expected) == 10
    np.testing.assert_allclose(losses(trainer), expected, atol=1e-6)
    for x, y in zip(trainer.trained.net.parameters(), model.net.parameters(), strict=True):
        torch.testing.assert_close(x, y, rtol=0, atol=1e-6)


def test_accumulation_and_evaluation(tmp_path: Path) -> None:
    arguments = make_arguments(tmp_path, gradient_accumulation_steps=2, eval_strategy="epoch")
    trainer = MethodTrainer(
        make_model(),
        arguments,
        method=Uniform(),
        train_dataset=make_rows(0),
        eval_dataset=make_rows(2),
        compute_metrics=lambda p: {"accuracy": float((p.predictions.argmax(-1) == p.label_ids).mean())},
    )
    trainer.train()
    np.testing.assert_allclose(losses(trainer), plain(Uniform(), accumulate=2)[1], atol=1e-6)
    last = [row for row in trainer.state.log_history if "eval_accuracy" in row][-1]
    whole = torch.utils.data.default_collate(make_rows(2))
    labels = whole.pop("labels")
    with torch.no_grad():
        logits = trainer.trained.net.eval()(**whole)
    assert last["eval_accuracy"] == pytest.approx(float((logits.argmax(-1) == labels).float().mean()))
    assert last["eval_loss"] == pytest.approx(float(nn.functional.cross_entropy(logits, labels)), abs=1e-5)


def test_a_stopped_training_resumes_with_the_state_of_the_method(tmp_path: Path) -> None:
    def make(folder: str) -> Any:
        arguments = make_arguments(tmp_path / folder, save_strategy="epoch")
        settings = {"train_dataset": make_rows(0), "held_out": make_rows(1)}
        return MethodTrainer(make_model(), arguments, method=make_method("arm"), **settings)

    whole, resumed = make("a"), make("b")
    whole.train()
    resumed.train(resume_from_checkpoint=str(tmp_path / "a" / "checkpoint-5"))
    state = resumed.model.state_dict()
    for name, value in whole.model.state_dict().items():
        torch.testing.assert_close(value, state[name], rtol=0, atol=1e-6, msg=name)


def test_what_is_missing_is_named_before_the_first_step(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"counterpoise.wrap.* Found Net"):
        MethodTrainer(Net(), make_arguments(tmp_path), method=Uniform(), train_dataset=make_rows(0))
    arguments, rows = make_arguments(tmp_path), make_rows(0)
    with pytest.raises(ConfigError, match="held_out"):
        MethodTrainer(make_model(), arguments, method=make_method("arm"), train_dataset=rows)
    with pytest.raises(ConfigError, match="train_dataset"):
        MethodTrainer(make_model(), arguments, method=Uniform())
    with pytest.raises(ConfigError, match="several times"):
        MethodTrainer(make_model(), arguments, method=make_method("mla"), train_dataset=rows)
    optimizer = torch.optim.SGD(make_model().parameters(), 0.1)
    trainer = MethodTrainer(make_model(), arguments, method=Uniform(), train_dataset=rows, optimizers=(optimizer, None))
    with pytest.raises(ConfigError, match="optimizer"):
        trainer.train()


class Recorder(transformers.TrainerCallback):
    """Stands for a logger: it stores what it receives."""

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Store a row."""
        self.rows.append(dict(logs))


class WithLoss(nn.Module):
    """The net as the Trainer of Hugging Face wants it."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = Net()

    def forward(self, pixel_values: Tensor, input_ids: Tensor, attention_mask: Tensor, labels: Any = None) -> Any:
        logits = self.net(pixel_values, input_ids, attention_mask)
        loss = None if labels is None else nn.functional.cross_entropy(logits, labels)
        return transformers.modeling_outputs.SequenceClassifierOutput(loss=loss, logits=logits)


def test_the_monitor_logs_and_changes_nothing(tmp_path: Path) -> None:
    held_out, recorder = [torch.utils.data.default_collate(make_rows(1, 200))], Recorder()
    models = []
    for watched in (False, True):
        model = WithLoss()
        trainer = transformers.Trainer(
            model, make_arguments(tmp_path, logging_strategy="epoch"), train_dataset=make_rows(0, 120)
        )
        if watched:
            trainer.add_callback(recorder)
            trainer.add_callback(ContributionMonitor(held_out, log=trainer.log))
        trainer.train()
        models.append(model)
    for a, b in zip(models[0].parameters(), models[1].parameters(), strict=True):
        assert torch.equal(a, b)
    rows = [row for row in recorder.rows if "contribution/pixel_values/used" in row]
    assert [row["epoch"] for row in rows] == [1.0, 2.0]
    assert sum("loss" in row for row in recorder.rows) == 2
    assert rows[-1]["contribution/pixel_values/mi"] > 0.3
    assert abs(rows[-1]["contribution/input_ids/mi"]) < 0.05
    with pytest.raises(ConfigError):
        ContributionMonitor([], every=0)


def test_the_monitor_of_a_method_trainer(tmp_path: Path) -> None:
    held_out = [torch.utils.data.default_collate(make_rows(1, 120))]
    trainer = MethodTrainer(
        make_model(),
        make_arguments(tmp_path),
        method=Uniform(),
        train_dataset=make_rows(0),
        callbacks=[ContributionMonitor(held_out, every=2)],
    )
    trainer.train()
    rows = [row for row in trainer.state.log_history if "contribution/image/used" in row]
    assert [row["epoch"] for row in rows] == [2.0]


def test_a_missing_package_is_named_with_the_command() -> None:
    code = (
        "import sys; sys.modules['accelerate'] = None\n"
        "try:\n    import counterpoise.integrations.transformers\n"
        "except Exception as error:\n    print(type(error).__name__, error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "MissingExtraError" in done.stdout
    assert 'pip install "counterpoise[transformers]"' in done.stdout
