"""Wrapped models on samples that lack modalities: no encoder sees what is absent, and it has no influence."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import counterpoise
from counterpoise.errors import ConfigError, ModelError
from counterpoise.methods import make_method
from counterpoise.model import MultimodalClassifier
from counterpoise.records import Batch
from counterpoise.wrapping import wrap

SIZE = 6
PRESENT = {
    "some": torch.tensor([True, False, True, True, False, True]),
    "one": torch.tensor([False, False, False, True, False, False]),
    "two": torch.tensor([True, False, False, True, False, False]),
    "none": torch.zeros(SIZE, dtype=torch.bool),
}


class Watched(nn.Module):
    """An encoder that remembers with how many samples it was trained."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner, self.seen = inner, list[Tensor]()

    def forward(self, x: Tensor) -> Any:
        if torch.is_grad_enabled():
            self.seen.append(x.detach())
        return self.inner(x)


class Net(nn.Module):
    """A signal of any layout around an encoder, and a vector."""

    def __init__(self, encoder: nn.Module, before: Callable[[Tensor], Tensor], after: Callable[[Any], Tensor]) -> None:
        super().__init__()
        self.encoder, self.before, self.after = Watched(encoder), before, after
        self.other, self.head = nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, signal: Tensor, other: Tensor) -> Tensor:
        return self.head(self.after(self.encoder(self.before(signal))) * self.other(other))


def same(x: Any) -> Any:
    return x


