"""One model and one set of data in every form that people have them in."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from types import SimpleNamespace
from typing import Any

import datasets
import lightning
import numpy as np
import pandas as pd
import torch
import transformers
from torch import Tensor, nn

import counterpoise
from counterpoise.fusion import Fusion

N, SIZE = 120, 40
KEYS = ("image", "text")


@cache
def tensors() -> tuple[dict[str, Tensor], Tensor]:
    """Return inputs and labels; both modalities tell the label."""
    g = torch.Generator().manual_seed(0)
    y = torch.randint(2, (N,), generator=g)
    image, text = torch.randn(N, 4, generator=g), torch.randn(N, 3, generator=g)
    image[:, 0] += 2.0 * y
    text[:, 1] += 1.0 * y
    return {"image": image, "text": text}, y


class Net(nn.Module):
    """The plainest form."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.image, self.text, self.head = nn.Linear(4, 6), nn.Linear(3, 6), nn.Linear(6, 2)
        with torch.no_grad():  # it knows both modalities without training
            for part, column in ((self.image, 0), (self.text, 1)):
                part.weight.zero_()
                part.weight[:2, column] = torch.tensor([-1.0, 1.0])
                part.bias.zero_()
            self.head.weight.zero_()
            self.head.weight[0, 0] = self.head.weight[1, 1] = 1.0

    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        """Return logits."""
        return self.head(self.image(image.to(self.head.weight)) + self.text(text.to(self.head.weight)))


class Inside(nn.Module):
    """A module around the plain one."""

    def __init__(self) -> None:
        super().__init__()
        self.net = Net()


class TakesMapping(Inside):
    """It takes one mapping."""

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """Return logits."""
        return self.net(batch["image"], batch["text"])


class LossAndLogits(Inside):
    """It returns its loss first."""

    def forward(self, image: Tensor, text: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return a loss and logits."""
        logits = self.net(image, text)
        return logits.square().mean(), logits


class Structured(Inside):
    """It returns a ModelOutput."""

    def forward(self, image: Tensor, text: Tensor) -> Any:
        """Return logits in a structure."""
        logits = self.net(image, text)
        return transformers.modeling_outputs.SequenceClassifierOutput(logits=logits, hidden_states=(logits,))


class Module(lightning.LightningModule):
    """A LightningModule."""

    def __init__(self) -> None:
        super().__init__()
        self.net = Net()

    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        """Return logits."""
        return self.net(image, text)


class Rest(Fusion):
    """The head of the plain form."""

    def __init__(self, net: Net) -> None:
        super().__init__({"image": 6, "text": 6}, 2)
        self.head = net.head

    def forward(self, features: Any) -> Tensor:
        """Return logits."""
        return self.head(features["image"] + features["text"])


class OneStream(Inside):
    """One input ``(B, 2, 4)`` holds both modalities."""

    def forward(self, inputs_embeds: Tensor) -> Tensor:
        """Return logits."""
        return self.net(inputs_embeds[:, 0], inputs_embeds[:, 1, :3])


def rebuilt() -> nn.Module:
    """Return the same model as a `MultimodalClassifier`."""
    net = Net()
    encoders = {"image": net.image, "text": net.text}
    return counterpoise.MultimodalClassifier(
        encoders, num_outputs=2, fusion=Rest(net), feature_dims=dict.fromkeys(KEYS, 6)
    )


def lora() -> nn.Module:
    """Return the model with LoRA adapters."""
    import peft

    return peft.get_peft_model(Net(), peft.LoraConfig(target_modules=["image"], r=2))


def accelerated() -> nn.Module:
    """Return the model as Accelerate prepares it."""
    import accelerate

    return accelerate.Accelerator(cpu=True).prepare(Net())


def array_function(image: Any, text: Any) -> np.ndarray:
    """Take tensors and return an array."""
    with torch.no_grad():
        return Net()(torch.as_tensor(image), torch.as_tensor(text)).numpy()


def sklearn_estimator() -> Any:
    """Return a fitted scikit-learn estimator that computes the same function of a table."""
    from sklearn.linear_model import LogisticRegression

    x, y = table(), tensors()[1].numpy()
    estimator = LogisticRegression().fit(x, y)
    estimator.coef_ = np.array([[2.0, 0, 0, 0, 0, 2.0, 0]])  # the difference of the two logits
    estimator.intercept_ = np.zeros(1)
    return estimator


def table() -> pd.DataFrame:
    """Return the inputs as columns."""
    x, _ = tensors()
    names = [f"{m}{k}" for m in KEYS for k in range(x[m].shape[1])]
    return pd.DataFrame(torch.cat([x[m] for m in KEYS], 1).numpy(), columns=names)


MODULES: dict[str, Callable[[], Any]] = {
    "module": Net,
    "module, `torch.compile`": lambda: torch.compile(Net(), backend="eager"),
    "module, `DataParallel`": lambda: nn.DataParallel(Net()),
    "module, DDP": lambda: nn.parallel.DistributedDataParallel(Net()),
    "module, PEFT (LoRA)": lora,
    "module, Accelerate": accelerated,
    "returns `(loss, logits)`": LossAndLogits,
    "returns `ModelOutput`": Structured,
    "takes one mapping": TakesMapping,
    "`LightningModule`": Module,
}
MODELS: dict[str, Callable[[], Any]] = {
    **MODULES,
    "function of arrays": lambda: array_function,
    "`MultimodalClassifier`": rebuilt,
    "scikit-learn estimator": sklearn_estimator,
}


class Rows(torch.utils.data.Dataset[Any]):
    """Single samples."""

    def __len__(self) -> int:
        return N

    def __getitem__(self, i: int) -> dict[str, Any]:
        x, y = tensors()
        return {**{m: x[m][i] for m in KEYS}, "label": y[i]}


class Data(lightning.LightningDataModule):
    """A data module."""

    def test_dataloader(self) -> Any:
        """Return batches."""
        return torch.utils.data.DataLoader(Rows(), SIZE)

    def val_dataloader(self) -> Any:
        """Return batches."""
        raise AssertionError("there is a test set")


def batches(make: Callable[[dict[str, Tensor], Tensor], Any]) -> list[Any]:
    """Return batches in one form."""
    x, y = tensors()
    return [make({m: x[m][i] for m in KEYS}, y[i]) for i in torch.arange(N).split(SIZE)]


def hugging_face() -> Any:
    """Return a Hugging Face data set of tensors."""
    x, y = tensors()
    columns = {**{m: x[m].tolist() for m in KEYS}, "label": y.tolist()}
    return datasets.Dataset.from_dict(columns).with_format("torch")


def words() -> list[Any]:
    """Return batches whose labels are words."""
    return batches(lambda x, y: {**x, "label": [("no", "yes")[k] for k in y.tolist()]})


INPUTS: dict[str, Callable[[], Any]] = {
    "mappings": lambda: batches(lambda x, y: {**x, "label": y}),
    "nested mappings": lambda: batches(lambda x, y: (x, y)),
    "`((x1, x2), y)`": lambda: batches(lambda x, y: (tuple(x.values()), y)),
    "`(x1, x2, y)`": lambda: batches(lambda x, y: (*x.values(), y)),
    "single samples": Rows,
    "Hugging Face data set": hugging_face,
    "DataModule": Data,
    "labels in words": words,
    "float64": lambda: batches(lambda x, y: {**{m: v.double() for m, v in x.items()}, "label": y}),
    "DataFrame": lambda: SimpleNamespace(frame=table(), y=tensors()[1].numpy()),
}
