"""Every way of calling a model gives the same numbers, and none leaves a trace."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from counterpoise.diagnosis import adapt
from counterpoise.errors import ConfigError, ModelError, NotFoundError
from counterpoise.model import MultimodalClassifier


class Base(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.image, self.text = nn.Linear(3, 4), nn.Linear(2, 4)
        self.norm = nn.Dropout(0.5)

    def both(self, image: Tensor, text: Tensor) -> Tensor:
        return self.norm(self.image(image) + self.text(text))


class TakesDict(Base):
    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        return self.both(batch["image"], batch["text"])


class TakesTuple(Base):
    def forward(self, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, str]:
        return self.both(*batch), "more"


class TakesArgs(Base):
    def forward(self, x1: Tensor, x2: Tensor) -> dict[str, Tensor]:
        return {"logits": self.both(x1, x2)}


class TakesStar(Base):
    def forward(self, *inputs: Tensor) -> Tensor:
        return self.both(*inputs)


class TakesKeywords(Base):
    def forward(self, text: Tensor, image: Tensor, *, scale: float = 1.0) -> SimpleNamespace:
        return SimpleNamespace(logits=scale * self.both(image, text))


CASES = [
    (TakesDict, "dict", False),
    (TakesTuple, "tuple", True),
    (TakesArgs, "args", True),
    (TakesStar, "args", True),
    (TakesKeywords, "kwargs", False),
]


@pytest.fixture
def inputs() -> dict[str, Tensor]:
    torch.manual_seed(1)
    return {"image": torch.randn(5, 3), "text": torch.randn(5, 2)}


@pytest.mark.parametrize(("kind", "call", "positional"), CASES)
def test_auto_finds_the_call_and_all_give_the_same(kind: Any, call: str, positional: bool, inputs: Any) -> None:
    model = kind()
    adapter = adapt(model).resolve(("image", "text"), positional=positional)
    assert adapter.call == call
    with adapter.evaluating():
        logits = adapter.logits(inputs)
    reference = Base().eval()
    torch.testing.assert_close(logits, reference.both(**inputs).detach())


@pytest.mark.parametrize(("kind", "call", "positional"), CASES)
def test_a_call_that_is_said_is_taken(kind: Any, call: str, positional: bool, inputs: Any) -> None:
    adapter = adapt(kind(), call=call).resolve(("image", "text"), positional=positional)
    with adapter.evaluating():
        assert adapter.logits(inputs).shape == (5, 4)


def test_evaluation_restores_every_mode_and_keeps_no_gradient(inputs: Any) -> None:
    model = TakesDict().train()
    model.image.eval()
    adapter = adapt(model).resolve(("image", "text"), positional=False)
    with adapter.evaluating():
        assert not model.norm.training
        assert not adapter.logits(inputs).requires_grad
    assert (model.training, model.image.training, model.norm.training) == (True, False, True)
    with pytest.raises(RuntimeError), adapter.evaluating():
        raise RuntimeError
    assert model.norm.training


def test_features_by_name_are_the_submodules_outputs_and_hooks_go(inputs: Any) -> None:
    model = TakesDict()
    adapter = adapt(model, features={"image": "image", "text": "text"}).resolve(("image", "text"), positional=False)
    with adapter.evaluating():
        features = adapter.represent(inputs)
    torch.testing.assert_close(features["text"], model.text(inputs["text"]).detach())
    assert not any(len(part._forward_hooks) for part in model.modules())


def test_features_by_function(inputs: Any) -> None:
    adapter = adapt(TakesDict(), features=lambda batch: {m: x[:, :, None].expand(-1, -1, 7) for m, x in batch.items()})
    features = adapter.resolve(("image", "text"), positional=False).represent(inputs)
    torch.testing.assert_close(features["image"], inputs["image"].mean(1, keepdim=True).expand(-1, 7))  # mean over time


def test_our_model_tells_its_features_by_itself(inputs: Any) -> None:
    model = MultimodalClassifier({"image": nn.Linear(3, 4), "text": nn.Linear(2, 5)}, num_outputs=2)
    adapter = adapt(model).resolve(("image", "text"), positional=False)
    with adapter.evaluating():
        assert {m: z.shape for m, z in adapter.represent(inputs).items()} == {"image": (5, 4), "text": (5, 5)}
        torch.testing.assert_close(adapter.logits(inputs), model(inputs).logits)


def test_groups_reach_the_model_as_the_loader_had_them() -> None:
    def model(pixels: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
        return pixels + ids * mask

    groups = {"image": ["pixels"], "text": ["ids", "mask"]}
    nested = {"image": {"pixels": torch.ones(2, 1)}, "text": {"ids": torch.full((2, 1), 3), "mask": torch.ones(2, 1)}}
    adapter = adapt(model, modalities=groups).resolve(("image", "text"), positional=False)
    assert adapter.call == "kwargs"
    assert adapter.logits(nested).tolist() == [[4.0], [4.0]]
    flat = adapt(lambda batch: batch["pixels"] + batch["ids"] * batch["mask"], call="dict", modalities=groups)
    assert flat.resolve(("image", "text"), positional=False).logits(nested).tolist() == [[4.0], [4.0]]


def test_pooled_outputs_are_preferred() -> None:
    towers = {
        "a": SimpleNamespace(pooler_output=torch.ones(2, 3), last_hidden_state=torch.zeros(2, 5, 3)),
        "b": SimpleNamespace(pooler_output=None, last_hidden_state=torch.arange(4.0).reshape(1, 4, 1)),
        "c": torch.ones(2, 3, 4, 4),
        "d": (torch.ones(2, 6), None),
    }
    adapter = adapt(lambda batch: batch, features=lambda batch: towers)
    features = adapter.represent({})
    assert {m: tuple(z.shape) for m, z in features.items()} == {"a": (2, 3), "b": (1, 1), "c": (2, 3), "d": (2, 6)}
    assert features["b"].item() == 1.5


def test_what_cannot_be_is_refused() -> None:
    class Three(nn.Module):
        def forward(self, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
            return a

    with pytest.raises(ModelError, match=r"takes \(a, b, c\), the modalities are x, y"):
        adapt(Three()).resolve(("x", "y"), positional=False)
    with pytest.raises(ConfigError, match="`call` of `adapt`"):
        adapt(Three(), call="dicts")
    with pytest.raises(ModelError, match="callable"):
        adapt("resnet")  # type: ignore[arg-type]
    with pytest.raises(NotFoundError, match=r"no submodule `imag`.*Did you mean `image`"):
        adapt(TakesDict(), features={"image": "imag"})
    with pytest.raises(ModelError, match="list of names"):
        adapt(TakesDict(), modalities="image")
    silent = adapt(TakesDict(), features={"image": "norm"}).resolve(("image", "text"), positional=False)
    assert silent.represent({"image": torch.ones(2, 3), "text": torch.ones(2, 2)})["image"].shape == (2, 4)
    unused = TakesDict()
    unused.idle = nn.Linear(1, 1)
    adapter = adapt(unused, features={"image": "idle"}).resolve(("image", "text"), positional=False)
    with pytest.raises(ModelError, match="`idle` should be called"):
        adapter.represent({"image": torch.ones(2, 3), "text": torch.ones(2, 2)})
    assert not len(unused.idle._forward_hooks)


@pytest.mark.parametrize("value", [torch.ones(2, 3, 4), "text", torch.tensor(1.0), {"scores": torch.ones(2, 3)}])
def test_outputs_that_are_no_logits_are_refused(value: Any) -> None:
    adapter = adapt(lambda batch: value, call="dict")
    with pytest.raises(ModelError, match="logits of shape"):
        adapter.logits({})


def test_output_picks_the_logits() -> None:
    adapter = adapt(lambda batch: {"scores": torch.ones(2, 3)}, call="dict", output=lambda out: out["scores"])
    assert adapter.logits({}).shape == (2, 3)