LAYOUTS: dict[str, tuple[nn.Module, Callable[[Tensor], Tensor], Callable[[Any], Tensor]]] = {
    "vectors": (nn.Sequential(nn.Flatten(), nn.Linear(24, 4)), same, same),
    "tokens": (nn.Linear(4, 4), same, lambda z: z.mean(1)),
    "time first": (nn.GRU(4, 4), lambda x: x.transpose(0, 1), lambda z: z[1][-1]),
    "as many layers as samples": (nn.LSTM(4, 4, 2, batch_first=True), same, lambda z: z[1][0].sum(0) + z[0].mean(1)),
    "frames": (nn.Linear(4, 4), lambda x: x.flatten(0, 1), lambda z: z.view(-1, SIZE, 4).mean(1)),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("pattern", PRESENT)
def test_every_layout_runs_on_the_samples_that_are_there(layout: str, pattern: str) -> None:
    """Frames and time steps are as many as samples, so that no axis can be told by its length."""
    torch.manual_seed(0)
    net = Net(*copy.deepcopy(LAYOUTS[layout])).eval()
    model = wrap(net, {"signal": "encoder", "other": "other"}, num_outputs=2, feature_dims={"signal": 4}).eval()
    mask = PRESENT[pattern]
    present = {"signal": mask, "other": torch.ones(SIZE, dtype=torch.bool)}
    signal, other = torch.randn(SIZE, SIZE, 4), torch.randn(SIZE, 3)
    net.encoder.seen.clear()
    out = model({"signal": signal, "other": other}, present=present)
    rows = sum(x.numel() for x in net.encoder.seen) // (SIZE * 4)
    assert rows == int(mask.sum())
    with torch.no_grad():
        whole = net(signal, other)
    torch.testing.assert_close(out.logits[mask], whole[mask])
    zero = net.head(0 * net.other(other))  # the product with features of zeros
    torch.testing.assert_close(out.logits[~mask], zero[~mask])
    assert (out.unimodal_logits["signal"][~mask] == 0).all()
    spoiled = torch.where(mask[:, None, None], signal, float("nan"))
    again = model({"signal": spoiled, "other": other}, present=present)
    assert torch.equal(again.logits, out.logits)
    model.encode({"signal": signal, "other": other})  # another batch, complete, between two incomplete ones
    assert torch.equal(model({"signal": signal, "other": other}, present=present).logits, out.logits)


def test_training_moves_an_encoder_only_by_samples_that_have_its_modality() -> None:
    torch.manual_seed(0)
    net = Net(*copy.deepcopy(LAYOUTS["tokens"]))
    model = wrap(net, {"signal": "encoder", "other": "other"}, num_outputs=2, feature_dims={"signal": 4})
    present = {"signal": PRESENT["none"], "other": torch.ones(SIZE, dtype=torch.bool)}
    batch = Batch(
        {"signal": torch.randn(SIZE, SIZE, 4), "other": torch.randn(SIZE, 3)},
        torch.arange(SIZE) % 2,
        torch.arange(SIZE),
        present,
    )
    method = make_method("uniform")
    for _ in method.steps(method.prepare(model, batch.target), batch):
        gradients = {name: p.grad for name, p in net.named_parameters()}
    assert not any(g is not None and g.any() for name, g in gradients.items() if name.startswith("encoder"))
    assert gradients["head.bias"].any()


def test_a_token_is_learned_for_vectors_and_refused_for_sequences() -> None:
    torch.manual_seed(0)
    names = {"signal": "encoder", "other": "other"}
    inputs = {"signal": torch.randn(SIZE, SIZE, 4), "other": torch.randn(SIZE, 3)}
    present = {"signal": PRESENT["some"], "other": torch.ones(SIZE, dtype=torch.bool)}
    net = Net(*copy.deepcopy(LAYOUTS["vectors"]))
    model = wrap(net, names, num_outputs=2, feature_dims={"signal": 4}, absent="token")
    model(inputs, present=present).logits.sum().backward()
    tokens = model.fusion.tokens
    assert tokens is not None
    assert tokens["token_signal"].grad.any()
    sequences = wrap(
        Net(*copy.deepcopy(LAYOUTS["tokens"])), names, num_outputs=2, feature_dims={"signal": 4}, absent="token"
    )
    with pytest.raises(ModelError, match=r"absent='zeros'"):
        sequences(inputs, present=present)
    with pytest.raises(ConfigError, match="absent"):
        wrap(net, names, num_outputs=2, feature_dims={"signal": 4}, absent="mean")  # type: ignore[arg-type]


def test_incomplete_inputs_are_predicted_like_those_of_the_rebuilt_model() -> None:
    torch.manual_seed(0)
    net = Net(*copy.deepcopy(LAYOUTS["vectors"]))
    model = wrap(net, {"signal": "encoder", "other": "other"}, num_outputs=2, feature_dims={"signal": 4})

    class Mixed(counterpoise.fusion.Fusion):
        def forward(self, features: Any) -> Tensor:
            return net.head(features["signal"] * features["other"])

    rebuilt = MultimodalClassifier(
        {"signal": net.encoder, "other": net.other},
        num_outputs=2,
        fusion=Mixed({"signal": 4, "other": 4}, 2),
        feature_dims={"signal": 4, "other": 4},
    )
    signal, other = torch.randn(SIZE, SIZE, 4), torch.randn(SIZE, 3)
    with pytest.raises(ModelError, match="earlier"):
        counterpoise.predict(model, {"signal": signal})
    model({"signal": signal, "other": other})  # the shapes of inputs are known from here on
    signal[1] = float("nan")
    for inputs in ({"signal": signal, "other": other}, {"other": other}):
        predicted = [counterpoise.predict(m, inputs) for m in (model, rebuilt)]
        assert torch.equal(*predicted)
        assert bool(predicted[0].isfinite().all())


class Summed(nn.Module):
    """Its output sums over the samples: there is no row for a sample."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(0, keepdim=True).expand(SIZE, *x.shape[1:]).mean(1)


def test_an_encoder_without_rows_for_samples_is_refused() -> None:
    net = Net(Summed(), same, same)
    model = wrap(net, {"signal": "encoder", "other": "other"}, num_outputs=2, feature_dims={"signal": 4})
    inputs = {"signal": torch.randn(SIZE, SIZE, 4), "other": torch.randn(SIZE, 3)}
    present = {"signal": PRESENT["some"], "other": torch.ones(SIZE, dtype=torch.bool)}
    with pytest.raises(ModelError, match="no axis for the samples"):
        model(inputs, present=present)
